"""What the methods' authors, and others, published about them: numbers to hold our own against."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from decofuse.errors import UserError


@dataclass(frozen=True)
class Published:
    """One published number; never computed here.

    Attributes:
        method: our name of the method.
        dataset: our name of the dataset where there is one, else the published name in lower case.
        metric: our name of the metric where there is one, else the published name. The same name does not mean the
            same formula, see `differs`.
        value: the number as printed; what is printed in per cent is a share of 1.
        source: where it was published.
        differs: why it cannot be compared with ours directly, empty if nothing is known to differ. "second-hand"
            marks what neither the paper nor the repository of the method says itself.
    """

    method: str
    dataset: str
    metric: str
    value: float
    source: str
    differs: str


COLUMNS = tuple(field.name for field in fields(Published))


def read_published(path: Path) -> tuple[Published, ...]:
    """Read a CSV file with the fields of `Published` as columns; a row a number, in the order of the file.

    Raises:
        UserError: the file is missing or of another form, a field other than `differs` is empty, a value is not a
            finite number, or a source gives the same method, dataset and metric twice.
    """
    try:
        header, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines(), strict=True)
    except OSError as error:
        raise UserError(f"{path}: expected published numbers, found {error.strerror}; get the file again") from error
    except (ValueError, csv.Error) as error:
        raise _malformed(f"{path}", "no such table") from error
    if tuple(header) != COLUMNS:
        raise _malformed(f"{path}", ", ".join(header))
    numbers: dict[tuple[str, ...], Published] = {}
    for line, row in enumerate(rows, start=2):
        number = _parse(f"{path}, line {line}", row)
        key = (number.method, number.dataset, number.metric, number.source)
        if key in numbers:
            raise UserError(
                f"{path}, line {line}: expected a metric once a source, found {', '.join(key)} again; remove one"
            )
        numbers[key] = number
    return tuple(numbers.values())


def _parse(place: str, row: Sequence[str]) -> Published:
    if len(row) != len(COLUMNS) or not all(row[:-1]):
        raise _malformed(place, ", ".join(row))
    method, dataset, metric, text, source, differs = row
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{place}: expected a finite number as value, found {text}; correct it")
    return Published(method, dataset, metric, value, source, differs)


def _malformed(place: str, found: str) -> UserError:
    return UserError(f"{place}: expected the columns {', '.join(COLUMNS)}, found {found}; correct the file")
