"""Label maps in the colours of their classes."""

from pathlib import Path

import numpy as np
from PIL import Image

from decofuse.data.classes import ClassTable
from decofuse.data.dataset import IGNORED_LABEL
from decofuse.data.images import UInt8
from decofuse.files import atomic

_WEIGHTS = np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)  # a colour as one number


def colourise(label: UInt8, classes: ClassTable) -> UInt8:
    """Turn class indices (any shape, 0 to len(classes) - 1) into RGB colours (one axis more, [0, 255])."""
    colours: UInt8 = np.array(classes.colours, dtype=np.uint8)[label]
    return colours


def indices_of(rgb: UInt8, classes: ClassTable) -> UInt8:
    """Turn RGB colours (...×3, uint8) into class indices (one axis less, uint8), as `colourise` backwards.

    Raises:
        ValueError: a colour is none of `classes`; the message is that colour as `colour R,G,B`.
    """
    numbers = rgb.astype(np.uint32) @ _WEIGHTS
    found, places = np.unique(numbers, return_inverse=True)
    index = {int(np.array(colour, np.uint32) @ _WEIGHTS): place for place, colour in enumerate(classes.colours)}
    unknown = next((int(number) for number in found if int(number) not in index), None)
    if unknown is not None:
        raise ValueError(f"colour {unknown >> 16},{unknown >> 8 & 255},{unknown & 255}")
    indices: UInt8 = np.array([index[int(number)] for number in found], np.uint8)[places].reshape(numbers.shape)
    return indices


def read_colour_map(path: Path) -> UInt8 | None:
    """Read a label map that shows colours, as H×W×3 RGB uint8; None for one of indices (single-channel or palette).

    An alpha channel is dropped.
    """
    with Image.open(path) as image:
        return np.array(image.convert("RGB"), dtype=np.uint8) if image.mode in ("RGB", "RGBA") else None


def write_label(path: Path, label: UInt8, classes: ClassTable) -> None:
    """Write an H×W uint8 map of class indices atomically, as a palette PNG that viewers show in class colours.

    255, a pixel of no class, is shown in black.

    Raises:
        ValueError: a label is no index of `classes`, nor 255.
    """
    wrong = label[(label >= len(classes)) & (label != IGNORED_LABEL)]
    if wrong.size:
        raise ValueError(f"label {wrong.max()} in a map of {len(classes)} classes")
    palette = [level for colour in classes.colours for level in colour]
    if (label == IGNORED_LABEL).any():
        # A PNG of few colours has few bits a pixel: the palette must reach as far as the labels.
        palette += [0] * (3 * (IGNORED_LABEL + 1) - len(palette))
    image = Image.fromarray(label)
    image.putpalette(palette)
    with atomic(path) as temporary:
        image.save(temporary, format="PNG")
