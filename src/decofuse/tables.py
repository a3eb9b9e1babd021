"""Result tables: the averages of several methods on several datasets side by side."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from decofuse.errors import UserError
from decofuse.files import write_json, write_text
from decofuse.metrics import fusion_metrics

_ARROWS = {"higher": "↑", "lower": "↓"}


class Entry(NamedTuple):
    """The averages that the evaluation stage wrote for one method on one dataset."""

    method: str
    dataset: str
    path: Path


@dataclass(frozen=True)
class _Averages:
    images: int
    mean: dict[str, float | None]
    finite: dict[str, int]
    conventions: dict[str, str]


def summarise(entries: Sequence[Entry], csv_out: Path, json_out: Path, markdown_out: Path) -> None:
    """Write the means of all entries as CSV, JSON and Markdown, rows and columns in the order of the entries.

    - CSV: columns dataset, method, images, then a column a metric; an empty cell where no value was finite.
    - JSON: dataset -> method -> metric -> mean, as `dvc metrics show` reads it.
    - Markdown: a table a dataset, the best mean of each metric in bold (all that tie with it as printed), with the
      conventions below, and a note wherever a mean leaves out values that are not finite.

    Args:
        entries: what to put in the tables.
        csv_out: where the CSV goes.
        json_out: where the JSON goes.
        markdown_out: where the Markdown goes.

    Raises:
        UserError: no entries, an entry twice, a file that is missing or of another kind, an unknown metric, or two
            files whose metrics or conventions differ, so that their numbers must not stand in one table.
    """
    results = _results(entries)
    names = list(next(iter(next(iter(results.values())).values())).mean)
    write_text(csv_out, _csv(results, names))
    write_json(json_out, {d: {m: averages.mean for m, averages in rows.items()} for d, rows in results.items()})
    write_text(markdown_out, _markdown(results, names))


_Results = dict[str, dict[str, _Averages]]  # by dataset, then by method


def _results(entries: Sequence[Entry]) -> _Results:
    if not entries:
        raise UserError("expected results to put in a table, found none; evaluate at least one method")
    results: _Results = {}
    first = _read(entries[0].path)
    for method, dataset, path in entries:
        averages = _read(path)
        if averages.conventions != first.conventions:
            raise UserError(
                f"{path}: expected the metrics and conventions of {entries[0].path}, found others; "
                "evaluate both with the same settings"
            )
        if method in results.setdefault(dataset, {}):
            raise UserError(f"{path}: expected {method} on {dataset} once, found it twice; list each result once")
        results[dataset][method] = averages
    return results


def _read(path: Path) -> _Averages:
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
        mean = {str(name): None if mean is None else float(mean) for name, mean in value["mean"].items()}
        finite = {name: int(value["finite"][name]) for name in mean}
        conventions = {name: str(value["conventions"][name]) for name in mean}
        averages = _Averages(int(value["images"]), mean, finite, conventions)
    except OSError as error:
        raise UserError(f"{path}: expected averages, found {error.strerror}; run the evaluation stage") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: expected averages of the evaluation stage, found a file of another kind; run that stage again"
        ) from error
    unknown = sorted(set(mean) - set(fusion_metrics()))
    if unknown or not mean:
        raise UserError(f"{path}: expected known metrics, found {unknown}; run the evaluation stage again")
    return averages


def _csv(results: _Results, names: Sequence[str]) -> str:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["dataset", "method", "images", *names])
    for dataset, rows in results.items():
        for method, averages in rows.items():
            table.writerow([dataset, method, averages.images, *(averages.mean[name] for name in names)])
    return out.getvalue()


def _markdown(results: _Results, names: Sequence[str]) -> str:
    metrics = fusion_metrics()
    header = ["method", "images", *(f"{name} {_ARROWS[metrics[name].direction]}" for name in names)]
    lines = ["# Fusion metrics", ""]
    for dataset, rows in results.items():
        columns = [_column(rows, name, metrics[name].direction == "higher") for name in names]
        lines += [f"## {dataset}", "", _row(header), _row(["---", *["---:"] * (len(header) - 1)])]
        lines += [
            _row([method, str(averages.images), *cells])
            for (method, averages), cells in zip(rows.items(), zip(*columns, strict=True), strict=True)
        ]
        notes = _notes(rows)
        lines += ["", *notes, ""] if notes else [""]
    conventions = next(iter(next(iter(results.values())).values())).conventions
    lines += ["Conventions:", "", *(f"- {name}: {convention}" for name, convention in conventions.items())]
    return "\n".join(lines) + "\n"


def _column(rows: dict[str, _Averages], name: str, higher: bool) -> list[str]:
    means = [averages.mean[name] for averages in rows.values()]
    known = [mean for mean in means if mean is not None]
    best = f"{(max if higher else min)(known):.3f}" if known else None
    texts = ["–" if mean is None else f"{mean:.3f}" for mean in means]
    return [f"**{text}**" if text == best else text for text in texts]


def _notes(rows: dict[str, _Averages]) -> list[str]:
    return [
        f"- {method}, {name}: mean over the {finite} of {averages.images} values that are finite."
        for method, averages in rows.items()
        for name, finite in averages.finite.items()
        if finite < averages.images
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
