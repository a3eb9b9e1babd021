"""Class tables of the labelled datasets: facts only, cheap to import."""

from dataclasses import dataclass

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
