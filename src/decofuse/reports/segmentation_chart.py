"""The chart of the segmentation comparison: mIoU of every input, and the IoU of each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from decofuse.files import atomic
from decofuse.segmentation.scores import Scores
from decofuse.text import printable

WIDTH = 13.0  # of the chart [inches]
LINE = 0.36  # of an input
FRAME = 1.9  # of titles and axes, for each dataset
DPI = 110
DOT = "#222222"
LONGEST = 32  # of a name [characters]
HALO = (withStroke(linewidth=3, foreground="white"),)  # around numbers that a line may cross

Kind = Literal["source", "fused", "head"]
COLOURS: Mapping[Kind, str] = {"source": "#ee9a33", "fused": "#4477aa", "head": "#aa3377"}  # colour-blind-safe
LEGEND: Mapping[Kind, str] = {"source": "single source", "fused": "fused", "head": "fusion network's own head"}


class Bar(NamedTuple):
    """An input: its title, what it is, and its scores."""

    title: str
    kind: Kind
    scores: Scores


def draw_chart(datasets: Mapping[str, Sequence[Bar]], out: Path) -> None:
    """Write a PNG with two panels a dataset: bars of mIoU, and beside them a table of the IoU of each class.

    A dot is a training, a whisker the population standard deviation of several, a dashed line the best single source.
    The same scores give the same bytes.

    Args:
        datasets: the inputs by dataset, from top to bottom.
        out: where the PNG goes.
    """
    heights = [FRAME + LINE * len(bars) for bars in datasets.values()]
    figure = Figure(figsize=(WIDTH, sum(heights)), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(datasets), 2, squeeze=False, height_ratios=heights, width_ratios=(1, 1.5))
    for (name, bars), (left, right) in zip(datasets.items(), panels, strict=True):
        _bars(left, name, bars)
        _classes(right, bars)
    kinds = [kind for kind in COLOURS if any(bar.kind == kind for bars in datasets.values() for bar in bars)]
    handles = [Patch(color=COLOURS[kind], label=LEGEND[kind]) for kind in kinds]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False)
    with atomic(out) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def _bars(axes: Axes, dataset: str, bars: Sequence[Bar]) -> None:
    single = [100 * bar.scores.mean.mIoU for bar in bars if bar.kind == "source"]
    if single:
        axes.axvline(max(single), color=DOT, linestyle="--", linewidth=1, zorder=1)
    largest = max(100 * values.mIoU for bar in bars for values in bar.scores.values.values())
    limit = max(1.0, 1.18 * largest)  # room for the numbers
    for place, bar in enumerate(bars):
        mean, std = 100 * bar.scores.mean.mIoU, 100 * bar.scores.std.mIoU
        each = [100 * values.mIoU for values in bar.scores.values.values()]
        axes.barh(place, mean, color=COLOURS[bar.kind], height=0.72, zorder=2)
        if len(each) > 1:
            axes.errorbar(mean, place, xerr=std, color=DOT, capsize=4, linewidth=1.2, zorder=3)
        beside = np.linspace(-0.2, 0.2, len(each)) if len(each) > 1 else [0.0]
        axes.scatter(each, place + np.asarray(beside), s=15, color="white", edgecolors=DOT, linewidths=0.8, zorder=4)
        end = max(mean + std, *each) + 0.02 * limit
        axes.text(end, place, f"{mean:.1f}", va="center", fontsize=9, zorder=5, path_effects=HALO)
    axes.set_yticks(range(len(bars)), [_short(bar.title) for bar in bars], parse_math=False)
    axes.set_ylim(len(bars) - 0.5, -0.5)  # as the table beside it
    axes.set_xlim(0, limit)
    axes.set_xlabel("mIoU [%]; dot: a training" + ("; dashed: best single source" if single else ""))
    axes.set_title(_short(dataset), parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3, zorder=0)


def _classes(axes: Axes, bars: Sequence[Bar]) -> None:
    classes = bars[0].scores.classes
    table = np.array([[np.nan if v is None else 100 * v for v in bar.scores.mean.IoU] for bar in bars])
    axes.set_facecolor("#dddddd")
    axes.imshow(np.ma.masked_invalid(table), aspect="auto", cmap="cividis", vmin=0, vmax=100)
    size = 9 if len(classes) <= 20 else 7
    for (row, column), value in np.ndenumerate(table):
        text, colour = (f"{value:.0f}", "white" if value < 52 else "black") if np.isfinite(value) else ("–", "black")
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
    names = [_short(name) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=35, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks([])
    axes.set_title("IoU of each class [%], mean of the trainings")


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
