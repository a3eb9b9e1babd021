"""Label maps in the colours of their classes."""

from pathlib import Path

import numpy as np
from PIL import Image

from decofuse.data.classes import ClassTable
from decofuse.data.images import UInt8
from decofuse.files import atomic


def colourise(label: UInt8, classes: ClassTable) -> UInt8:
    """Turn class indices (any shape, 0 to len(classes) - 1) into RGB colours (one axis more, [0, 255])."""
    colours: UInt8 = np.array(classes.colours, dtype=np.uint8)[label]
    return colours


def write_label(path: Path, label: UInt8, classes: ClassTable) -> None:
    """Write an H×W uint8 map of class indices atomically, as a palette PNG that viewers show in class colours.

    Raises:
        ValueError: a label is no index of `classes`.
    """
    if label.max(initial=0) >= len(classes):
        raise ValueError(f"label {label.max()} in a map of {len(classes)} classes")
    image = Image.fromarray(label)
    image.putpalette([level for colour in classes.colours for level in colour])
    with atomic(path) as temporary:
        image.save(temporary, format="PNG")
