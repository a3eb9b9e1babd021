"""Small charts for a page: SVG that takes its ink from the text around it, so that it reads on light and on dark."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from decofuse.text import printable

WIDTH, HEIGHT = 3.6, 2.3  # of a chart of lines [inches]
LINE, FRAME = 0.24, 0.35  # of a bar, and of the axis below all bars
COLOURS = ("#3b82c4", "#d9772b", "#2a9d6f", "#b5559b", "#8a8f1c", "#c94a4a")  # each at least 3:1 on white and on black
LONGEST = 22  # of a name [characters]
_INK = "#010203"  # stands for the colour of the text
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "decofuse",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}

Points = Mapping[float, float]


def line_chart(series: Mapping[str, Points], x_label: str) -> str:
    """A line for each of the series {x: y}; those named `val…` are dashed. Values that are not finite leave gaps.

    Args:
        series: by the name that the legend gives them; a single one has no legend.
        x_label: name of the x axis, which counts.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.subplots()
        for i, (name, points) in enumerate(series.items()):
            axes.plot(
                list(points),
                [y if math.isfinite(y) else math.nan for y in points.values()],
                color=COLOURS[i % len(COLOURS)],
                linestyle="--" if name.startswith("val") else "-",
                marker="o" if len(points) <= 12 else "",
                markersize=3,
                linewidth=1.4,
                label=_short(name),
            )
        axes.set_xlabel(x_label)
        _frame(axes, [x for points in series.values() for x in points])
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.grid(color=_INK, alpha=0.15)
        if len(series) > 1:
            for text in axes.legend(fontsize=8).get_texts():
                text.set_parse_math(False)
        return _svg(figure)


def bar_chart(values: Mapping[str, float | None], texts: Sequence[str], best: Sequence[str]) -> str:
    """A horizontal bar for each value, from top to bottom, with its text beside it.

    Args:
        values: by name; no bar for None.
        texts: what is written at the bars.
        best: names of the bars that stand out.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, FRAME + LINE * len(values)), layout="constrained")
        axes = figure.subplots()
        numbers = [value or 0.0 for value in values.values()]
        colours = [COLOURS[0] if name in best else "#8b97a5" for name in values]
        axes.barh(range(len(numbers)), numbers, color=colours, height=0.72)
        _label(axes, numbers, texts)
        axes.set_yticks(range(len(numbers)), [_short(name) for name in values], parse_math=False)
        axes.set_ylim(len(numbers) - 0.5, -0.5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.grid(axis="x", color=_INK, alpha=0.15)
        axes.set_axisbelow(True)
        return _svg(figure)


def _frame(axes: Axes, counts: Sequence[float]) -> None:
    """Let the x axis show every count, those without a value too, and name whole ones alone."""
    low, high = min(counts, default=0.0), max(counts, default=1.0)
    margin = 0.05 * (high - low) or 0.5
    axes.set_xlim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))


def _label(axes: Axes, numbers: Sequence[float], texts: Sequence[str]) -> None:
    """Write the texts to the right of the bars, and leave room for them."""
    low, high = min(0.0, *numbers), max(0.0, *numbers)
    span = (high - low) or 1.0
    axes.set_xlim(low - (0.02 * span if low else 0), high + 0.3 * span)
    for place, (number, text) in enumerate(zip(numbers, texts, strict=True)):
        axes.text(max(number, 0.0) + 0.02 * span, place, text, va="center", fontsize=8, parse_math=False)


def _svg(figure: Figure) -> str:
    """The figure as an element for a page: no document around it, no size of its own, no names that could clash."""
    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    head, body = out.getvalue().partition("<svg")[2].split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)  # would hold for the whole page
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    return f"<svg{head}>{body}".replace(_INK, "currentColor").strip()


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
