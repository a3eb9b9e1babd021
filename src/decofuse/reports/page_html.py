"""A page as one self-contained HTML file, for screens of any width; all text is escaped, nothing is loaded."""

import base64
from html import escape

from decofuse.reports.page import Cell, Page, Picture, Row, Table
from decofuse.text import printable

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --quiet: #666; --back: #fff; --text: #1a1a1a }
@media (prefers-color-scheme: dark) { :root { --quiet: #aaa; --back: #16181b; --text: #e8e8e8 } }
body { margin: 0 auto; max-width: 80rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif;
  background: var(--back); color: var(--text) }
h1 { font-size: 1.6rem } h2 { font-size: 1.25rem; margin: 2rem 0 .25rem }
p, li { max-width: 48rem; overflow-wrap: anywhere }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; margin: .75rem 0 }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: .875rem;
  font-variant-numeric: tabular-nums }
th, td { padding: .4rem .7rem; text-align: right; white-space: nowrap; border-top: 1px solid var(--line) }
thead th { border-top: 0; background: var(--soft) }
tr > :first-child { position: sticky; left: 0; background: var(--back); text-align: left; font-weight: 600;
  border-right: 1px solid var(--line) }
thead tr > :first-child { background: linear-gradient(var(--soft), var(--soft)), var(--back) }
.published > * { color: var(--quiet); font-style: italic; border-top-style: dotted }
.published > :first-child { font-weight: 400; white-space: normal; min-width: 8rem }
.status { display: block; font-size: .75rem }
.stop { font-style: normal; font-weight: 600; color: #b3261e }
@media (prefers-color-scheme: dark) { .stop { color: #ff8a80 } }
.spread { color: var(--quiet); font-size: .8em; font-weight: 400 }
.second { text-decoration: underline; text-underline-offset: 3px }
.about, .remarks { color: var(--quiet); margin: .25rem 0 }
.wide img { display: block; min-width: 56rem; width: 100%; background: #fff }
:target { background: var(--soft) }
"""


def render(page: Page) -> str:
    """The page as an HTML document."""
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(page.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        f"<h1>{_text(page.title)}</h1>",
        *(f"<p>{_text(paragraph)}</p>" for paragraph in page.introduction),
        *map(_table, page.tables),
        *map(_picture, page.pictures),
    ]
    if page.notes:
        notes = "\n".join(f'<li id="note-{i}">{_text(note)}</li>' for i, note in enumerate(page.notes, start=1))
        parts.append(f"<h2>Published numbers</h2>\n<ol>\n{notes}\n</ol>")
    for title, pairs in (("Training in this run", page.trainings), ("Conventions", page.conventions)):
        items = "\n".join(f"<li><b>{_text(name)}</b>: {_text(words)}</li>" for name, words in pairs)
        parts += [f"<h2>{title}</h2>\n<ul>\n{items}\n</ul>"] if items else []
    return "\n".join([*parts, "</body>\n</html>\n"])


def _table(table: Table) -> str:
    header = "".join(f'<th scope="col">{_text(name)}</th>' for name in table.header)
    remarks = "".join(f'<p class="remarks">{_text(remark)}</p>\n' for remark in table.remarks)
    return (
        f'<h2>{_text(table.title)}</h2>\n<p class="about">{_text(table.about)}</p>\n'
        f'<div class="wide" tabindex="0">\n<table>\n<thead><tr>{header}</tr></thead>\n<tbody>\n'
        + "\n".join(map(_row, table.rows))
        + f"\n</tbody>\n</table>\n</div>\n{remarks}"
    )


def _picture(picture: Picture) -> str:
    kind = "jpeg" if picture.path.suffix.lower() in (".jpg", ".jpeg") else "png"
    data = base64.b64encode(picture.path.read_bytes()).decode()
    return (
        f'<h2>{_text(picture.title)}</h2>\n<div class="wide" tabindex="0">'
        f'<img alt="{_text(picture.title)}" src="data:image/{kind};base64,{data}"></div>'
    )


def _row(row: Row) -> str:
    label = _text(row.label)
    if row.kind == "published":
        kind = "status stop" if row.status.startswith("not") else "status"
        label += f' <a href="#note-{row.note}">[{row.note}]</a><span class="{kind}">{_text(row.status)}</span>'
    cells = "".join(map(_cell, row.cells))
    return f'<tr class="{row.kind}"><th scope="row">{label}</th>{cells}</tr>'


def _cell(cell: Cell) -> str:
    mean, _, deviation = cell.text.partition(" ± ")
    shown = {"best": "<b>{}</b>", "second": '<span class="second">{}</span>', "": "{}"}[cell.mark].format(_text(mean))
    return f"<td>{shown}{f' <span class=spread>± {_text(deviation)}</span>' if deviation else ''}</td>"


def _text(text: str) -> str:
    return escape(printable(text))
