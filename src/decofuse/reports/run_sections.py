"""The sections of the run's report; each is empty if the run has nothing of its kind."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from decofuse.evaluation.ranking import ARROWS, rank
from decofuse.metrics import METRICS
from decofuse.reports.costs import by_rule, read_costs
from decofuse.reports.curves import Points, bar_chart, line_chart
from decofuse.reports.page import Cell, Page
from decofuse.reports.results import Averages, Results
from decofuse.reports.run_files import RunFiles
from decofuse.reports.run_html import charts, details, grid_of, items, paragraphs, picture, text, titled_table
from decofuse.reports.segmentation import table_of, title_of, verdict
from decofuse.segmentation.scores import Scores
from decofuse.variants import split_round

MEAN_IOU = "mIoU [%]"


def metrics(results: Results, page: Page) -> str:
    """A table and small charts for each dataset.

    Args:
        results: of the methods.
        page: the same as tables.
    """
    parts = list(paragraphs(page.introduction[:1]).splitlines())
    for table in page.tables:
        rows, ranking = results.datasets[table.title], results.ranking(table.title)
        bars = []
        for name in results.metrics:
            means = {method: its.mean[name] for method, its in rows.items()}
            best = [method for method in rows if ranking.places[method][name] == 1]
            texts = [ranking.text(name, mean) for mean in means.values()]
            bars.append(
                (
                    f"{name} {ARROWS[METRICS[name].direction]}",
                    bar_chart(_titled(means), texts, list(map(title_of, best))),
                )
            )
        parts += [titled_table(table), charts(bars)]
    return "\n".join([*parts, details("Conventions of the metrics", items(page.conventions))])


def pictures(grids: Sequence[Path]) -> str:
    """Sources and fused images of each dataset."""
    return "\n".join(picture(f"Sources and fused images of {_dataset(path)}", path) for path in grids)


def segmentation(scores: Sequence[Scores], files: RunFiles) -> str:
    """The comparison of inputs in words, as tables, as a chart, and label maps over images."""
    if not scores:
        return ""
    parts = []
    for dataset in dict.fromkeys(its.dataset for its in scores):
        group = [its for its in scores if its.dataset == dataset]
        parts += [paragraphs(verdict(dataset, group)), titled_table(table_of(dataset, group))]
    charts_ = (("Mean IoU of every input, and IoU of each class", path) for path in files.segmentation_charts)
    parts += [picture(title, path, lossless=True) for title, path in charts_]
    parts += [picture(f"Predicted classes on {_dataset(path)}", path) for path in files.overlays]
    return "\n".join(parts)


def rounds(results: Results, scores: Sequence[Scores]) -> str:
    """How the metrics and the mIoU of each method changed from round to round, on each dataset."""
    columns = {name: f"{name} {ARROWS[METRICS[name].direction]}" for name in results.metrics}
    columns |= {MEAN_IOU: f"{MEAN_IOU} {ARROWS['higher']}"} if scores else {}
    parts = []
    for dataset, averages in results.datasets.items():
        means = {name: _with_iou(name, its, dataset, scores) for name, its in averages.items()}
        method_and_round = {name: split_round(name) for name in means}
        taught = {method for method, number in method_and_round.values() if number}
        shown = {name: row for name, row in means.items() if method_and_round[name][0] in taught}
        if not shown:
            continue
        places = rank(shown, {name: METRICS[name].direction if name in METRICS else "higher" for name in columns})
        rows = [
            (title_of(name), [Cell(places.text(column, row[column])) for column in columns])
            for name, row in shown.items()
        ]
        parts += [f"<h3>{text(dataset)}</h3>", grid_of(("round", *columns.values()), rows)]
        parts.append(charts((title, line_chart(_by_round(shown, key), "round")) for key, title in columns.items()))
    return "\n".join(parts)


def curves(files: RunFiles) -> str:
    """Losses of each training, epoch by epoch; the trainings of segmentation on one input stand together."""
    trainings = [(f"{title_of(path.parents[1].name)}, {path.parent.name}", _history(path)) for path in files.histories]
    segmenters: dict[str, dict[str, Points]] = {}
    for path in files.segmentation_histories:
        loss = _history(path).get("loss", {})
        segmenters.setdefault(path.parents[1].name, {})[f"training {path.parent.name}"] = loss
    trainings += [(f"Segmentation on {title_of(name)}", lines) for name, lines in segmenters.items()]
    return charts((title, line_chart(lines, "epoch")) for title, lines in trainings)


def costs(benchmarks: Sequence[Path], preset: str) -> str:
    """Time and memory of each rule, and of each job."""
    jobs = read_costs(benchmarks, preset)
    if not jobs:
        return ""
    totals = [
        (its.rule, [Cell(str(its.jobs)), *map(Cell, (_time(its.seconds), _time(its.longest), _memory(its.megabytes)))])
        for its in by_rule(jobs)
    ]
    each = [(its.job, [Cell(_time(its.seconds)), Cell(_memory(its.megabytes))]) for its in jobs]
    about = (
        f"{len(jobs)} jobs, {_time(sum(its.seconds for its in jobs))} together; jobs that ran side by side count each. "
        "Memory is the largest resident set of a job. A job that was not needed again keeps what it took when it ran."
    )
    table = grid_of(("rule", "jobs", "time", "longest job", "memory"), totals)
    return f"{paragraphs([about])}\n{table}\n{details('Each job', grid_of(('job', 'time', 'memory'), each))}"


def _with_iou(name: str, averages: Averages, dataset: str, scores: Sequence[Scores]) -> dict[str, float | None]:
    iou = [_percent(its.mean.mIoU) for its in scores if (its.input, its.dataset) == (name, dataset)]
    return {**averages.mean, MEAN_IOU: iou[0] if iou else None}


def _by_round(means: Mapping[str, Mapping[str, float | None]], column: str) -> Mapping[str, Points]:
    lines: dict[str, dict[float, float]] = {}
    for name, row in means.items():
        value = row[column]
        method, number = split_round(name)
        lines.setdefault(title_of(method), {})[number] = math.nan if value is None else value
    return lines


def _history(path: Path) -> dict[str, Points]:
    """Loss and validation loss by epoch, as far as they were recorded."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        name: {float(row["epoch"]): float(row[name]) for row in rows if row[name]}
        for name in ("loss", "val.loss")
        if any(row.get(name) for row in rows)
    }


def _titled(means: Mapping[str, float | None]) -> dict[str, float | None]:
    return {title_of(name): value for name, value in means.items()}


def _dataset(path: Path) -> str:
    return path.stem.partition("-")[2]


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02} h" if minutes >= 60 else f"{minutes}:{rest:02} min"


def _memory(megabytes: float) -> str:
    return f"{megabytes:,.0f} MB" if math.isfinite(megabytes) else "–"
