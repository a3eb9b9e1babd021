"""Result tables: the averages of several methods on several datasets side by side."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from decofuse.evaluation.ranking import ARROWS
from decofuse.files import write_json, write_text
from decofuse.metrics import METRICS
from decofuse.reports.results import Averages, Entry, Results, read_results


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
        UserError: see `read_results`.
    """
    results = read_results(entries)
    means = {d: {m: averages.mean for m, averages in rows.items()} for d, rows in results.datasets.items()}
    write_text(csv_out, _csv(results))
    write_json(json_out, means)
    write_text(markdown_out, _markdown(results))


def _csv(results: Results) -> str:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["dataset", "method", "images", *results.metrics])
    for dataset, rows in results.datasets.items():
        for method, averages in rows.items():
            table.writerow([dataset, method, averages.images, *(averages.mean[name] for name in results.metrics)])
    return out.getvalue()


def _markdown(results: Results) -> str:
    header = ["method", "images", *(f"{name} {ARROWS[METRICS[name].direction]}" for name in results.metrics)]
    lines = ["# Fusion metrics", ""]
    for dataset, rows in results.datasets.items():
        lines += [f"## {dataset}", "", _row(header), _row(["---", *["---:"] * (len(header) - 1)])]
        ranking = results.ranking(dataset)
        for method, averages in rows.items():
            cells = []
            for name in results.metrics:
                mean = averages.mean[name]
                best = mean is not None and ranking.places[method][name] == 1
                text = ranking.text(name, mean)
                cells.append(f"**{text}**" if best else text)
            lines.append(_row([method, str(averages.images), *cells]))
        notes = _notes(rows)
        lines += ["", *notes, ""] if notes else [""]
    lines += ["Conventions:", "", *(f"- {name}: {convention}" for name, convention in results.conventions.items())]
    return "\n".join(lines) + "\n"


def _notes(rows: dict[str, Averages]) -> list[str]:
    return [
        f"- {method}, {name}: mean over the {finite} of {averages.images} values that are finite."
        for method, averages in rows.items()
        for name, finite in averages.finite.items()
        if finite < averages.images
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
