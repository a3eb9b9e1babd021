"""The parts that the run's report is put together from, as HTML; all text is escaped."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from decofuse.reports.page import Cell, Table
from decofuse.reports.run_style import DIALOG, SCRIPT, STYLE
from decofuse.text import printable

JPEG_QUALITY = 85  # of pictures of images; they lie beside the page without loss


class Section(NamedTuple):
    """A section: the anchor and the heading that it has, and its HTML; empty if there is nothing to show."""

    anchor: str
    title: str
    html: str


def document(title: str, sections: Iterable[Section]) -> str:
    """The whole page; sections without content are left out."""
    shown = [section for section in sections if section.html]
    links = "".join(f'<a href="#{section.anchor}">{text(section.title)}</a>' for section in shown)
    body = "\n".join(
        f'<section id="{its.anchor}">\n<h2>{text(its.title)}</h2>\n{its.html}\n</section>' for its in shown
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{text(title)}</h1>\n"
        f'<nav aria-label="Sections">{links}</nav>\n{body}\n{DIALOG}<script>{SCRIPT}</script>\n</body>\n</html>\n'
    )


def text(words: str) -> str:
    """Escaped, on one line."""
    return escape(printable(words))


def paragraphs(sentences: Iterable[str], kind: str = "") -> str:
    """A paragraph for each sentence."""
    return "\n".join(f'<p class="{kind}">{text(sentence)}</p>' for sentence in sentences)


def terms(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of terms and what they are; the latter is HTML already."""
    return f"<dl>{''.join(f'<dt>{text(term)}</dt><dd>{html}</dd>' for term, html in pairs)}</dl>"


def items(pairs: Sequence[tuple[str, str]]) -> str:
    """A list of names and words on them; nothing for none."""
    lines = "\n".join(f"<li><b>{text(name)}</b>: {text(words)}</li>" for name, words in pairs)
    return f"<ul>\n{lines}\n</ul>" if lines else ""


def details(summary: str, html: str) -> str:
    """What opens on request; nothing if there is nothing in it."""
    return f"<details><summary>{text(summary)}</summary>\n{html}\n</details>" if html else ""


def link(address: str, words: str) -> str:
    """A link to another page."""
    return f'<a href="{escape(address)}">{text(words)}</a>'


def titled_table(table: Table) -> str:
    """A table of results with its heading and remarks."""
    about = [f"{table.about}."]
    rows = [(row.label, row.cells) for row in table.rows]
    remarks = paragraphs(table.remarks, "quiet")
    return f"<h3>{text(table.title)}</h3>\n{paragraphs(about, 'quiet')}\n{grid_of(table.header, rows)}\n{remarks}"


def grid_of(header: Sequence[str], rows: Iterable[tuple[str, Sequence[str | Cell]]]) -> str:
    """A table in a box that scrolls sideways: rows of a heading and cells; a cell of words starts at the left."""
    rows = list(rows)
    words = [False, *(isinstance(cell, str) for cell in rows[0][1])] if rows else [False] * len(header)
    kinds = (' class="words"' if left else "" for left in words)
    head = "".join(f'<th scope="col"{kind}>{text(name)}</th>' for name, kind in zip(header, kinds, strict=True))
    body = "\n".join(
        f'<tr><th scope="row" title="{text(label)}">{text(label)}</th>{"".join(map(_cell, cells))}</tr>'
        for label, cells in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{text(header[0])}: table">\n'
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def charts(figures: Iterable[tuple[str, str]]) -> str:
    """Small charts beside each other, as many as there is room for, each an SVG below its title; nothing for none."""
    made = "\n".join(
        f'<figure role="img" aria-label="{text(title)}"><figcaption>{text(title)}</figcaption>{svg}</figure>'
        for title, svg in figures
    )
    return f'<div class="charts">\n{made}\n</div>' if made else ""


def picture(title: str, path: Path, lossless: bool = False) -> str:
    """A picture that can be enlarged; photographs become JPEG, which is smaller."""
    with Image.open(path) as image:
        width, height = image.size
        data, kind = path.read_bytes(), "png"
        if not lossless:
            out = io.BytesIO()
            image.convert("RGB").save(out, "JPEG", quality=JPEG_QUALITY, optimize=True)
            data, kind = out.getvalue(), "jpeg"
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return (
        f'<figure class="picture"><figcaption>{text(title)}</figcaption>\n'
        f'<div class="wide" tabindex="0" role="region" aria-label="{text(title)}">'
        f'<img alt="{text(title)}" width="{width}" height="{height}" src="{source}"></div>\n'
        '<button type="button" hidden>Enlarge</button></figure>'
    )


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return f'<td class="words">{text(cell)}</td>'
    mean, _, deviation = cell.text.partition(" ± ")
    shown = {"best": "<b>{}</b>", "second": '<span class="second">{}</span>', "": "{}"}[cell.mark].format(text(mean))
    return f"<td>{shown}{f' <span class=spread>± {text(deviation)}</span>' if deviation else ''}</td>"
