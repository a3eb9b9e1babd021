"""Which input helps segmentation: tables, a chart and a page, and in words what they say."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev

from decofuse.data.dataset import SOURCES
from decofuse.evaluation.ranking import rank
from decofuse.files import write_json, write_text
from decofuse.models.registry import METHODS
from decofuse.reports import page_html, page_markdown
from decofuse.reports.page import Cell, Mark, Page, Picture, Row, Table
from decofuse.reports.segmentation_chart import draw_chart
from decofuse.segmentation.scores import Scores, Values

SINGLE = tuple(dict.fromkeys(name for sources in SOURCES.values() for name in sources))
MEAN_IOU, PIXELS = "mIoU", "pixels"  # columns beside those of the classes
_MARKS: dict[int | None, Mark] = {1: "best", 2: "second"}


def write_segmentation(
    scores: Sequence[Scores],
    pictures: Mapping[str, Path],
    preset: str,
    *,
    csv_out: Path,
    json_out: Path,
    markdown_out: Path,
    html_out: Path,
    chart_out: Path,
) -> None:
    """Compare the inputs, dataset by dataset, in the order of the scores.

    - CSV: a row a dataset, input, training and score, with all digits.
    - JSON: dataset -> input -> mean mIoU, as `dvc metrics show` reads it.
    - PNG: bars of mIoU with every training, and the IoU of each class.
    - Markdown and HTML: the comparison in words, a table a dataset, the chart, and label maps over images.

    Args:
        scores: of every input on every dataset.
        pictures: of each dataset, label maps over images.
        preset: name of the run.
        csv_out: where the CSV goes.
        json_out: where the JSON goes.
        markdown_out: where the Markdown goes.
        html_out: where the HTML goes.
        chart_out: where the chart goes.
    """
    datasets = {
        name: [its for its in scores if its.dataset == name] for name in dict.fromkeys(s.dataset for s in scores)
    }
    draw_chart({name: [(title_of(its.input), its) for its in group] for name, group in datasets.items()}, chart_out)
    shown = [Picture("Mean IoU of every input, and IoU of each class", chart_out)]
    shown += [Picture(f"Predicted classes on {name}", path) for name, path in pictures.items()]
    page = Page(
        title=f"Segmentation, preset {preset}",
        introduction=tuple(sentence for name, group in datasets.items() for sentence in verdict(name, group)),
        tables=tuple(_table(name, group) for name, group in datasets.items()),
        pictures=tuple(shown),
    )
    write_text(csv_out, _csv(scores))
    write_json(json_out, {name: {its.input: its.mean.mIoU for its in group} for name, group in datasets.items()})
    write_text(markdown_out, page_markdown.render(page, markdown_out.parent))
    write_text(html_out, page_html.render(page))


def title_of(name: str) -> str:
    """What people call an input."""
    if name in SINGLE:
        return f"{name.replace('_', ' ')} only".capitalize()
    method, _, number = name.partition("-round")
    if number:
        return f"{METHODS[method].title}, round {number}"
    if name.endswith("-head"):
        return f"{METHODS[name.removesuffix('-head')].title}, own head"
    return METHODS[name].title


def verdict(dataset: str, scores: Sequence[Scores]) -> list[str]:
    """In words: the best fused input against the best single source, and every round against the one before it."""
    by_input = {its.input: its for its in scores}
    single = [its for its in scores if its.input in SINGLE]
    fused = [its for its in scores if its.input not in SINGLE and not its.input.endswith("-head")]
    sentences = []
    if single and fused:
        best, reference = max(fused, key=_mean_iou), max(single, key=_mean_iou)
        sentences.append(
            f"On {dataset}, the best fused input is {title_of(best.input)} with {_percent(best.mean.mIoU)} mIoU, the "
            f"best single source {title_of(reference.input)} with {_percent(reference.mean.mIoU)}: "
            f"{_difference(best, reference)}"
        )
    for name, its in by_input.items():
        method, _, number = name.partition("-round")
        before = by_input.get(f"{method}-round{int(number) - 1}" if int(number or 1) > 1 else method)
        if number and before:
            sentences.append(
                f"{title_of(name)} against {title_of(before.input)} on {dataset}: {_difference(its, before)}"
            )
    return sentences


def _mean_iou(scores: Scores) -> float:
    return scores.mean.mIoU


def _difference(one: Scores, other: Scores) -> str:
    """How far mIoU differs, training by training, and whether that is more than its spread."""
    first, second = one.values, other.values
    differences = [100 * (first[number].mIoU - second[number].mIoU) for number in first.keys() & second.keys()]
    if not differences:
        return "no trainings in common."
    mean, spread = fmean(differences), pstdev(differences)
    word = "better" if mean > 0 else "worse"
    if len(differences) == 1:
        return f"{abs(mean):.2f} points {word} in the one training."
    clear = "more than" if abs(mean) > spread else "within"
    return (
        f"{abs(mean):.2f} points {word} in the mean of {len(differences)} trainings, {clear} their spread of "
        f"{spread:.2f} points."
    )


def _table(dataset: str, scores: Sequence[Scores]) -> Table:
    classes = scores[0].classes
    columns = {its.input: _columns(its.mean, classes) for its in scores}
    spreads = {its.input: _columns(its.std, classes) for its in scores}
    ranking = rank(columns, dict.fromkeys((MEAN_IOU, *classes, PIXELS), "higher"))
    several = any(len(its.confusions) > 1 for its in scores)

    def cell(name: str, column: str) -> Cell:
        mean, spread = columns[name][column], spreads[name][column]
        if mean is None:
            return Cell("-")
        text = f"{100 * mean:.2f}" + (f" ± {100 * spread:.2f}" if several and spread is not None else "")
        return Cell(text, _MARKS.get(ranking.places[name].get(column), "") if mean else "")

    trainings = max(len(its.confusions) for its in scores)
    return Table(
        title=dataset,
        about=f"IoU of each class and its mean (mIoU), and the share of right pixels, in percent; mean and population "
        f"standard deviation of {trainings} training{'s' if trainings > 1 else ''}; {scores[0].images} images",
        header=("input", MEAN_IOU, *classes, PIXELS),
        rows=tuple(
            Row("own", title_of(name), tuple(cell(name, column) for column in (MEAN_IOU, *classes, PIXELS)))
            for name in columns
        ),
        remarks=(
            "The same network, seeds, order of images and schedule for every input.",
            "A class that occurs neither in labels nor in predictions has no IoU, and is left out of the mean.",
        ),
    )


def _columns(values: Values, classes: Sequence[str]) -> dict[str, float | None]:
    return {MEAN_IOU: values.mIoU, **dict(zip(classes, values.IoU, strict=True)), PIXELS: values.pixel_accuracy}


def _csv(scores: Sequence[Scores]) -> str:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["dataset", "input", "training", "score", "class", "value"])
    for its in scores:
        for number, values in its.values.items():
            where = [its.dataset, its.input, number]
            for name in ("mIoU", "mean_accuracy", "pixel_accuracy"):
                table.writerow([*where, name, "", getattr(values, name)])
            for name in ("IoU", "accuracy"):
                for label, value in zip(its.classes, getattr(values, name), strict=True):
                    table.writerow([*where, name, label, "" if value is None else value])
    return out.getvalue()


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
