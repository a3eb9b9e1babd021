"""Class tables of the labelled datasets, and label maps written in their colours."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from decofuse.data.images import UInt8
from decofuse.files import atomic

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassTable:
    """Names and display colours of a dataset's classes; a class is known by its index in both."""

    names: tuple[str, ...]
    colours: tuple[Colour, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colours):
            raise ValueError(f"{len(self.names)} names, {len(self.colours)} colours")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The class index of `name`."""
        return self.names.index(name)

    def colourise(self, label: UInt8) -> UInt8:
        """Turn class indices (any shape, 0 to len - 1) into RGB colours (one axis more, [0, 255])."""
        colours: UInt8 = np.array(self.colours, dtype=np.uint8)[label]
        return colours


MSRS = ClassTable(
    names=("unlabelled", "car", "person", "bike", "curve", "car_stop", "guardrail", "color_cone", "bump"),
    colours=(
        (0, 0, 0),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
        (0, 0, 192),
        (128, 128, 0),
        (64, 64, 128),
        (192, 128, 128),
        (192, 64, 0),
    ),
)
"""MSRS and MFNet: street scenes; `curve` is the kerb, `car_stop` a bollard or wheel stop."""


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
