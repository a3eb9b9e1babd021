"""Label maps in class colours over the images that they belong to, for a person to look at."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from decofuse.data.classes import ClassTable
from decofuse.data.dataset import IGNORED_LABEL
from decofuse.data.images import UInt8, write_image
from decofuse.data.labels import colourise
from decofuse.errors import UserError
from decofuse.grid import GAP, LINE, cell_width, fitted, image_strip, scaled, title_strip

OPACITY = 0.6
PLAIN = ("unlabelled", "background")  # names of a first class that is no class; CamVid's is the sky
PER_LINE = 5  # entries of the legend

Cell = tuple[UInt8, UInt8]  # image H×W(×3), label map H×W


def overlay(image: UInt8, label: UInt8, classes: ClassTable, opacity: float = OPACITY) -> UInt8:
    """Lay the colours of the classes over an image; the unlabelled class and ignored pixels leave it as it is.

    Args:
        image: H×W (grey) or H×W×3 (RGB), uint8.
        label: class indices H×W, 255 where ignored.
        classes: names and colours.
        opacity: share of the class colour, in [0, 1].

    Returns:
        H×W×3 RGB uint8.

    Raises:
        ValueError: the label map has another size than the image, or a class that the table lacks.
    """
    if label.shape != image.shape[:2]:
        raise ValueError(f"expected a label map of {image.shape[:2]} pixels, found {label.shape}")
    rgb = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    shown = label != IGNORED_LABEL
    if (label[shown] >= len(classes)).any():
        raise ValueError(f"expected classes below {len(classes)}, found {label[shown].max()}")
    if classes.names[0] in PLAIN:
        shown &= label != 0
    colours = colourise(np.where(shown, label, 0).astype(np.uint8), classes)
    mixed = np.rint((1 - opacity) * rgb.astype(np.float32) + opacity * colours.astype(np.float32)).astype(np.uint8)
    return np.where(shown[..., None], mixed, rgb)


def draw_overlays(
    rows: Iterable[tuple[str, Sequence[Cell]]], titles: Sequence[str], classes: ClassTable, out: Path
) -> None:
    """Write a PNG with a row a pair, labelled by its stem, a column a title, and a legend of the classes that occur.

    Args:
        rows: stem, and an image with a label map for each title.
        titles: of the columns.
        classes: names and colours.
        out: where the PNG goes.

    Raises:
        UserError: too many columns; no pairs; a label map does not fit its image or the classes.
        ValueError: a row has not as many cells as there are titles.
    """
    width = cell_width(len(titles))
    strips, present = [title_strip(titles, width)], set[int]()
    for stem, cells in rows:
        images = []
        for title, cell in zip(titles, cells, strict=True):
            try:
                images.append(scaled(overlay(*cell, classes), width))
            except ValueError as error:
                raise UserError(f"{stem}, {title}: {error}; predict again") from error
        strips.append(image_strip(stem, images))
        present |= {int(index) for _, label in cells for index in np.unique(label)}
    if len(strips) == 1:
        raise UserError(f"{out}: expected pairs to show, found none; choose another split")
    shown = [index for index in sorted(present) if index < len(classes) and not _is_plain(index, classes)]
    strips.append(_legend(shown, classes, strips[0].shape[1]))
    write_image(out, np.concatenate(strips))


def _is_plain(index: int, classes: ClassTable) -> bool:
    return index == 0 and classes.names[0] in PLAIN


def _legend(indices: Sequence[int], classes: ClassTable, width: int) -> UInt8:
    """A box of each colour with the name of its class."""
    lines = max(1, -(-len(indices) // PER_LINE))
    strip = Image.new("RGB", (width, GAP + lines * LINE), "white")
    draw = ImageDraw.Draw(strip)
    entry = (width - GAP) // PER_LINE
    for position, index in enumerate(indices):
        left, top = GAP + position % PER_LINE * entry, position // PER_LINE * LINE
        colour = tuple(int(level) for level in classes.colours[index])
        draw.rectangle((left, top + 6, left + 34, top + LINE - 6), fill=colour, outline="black")
        draw.text((left + 42, top + LINE / 2), *fitted(classes.names[index], entry - 50), anchor="lm")
    return np.asarray(strip)
