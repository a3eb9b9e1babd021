"""Which input helps segmentation: tables, a chart and a page, and in words what they say."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev

from decofuse.data.dataset import SOURCES
from decofuse.errors import UserError
from decofuse.evaluation.ranking import rank
from decofuse.files import write_json, write_text
from decofuse.models.registry import METHODS
from decofuse.reports import page_html, page_markdown
from decofuse.reports.page import Cell, Mark, Page, Picture, Row, Table
from decofuse.reports.segmentation_chart import Bar, Kind, draw_chart
from decofuse.segmentation.scores import Scores, Values
from decofuse.variants import round_name, split_round

SINGLE = tuple(dict.fromkeys(name for sources in SOURCES.values() for name in sources))
MEAN_IOU, PIXELS = "mIoU", "pixels"  # columns beside those of the classes
DECIMALS = 2  # of a percentage
_SINGLE = {"source_a": "First source", "source_b": "Second source"}
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
    """Compare the inputs, dataset by dataset: sources, methods without training, others, rounds below their method.

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

    Raises:
        UserError: no scores; scores of one dataset do not belong together; a picture is missing.
    """
    datasets = _grouped(scores)
    if missing := [path for path in pictures.values() if not path.is_file()]:
        raise UserError(f"{missing[0]}: expected a picture of label maps, found none; draw it with decofuse overlays")
    bars = {name: [Bar(title_of(its.input), _kind(its.input), its) for its in its_] for name, its_ in datasets.items()}
    draw_chart(bars, chart_out)
    shown = [Picture("Mean IoU of every input, and IoU of each class", chart_out)]
    shown += [Picture(f"Predicted classes on {name}", path) for name, path in pictures.items()]
    page = Page(
        title=f"Segmentation, preset {preset}",
        introduction=tuple(sentence for name, group in datasets.items() for sentence in verdict(name, group)),
        tables=tuple(table_of(name, group) for name, group in datasets.items()),
        pictures=tuple(shown),
    )
    write_text(csv_out, _csv([its for group in datasets.values() for its in group]))
    write_json(json_out, {name: {its.input: its.mean.mIoU for its in group} for name, group in datasets.items()})
    write_text(markdown_out, page_markdown.render(page, markdown_out.parent))
    write_text(html_out, page_html.render(page))


def title_of(name: str) -> str:
    """What people call an input; a name that nothing is known of stays as it is."""
    if name in SINGLE:
        return f"{_SINGLE.get(name, name.capitalize())} only"
    method, number, head = _parts(name)
    if method not in METHODS:
        return name
    title = METHODS[method].title
    return f"{title}, own head" if head else f"{title}, round {number}" if number else title


def verdict(dataset: str, scores: Sequence[Scores]) -> list[str]:
    """In words: the best fused input against the best single source, and every round against those before it."""
    by_input = {its.input: its for its in scores}
    single = [its for its in scores if _kind(its.input) == "source"]
    fused = [its for its in scores if _kind(its.input) == "fused"]
    sentences = []
    if single and fused:
        best, reference = max(fused, key=_mean_iou), max(single, key=_mean_iou)
        than = f"the best single source, {title_of(reference.input)} with {_percent(reference.mean.mIoU)}"
        sentences.append(
            f"On {dataset}, the best fused input is {title_of(best.input)} with {_percent(best.mean.mIoU)} mIoU: "
            f"{_difference(best, reference, than)}."
        )
    for its in scores:
        method, number, _ = _parts(its.input)
        names = dict.fromkeys((method, round_name(method, number - 1))) if number else ()
        before = [by_input[name] for name in names if name in by_input]
        if before:
            words = (_difference(its, other, title_of(other.input)) for other in before)
            sentences.append(f"On {dataset}, {title_of(its.input)} is {'; '.join(words)}.")
    return sentences


def _grouped(scores: Sequence[Scores]) -> dict[str, list[Scores]]:
    """Scores by dataset, checked and in the order in which they are shown."""
    if not scores:
        raise UserError("expected segmentation scores to compare, found none")
    datasets: dict[str, list[Scores]] = {}
    for its in scores:
        group = datasets.setdefault(its.dataset, [])
        if its.input in [other.input for other in group]:
            raise UserError(f"{its.input} on {its.dataset}: expected one file of scores, found several")
        if group and (its.classes, its.images) != (group[0].classes, group[0].images):
            raise UserError(
                f"{its.input} on {its.dataset}: expected scores of the classes and images of {group[0].input}, found "
                "others; delete its scores and run again"
            )
        group.append(its)
    return {name: _ordered(group) for name, group in datasets.items()}


def _ordered(group: Sequence[Scores]) -> list[Scores]:
    methods = [*dict.fromkeys((*SINGLE, *(_parts(its.input)[0] for its in group)))]

    def place(its: Scores) -> tuple[int, int, bool, int]:
        method, number, head = _parts(its.input)
        trained = method not in METHODS or bool(METHODS[method].phases)
        return (0 if _kind(its.input) == "source" else 1 + trained, methods.index(method), head, number)

    return sorted(group, key=place)


def _parts(name: str) -> tuple[str, int, bool]:
    """Method, number of rounds, and whether it is a network's own head."""
    if name.endswith("-head"):
        return name.removesuffix("-head"), 0, True
    return *split_round(name), False


def _kind(name: str) -> Kind:
    return "source" if name in SINGLE else "head" if _parts(name)[2] else "fused"


def _mean_iou(scores: Scores) -> float:
    return scores.mean.mIoU


def _difference(one: Scores, other: Scores, than: str) -> str:
    """How far mIoU differs, training by training, and whether that is more than its spread."""
    first, second = one.values, other.values
    differences = [100 * (first[number].mIoU - second[number].mIoU) for number in first.keys() & second.keys()]
    if not differences:
        return f"not to be compared with {than}, for want of trainings in common"
    mean, spread = fmean(differences), pstdev(differences)
    equal = f"{abs(mean):.2f}" == "0.00"
    found = f"as good as {than}" if equal else f"{abs(mean):.2f} points {'better' if mean > 0 else 'worse'} than {than}"
    if len(differences) == 1:
        return f"{found} (one training, so with no spread to hold it against)"
    clear = "more than" if abs(mean) > spread else "within"
    return f"{found} (mean difference of {len(differences)} trainings, {clear} its spread of {spread:.2f} points)"


def table_of(dataset: str, scores: Sequence[Scores]) -> Table:
    """Scores of one dataset, a row an input, in percent."""
    classes = scores[0].classes
    names = (MEAN_IOU, *classes, PIXELS)
    columns = {its.input: _columns(its.mean, classes) for its in scores}
    spreads = {its.input: _columns(its.std, classes) for its in scores}
    ranking = rank(columns, dict.fromkeys(names, "higher"))

    def cell(its: Scores, column: str) -> Cell:
        mean, spread = columns[its.input][column], spreads[its.input][column]
        if mean is None or spread is None:
            return Cell("–")
        digits = min(DECIMALS, ranking.decimals[column])  # fewer at 100: as they are ranked
        text = f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if len(its.confusions) > 1 else "")
        return Cell(text, _MARKS.get(ranking.places[its.input][column], "") if mean and len(scores) > 1 else "")

    return Table(
        title=dataset,
        about=_about(scores),
        header=("input", *names),
        rows=tuple(Row("own", title_of(its.input), tuple(cell(its, name) for name in names)) for its in scores),
        remarks=_remarks(scores),
    )


def _about(scores: Sequence[Scores]) -> str:
    counts = sorted({len(its.confusions) for its in scores if _kind(its.input) != "head"} or {1})
    trainings = f"{' or '.join(map(str, counts))} training{'s' if counts != [1] else ''}"
    averaged = "one training" if counts == [1] else f"mean and population standard deviation of {trainings}"
    return (
        "IoU of each class and its mean (mIoU), and the share of right pixels, in percent; the best is bold, the "
        f"second best underlined; {averaged}; {scores[0].images} image{'s' if scores[0].images != 1 else ''}"
    )


def _remarks(scores: Sequence[Scores]) -> tuple[str, ...]:
    kinds = [_kind(its.input) for its in scores]
    remarks = ["The same segmentation network, seeds, order of images and schedule for every input."]
    if "head" in kinds:
        remarks.append(
            "An own head is part of the fusion network, trained once with it: another network than the rest."
        )
    if kinds.count("fused") > 1 and "source" in kinds:
        remarks.append("The best input is chosen by the scores shown here, which flatters the best of many.")
    if any(value is None for its in scores for value in its.mean.IoU):
        remarks.append(
            "A class that occurs neither in labels nor in predictions has no IoU and is left out of the mean."
        )
    return tuple(remarks)


def _columns(values: Values, classes: Sequence[str]) -> dict[str, float | None]:
    """Percent by column, as exact as they are printed."""
    shares = {MEAN_IOU: values.mIoU, **dict(zip(classes, values.IoU, strict=True)), PIXELS: values.pixel_accuracy}
    return {name: None if share is None else round(100 * share, DECIMALS) for name, share in shares.items()}


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
