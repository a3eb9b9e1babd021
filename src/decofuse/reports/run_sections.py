"""The sections of the run's report; each is empty if the run has nothing of its kind."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from decofuse.evaluation.ranking import ARROWS, rank
from decofuse.metrics import METRICS
from decofuse.models.registry import METHODS
from decofuse.reports.costs import by_rule, read_costs
from decofuse.reports.curves import Points, bar_chart, line_chart
from decofuse.reports.page import Cell, Mark, Page, Table
from decofuse.reports.page import Row as TableRow
from decofuse.reports.results import Averages, Results
from decofuse.reports.run_files import RunFiles
from decofuse.reports.run_html import charts, details, grid_of, items, paragraphs, picture, text, titled_table
from decofuse.reports.segmentation import title_of, verdict
from decofuse.segmentation.scores import Scores

MEAN_IOU = "mIoU [%]"
_MARKS: Mapping[int, Mark] = {1: "best", 2: "second"}


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
            bars.append((f"{name} {ARROWS[METRICS[name].direction]}", bar_chart(_titled(means), texts, _titles(best))))
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
        parts += [paragraphs(verdict(dataset, group)), titled_table(_segmentation_table(dataset, group))]
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
        taught = dict.fromkeys(_method(name) for name in means if _round(name))
        shown = {name: row for name, row in means.items() if _method(name) in taught}
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


def _segmentation_table(dataset: str, scores: Sequence[Scores]) -> Table:
    classes = scores[0].classes
    columns = (MEAN_IOU, *classes)
    percent = {
        its.input: dict(zip(columns, map(_percent, (its.mean.mIoU, *its.mean.IoU)), strict=True)) for its in scores
    }
    ranking = rank(percent, dict.fromkeys(columns, "higher"))
    rows = []
    for its in scores:
        cells = []
        for name in columns:
            value, place = percent[its.input][name], ranking.places[its.input][name]
            spread = f" ± {100 * its.std.mIoU:.2f}" if name == MEAN_IOU and len(its.confusions) > 1 else ""
            cell_text = "–" if value is None else f"{value:.2f}{spread}"
            cells.append(Cell(cell_text, _MARKS.get(place, "") if value and len(scores) > 1 else ""))
        rows.append(TableRow("own", title_of(its.input), tuple(cells)))
    about = "IoU of each class and its mean, in percent; the best is bold, the second best underlined"
    return Table(dataset, about, ("input", *columns), tuple(rows))


def _with_iou(name: str, averages: Averages, dataset: str, scores: Sequence[Scores]) -> dict[str, float | None]:
    iou = [_percent(its.mean.mIoU) for its in scores if (its.input, its.dataset) == (name, dataset)]
    return {**averages.mean, MEAN_IOU: iou[0] if iou else None}


def _by_round(means: Mapping[str, Mapping[str, float | None]], column: str) -> Mapping[str, Points]:
    lines: dict[str, dict[float, float]] = {}
    for name, row in means.items():
        value = row[column]
        lines.setdefault(title_of(_method(name)), {})[_round(name)] = math.nan if value is None else value
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


def _titles(names: Sequence[str]) -> list[str]:
    return [METHODS[name].title if name in METHODS else name for name in names]


def _titled(means: Mapping[str, float | None]) -> dict[str, float | None]:
    return dict(zip(_titles(list(means)), means.values(), strict=True))


def _dataset(path: Path) -> str:
    return path.stem.partition("-")[2]


def _method(variant: str) -> str:
    return variant.partition("-round")[0]


def _round(variant: str) -> int:
    number = variant.partition("-round")[2]
    return int(number) if number.isdecimal() else 0


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02} h" if minutes >= 60 else f"{minutes}:{rest:02} min"


def _memory(megabytes: float) -> str:
    return f"{megabytes:,.0f} MB" if math.isfinite(megabytes) else "–"
