"""A page as Markdown."""

import os
from pathlib import Path
from urllib.parse import quote

from decofuse.reports.page import Cell, Page, Row, Table
from decofuse.text import markdown

_MARKS = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}


def render(page: Page, folder: Path | None = None) -> str:
    """The page as GitHub's Markdown, all text escaped.

    Args:
        page: what to show.
        folder: where the page will lie, which pictures are named from.
    """
    lines = [f"# {markdown(page.title)}", ""]
    for paragraph in page.introduction:
        lines += [markdown(paragraph), ""]
    for table in page.tables:
        lines += [*_table(table), ""]
    for picture in page.pictures:
        path = os.path.relpath(picture.path, folder) if folder else picture.path.as_posix()
        lines += [f"## {markdown(picture.title)}", "", f"![{markdown(picture.title)}]({quote(path)})", ""]
    if page.notes:
        lines += ["## Published numbers", ""]
        lines += [f"{number}. {markdown(note)}" for number, note in enumerate(page.notes, start=1)] + [""]
    for title, items in (("Training in this run", page.trainings), ("Conventions", page.conventions)):
        if items:
            lines += [f"## {title}", "", *(f"- {markdown(name)}: {markdown(words)}" for name, words in items), ""]
    return "\n".join(lines)


def _table(table: Table) -> list[str]:
    lines = [f"## {markdown(table.title)}", "", f"{markdown(table.about)}.", ""]
    lines += [_line([markdown(name) for name in table.header]), _line(["---", *["---:"] * (len(table.header) - 1)])]
    lines += [_line([_label(row), *map(_cell, row.cells)]) for row in table.rows]
    return [*lines, *(["", *(f"- {markdown(remark)}" for remark in table.remarks)] if table.remarks else [])]


def _label(row: Row) -> str:
    if row.kind == "own":
        return markdown(row.label)
    return f"*{markdown(row.label)}*, note {row.note}: *{markdown(row.status)}*"


def _cell(cell: Cell) -> str:
    return _MARKS[cell.mark].format(markdown(cell.text))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
