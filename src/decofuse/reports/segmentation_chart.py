"""The chart of the segmentation comparison: mIoU of every input, and the IoU of each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from decofuse.files import atomic
from decofuse.segmentation.scores import Scores

WIDTH = 13.0  # of the chart [inches]
LINE = 0.36  # of an input
FRAME = 1.9  # of titles and axes, for each dataset
DPI = 110
BAR, DOT = "#4477aa", "#222222"

Group = Sequence[tuple[str, Scores]]  # title and scores of each input


def draw_chart(datasets: Mapping[str, Group], out: Path) -> None:
    """Write a PNG with two panels a dataset: bars of mIoU with a dot a training, and a table of the IoU of each class.

    The same scores give the same bytes.

    Args:
        datasets: title and scores of each input, by dataset.
        out: where the PNG goes.
    """
    heights = [FRAME + LINE * len(group) for group in datasets.values()]
    figure = Figure(figsize=(WIDTH, sum(heights)), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(datasets), 2, squeeze=False, height_ratios=heights, width_ratios=(1, 1.5))
    for (name, group), (left, right) in zip(datasets.items(), panels, strict=True):
        _bars(left, name, group)
        _classes(right, group)
    with atomic(out) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def _bars(axes: Axes, dataset: str, group: Group) -> None:
    places = np.arange(len(group))
    means = [100 * scores.mean.mIoU for _, scores in group]
    axes.barh(places, means, color=BAR, height=0.7)
    for place, (_, scores) in zip(places, group, strict=True):
        each = [100 * values.mIoU for values in scores.values.values()]
        axes.scatter(each, [place] * len(each), s=14, color=DOT, zorder=3)
    axes.set_yticks(places, [title for title, _ in group])
    axes.invert_yaxis()
    axes.set_xlim(0, max(10.0, 1.15 * max(100 * values.mIoU for _, its in group for values in its.values.values())))
    axes.set_xlabel("mIoU [%]; a dot a training")
    axes.set_title(dataset)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)


def _classes(axes: Axes, group: Group) -> None:
    classes = group[0][1].classes
    table = np.array([[np.nan if value is None else 100 * value for value in its.mean.IoU] for _, its in group])
    image = np.ma.masked_invalid(table)
    axes.imshow(image, aspect="auto", cmap="cividis", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(table):
        text = "–" if np.isnan(value) else f"{value:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color="white" if not value > 55 else "black")
    axes.set_xticks(np.arange(len(classes)), classes, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks([])
    axes.set_title("IoU of each class [%], mean of the trainings")
