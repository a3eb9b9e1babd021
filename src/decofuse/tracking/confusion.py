"""Confusion matrices of segmentation as a picture for MLflow's page."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

CELL = 0.62  # of a class [inches]
FRAME = 2.2  # of titles and names
FEWEST, MOST = 4, 24  # classes that decide the size; more are drawn smaller


def draw_confusion(title: str, classes: Sequence[str], matrices: Sequence[Sequence[Sequence[int]]]) -> Figure:
    """Draw the sum of the matrices; a cell says what share of a class's pixels was predicted as which class.

    Args:
        title: what was scored.
        classes: names of the C classes.
        matrices: C×C counts of each training, row = label.
    """
    counts = np.sum(np.asarray(matrices, dtype=np.float64), axis=0)
    labelled = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, labelled, out=np.zeros_like(counts), where=labelled > 0)
    side = FRAME + CELL * min(max(len(classes), FEWEST), MOST)
    figure = Figure(figsize=(side, side), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(classes))
    axes.set_xticks(places, classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, classes)
    axes.set(xlabel="predicted", ylabel="label", title=f"{title}\nshare of each class's pixels [%]")
    if len(classes) <= MOST:
        for row, column in np.argwhere(np.round(shares * 100) > 0):
            share = shares[row, column]
            colour = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{share * 100:.0f}", ha="center", va="center", color=colour, fontsize=8)
    return figure
