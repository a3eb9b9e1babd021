"""The benchmark page of a run: methods by metrics on every dataset, beside the numbers that were published.

The page is built once, as plain text cells with their marks, and written as Markdown and as HTML.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from decofuse.evaluation.ranking import ARROWS, Ranking
from decofuse.files import write_text
from decofuse.metrics import METRICS
from decofuse.published import Published
from decofuse.reports import page_html, page_markdown
from decofuse.reports.differences import Difference
from decofuse.reports.page import Cell, Mark, Page, Row, Table
from decofuse.reports.results import Averages, Results

COLUMNS = (
    *("dataset", "method", "metric", "images", "finite", "mean", "std", "place"),
    *("published", "source", "comparable", "differs"),
)
_SAME = Difference(reduced=False, words=())
_MARKS: Mapping[int, Mark] = {1: "best", 2: "second"}


@dataclass(frozen=True)
class Run:
    """What a reader has to know of the run that made the results.

    Attributes:
        preset: its name.
        seed: its seed.
        differences: how the training of each method that has one differs from the published one.
    """

    preset: str
    seed: int
    differences: Mapping[str, Difference]


def write_benchmark(
    results: Results, published: Sequence[Published], run: Run, *, csv_out: Path, markdown_out: Path, html_out: Path
) -> None:
    """Write the page as CSV, Markdown and one self-contained HTML file.

    The CSV has the columns COLUMNS: a row for each dataset, method and metric, and where several sources published the
    number, a row for each. Cells of what is not there are empty; `comparable` is yes if nothing is known to differ.

    Args:
        results: averages of all methods on all datasets.
        published: the numbers to hold them against; those of other methods, datasets and metrics are not shown.
        run: the run.
        csv_out: where the CSV goes.
        markdown_out: where the Markdown goes.
        html_out: where the HTML goes.
    """
    write_text(csv_out, _csv(results, published, run))
    page = build(results, published, run)
    write_text(markdown_out, page_markdown.render(page))
    write_text(html_out, page_html.render(page))


def build(results: Results, published: Sequence[Published], run: Run) -> Page:
    """The page before it gets a form."""
    notes: list[str] = []
    tables = tuple(_table(dataset, results, published, run, notes) for dataset in results.datasets)
    introduction = (
        f"Mean ± population standard deviation over the test images of each dataset, from one run of the preset "
        f"{run.preset} with seed {run.seed}. The best of each metric is bold, the second best underlined; rank is the "
        "mean over the metrics of a method's place, and means that are printed alike share one.",
        "Published numbers stand in rows of their own and are not ranked. The notes say where they are from and what "
        "differs from here.",
    )
    trainings = tuple((method, "; ".join(its.words)) for method, its in run.differences.items() if its.words)
    conventions = tuple((name, results.conventions[name]) for name in results.metrics)
    return Page(f"Benchmark: {run.preset}", introduction, tables, tuple(notes), trainings, conventions)


def _table(dataset: str, results: Results, published: Sequence[Published], run: Run, notes: list[str]) -> Table:
    rows, ranking = results.datasets[dataset], results.ranking(dataset)
    header = ["method", *(f"{name} {ARROWS[METRICS[name].direction]}" for name in results.metrics), "rank"]
    lines = []
    for method in ranking.order:
        lines.append(_own(method, rows[method], results.metrics, ranking, len(rows) > 1))
        numbers = _matching(published, dataset, method, results.metrics)
        lines += _published(numbers, results, run.differences.get(method, _SAME), notes)
    finite = tuple(
        f"{method}, {name}: mean over the {finite} of {averages.images} values that are finite."
        for method, averages in rows.items()
        for name, finite in averages.finite.items()
        if finite < averages.images
    )
    counts = sorted({averages.images for averages in rows.values()})
    return Table(dataset, f"{' or '.join(map(str, counts))} images", tuple(header), tuple(lines), finite)


def _published(numbers: Iterable[Published], results: Results, training: Difference, notes: list[str]) -> Iterator[Row]:
    """A row for each source of numbers of one method on one dataset; a note on each is added to `notes`."""
    sources: dict[tuple[str, str], dict[str, float]] = {}
    for number in numbers:
        place = f"{number.method} on {number.dataset}, {number.source}"
        sources.setdefault((place, number.differs), {})[number.metric] = number.value
    for (place, differs), values in sources.items():
        words = _differs(differs, "the training, see below" if training.words else "", list(values), results)
        notes.append(f"{place}. {_sentence(words)}")
        status = "not comparable: reduced run" if training.reduced else "differs, see note" if words else "comparable"
        cells = [Cell(f"{values[name]:g}" if name in values else "") for name in results.metrics]
        yield Row("published", "published", (*cells, Cell("")), status, len(notes))


def _own(method: str, averages: Averages, metrics: Sequence[str], ranking: Ranking, several: bool) -> Row:
    cells = []
    for name in metrics:
        mean, place = averages.mean[name], ranking.places[method][name]
        mark = _MARKS.get(place, "") if several and mean is not None else ""
        deviation = "" if mean is None else f" ± {ranking.text(name, averages.std[name])}"
        cells.append(Cell(f"{ranking.text(name, mean)}{deviation}", mark))
    return Row("own", method, (*cells, Cell(f"{ranking.mean[method]:.2f}")))


def _matching(published: Sequence[Published], dataset: str, method: str, metrics: Sequence[str]) -> Iterator[Published]:
    return (n for n in published if (n.dataset, n.method) == (dataset, method) and n.metric in metrics)


def _differs(there: str, training: str, metrics: Sequence[str], results: Results) -> list[str]:
    """All that is known to differ between published numbers and ours, a clause an entry."""
    other = ", ".join(name for name in metrics if results.conventions[name] != _published_convention(name))
    words = {f"there: {there}": there, f"here: {training}": training, f"here: another convention of {other}": other}
    return [clause for clause, holds in words.items() if holds]


def _published_convention(name: str) -> str:
    return METRICS[name].conventions[METRICS[name].published]


def _sentence(words: Sequence[str]) -> str:
    return f"Differs – {' – '.join(words)}." if words else "Nothing is known to differ."


def _csv(results: Results, published: Sequence[Published], run: Run) -> str:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for dataset, rows in results.datasets.items():
        ranking = results.ranking(dataset)
        for method, averages in rows.items():
            training = run.differences.get(method, _SAME).words
            for name in results.metrics:
                own = [dataset, method, name, averages.images, averages.finite[name]]
                own += [averages.mean[name], averages.std[name], ranking.places[method][name]]
                numbers = list(_matching(published, dataset, method, [name]))
                for number in numbers:
                    words = _differs(number.differs, "; ".join(training), [name], results)
                    comparable = "no" if words else "yes"
                    table.writerow([*own, number.value, number.source, comparable, " – ".join(words)])
                if not numbers:
                    table.writerow([*own, "", "", "", ""])
    return out.getvalue()
