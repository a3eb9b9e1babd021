"""A page of tables before it gets a form: plain text and its meaning, nothing escaped."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Mark = Literal["best", "second", ""]


@dataclass(frozen=True)
class Cell:
    """Text of a cell, and whether it is the best or the second best of its column."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        kind: results of the run, or published numbers that belong to the row above.
        label: its first cell.
        cells: the others.
        status: how far published numbers can be compared.
        note: number of the note that says more, from 1; 0 without one.
    """

    kind: Literal["own", "published"]
    label: str
    cells: tuple[Cell, ...]
    status: str = ""
    note: int = 0


@dataclass(frozen=True)
class Table:
    """Results on one dataset, and remarks below them."""

    title: str
    about: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A picture of the page: its heading, and its PNG or JPEG file."""

    title: str
    path: Path


@dataclass(frozen=True)
class Page:
    """The whole page.

    Attributes:
        title: its heading.
        introduction: paragraphs before the tables.
        tables: one a dataset.
        notes: what the rows of published numbers point to.
        trainings: method and what differs in its training here.
        conventions: metric and its convention.
        pictures: shown after the tables.
    """

    title: str
    introduction: tuple[str, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    trainings: tuple[tuple[str, str], ...] = ()
    conventions: tuple[tuple[str, str], ...] = ()
    pictures: tuple[Picture, ...] = ()
