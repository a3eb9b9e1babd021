"""What `decofuse evaluate` found, in the form that the suffix of a file names; all text from outside is escaped."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from decofuse.evaluation.folders import Evaluation
from decofuse.evaluation.ranking import ARROWS
from decofuse.files import write_text
from decofuse.text import csv_cell, latex, listed, markdown, printable

_SHOWN = 10  # reasons in a footer


def write(path: Path, evaluation: Evaluation) -> None:
    """Write the form that the suffix of `path` names, a key of FORMS, atomically."""
    write_text(path, FORMS[path.suffix.lower()](evaluation))


def as_csv(evaluation: Evaluation) -> str:
    """A row a fused image: image, method, then a column a metric; `nan` and `inf` as such, empty without a value.

    A name that a spreadsheet would take for a formula starts with an apostrophe.
    """
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["image", "method", *evaluation.metrics])
    names = sorted({image for rows in evaluation.values.values() for image in rows})
    for image in names:
        for method, rows in evaluation.values.items():
            if image in rows:
                values = (rows[image].get(name, "") for name in evaluation.metrics)
                table.writerow([csv_cell(image), csv_cell(method), *values])
    return out.getvalue()


def as_json(evaluation: Evaluation) -> str:
    """Everything: conventions, images averaged over, what was left out, and by method averages, places and values.

    A value that is missing or not finite is null.
    """
    ranking = evaluation.ranking
    methods = {
        method: {
            **{
                field: {name: getattr(average, field) for name, average in averages.items()}
                for field in ("mean", "std", "finite")
            },
            "place": ranking.places[method],
            "mean_place": ranking.mean[method],
            "values": {
                image: {name: _finite(row.get(name)) for name in evaluation.metrics}
                for image, row in evaluation.values[method].items()
            },
        }
        for method, averages in evaluation.averages.items()
    }
    value = {
        "images": list(evaluation.images),
        "conventions": {name: metric.convention for name, metric in evaluation.metrics.items()},
        "directions": {name: metric.direction for name, metric in evaluation.metrics.items()},
        "order": list(ranking.order),
        "methods": methods,
        "left_out": [vars(entry) for entry in evaluation.left_out],
    }
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def as_markdown(evaluation: Evaluation) -> str:
    """A row a method, the best first: mean ± deviation of each metric, and the mean place."""
    header = ["method", *(f"{name} {ARROWS[metric.direction]}" for name, metric in evaluation.metrics.items()), "rank"]
    marks = ("**{}**", "<u>{}</u>", "{}")
    lines = ["# Fusion metrics", "", _line(header), _line(["---", *["---:"] * (len(header) - 1)])]
    for method, cells in _rows(evaluation, "{} ± {}", marks):
        lines.append(_line([markdown(method), *cells]))
    lines += ["", *(f"- {note}" for note in _notes(evaluation, markdown)), ""]
    return "\n".join(lines)


def as_latex(evaluation: Evaluation) -> str:
    r"""The same as a `table` with booktabs' rules, for `\input`."""
    arrows = {"higher": r"$\uparrow$", "lower": r"$\downarrow$"}
    header = ["method", *(f"{latex(name)} {arrows[m.direction]}" for name, m in evaluation.metrics.items()), "rank"]
    marks = (r"\textbf{{{}}}", r"\underline{{{}}}", "{}")
    rows = [[latex(method), *cells] for method, cells in _rows(evaluation, r"{} $\pm$ {}", marks)]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"\toprule",
        rf"{' & '.join(header)} \\",
        r"\midrule",
        *(rf"{' & '.join(row).replace('–', '--')} \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        "",
        r"\medskip",
        r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
        *(rf"{note}\par" for note in _notes(evaluation, latex)),
        r"\end{minipage}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def as_text(evaluation: Evaluation) -> str:
    """The same for a terminal, without deviations: columns aligned, an asterisk at the best."""
    header = ["method", *(f"{name} {ARROWS[metric.direction]}" for name, metric in evaluation.metrics.items()), "rank"]
    rows = [header, *([printable(m), *cells] for m, cells in _rows(evaluation, "{}", ("{}*", "{} ", "{} ")))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    return "\n".join([*lines, f"Means over {len(evaluation.images)} images; * is the best.", ""])


FORMS: Mapping[str, Callable[[Evaluation], str]] = {
    ".csv": as_csv,
    ".json": as_json,
    ".md": as_markdown,
    ".tex": as_latex,
}


def _rows(evaluation: Evaluation, pattern: str, marks: tuple[str, str, str]) -> Iterator[tuple[str, list[str]]]:
    """Method and cells in the order of the ranking; best, second best and others are marked by the three `marks`."""
    ranking, several = evaluation.ranking, len(evaluation.values) > 1
    for method in ranking.order:
        cells = []
        for name, average in evaluation.averages[method].items():
            text = pattern.format(ranking.text(name, average.mean), ranking.text(name, average.std))
            place = ranking.places[method][name] if several and average.mean is not None else 3
            cells.append(marks[min(place, 3) - 1].format("–" if average.mean is None else text))
        yield method, [*cells, f"{ranking.mean[method]:.2f}"]


def _notes(evaluation: Evaluation, escape: Callable[[str], str]) -> Iterator[str]:
    """What a reader of the table has to know, a sentence a line."""
    yield f"Mean and population standard deviation over {len(evaluation.images)} images that all methods have."
    if len(evaluation.values) > 1:
        yield (
            "Rank: mean over the metrics of a method's place; means that are printed alike share a place. "
            "The best is bold, the second best underlined."
        )
    for name, metric in evaluation.metrics.items():
        yield f"{escape(name)}: {escape(metric.convention)}."
    for method, averages in evaluation.averages.items():
        for name, average in averages.items():
            if average.finite < len(evaluation.images):
                counts = f"{average.finite} of {len(evaluation.images)}"
                yield f"{escape(method)}, {escape(name)}: {counts} images have a finite value."
    reasons = Counter(entry.reason for entry in evaluation.left_out)
    for reason in list(reasons)[:_SHOWN]:
        names = [entry.image for entry in evaluation.left_out if entry.reason == reason]
        yield f"Left out: {escape(reason)}: {escape(listed(names))}."
    if len(reasons) > _SHOWN:
        yield f"Left out for other reasons: {sum(reasons.values()) - sum(list(reasons.values())[:_SHOWN])} images."


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
