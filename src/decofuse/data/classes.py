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

FMB = ClassTable(
    names=(
        *("background", "road", "sidewalk", "building", "lamp", "sign", "vegetation", "sky"),
        *("person", "car", "truck", "bus", "motorcycle", "bicycle", "pole"),
    ),
    colours=(
        (0, 0, 0),
        (179, 228, 228),
        (181, 57, 133),
        (67, 162, 177),
        (200, 178, 50),
        (132, 45, 199),
        (66, 172, 84),
        (179, 73, 79),
        (76, 99, 166),
        (66, 121, 253),
        (137, 165, 91),
        (155, 97, 152),
        (105, 153, 140),
        (222, 215, 158),
        (135, 113, 90),
    ),
)
"""FMB: street scenes; the colours are those of its release."""

PST900 = ClassTable(
    names=("background", "drill", "backpack", "fire_extinguisher", "rescue_randy"),
    colours=((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)),
)
"""PST900: what rescue robots look for underground; `rescue_randy` is a manikin, for a person."""

CAMVID = ClassTable(
    names=(
        *("sky", "building", "pole", "road", "pavement", "tree"),
        *("sign", "fence", "car", "pedestrian", "bicyclist"),
    ),
    colours=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
)
"""CamVid in the version and the colours of the SegNet tutorial (Kendall et al.): street scenes by day and at dusk."""


def numbered(count: int) -> ClassTable:
    """Classes that are known by their number alone, in colours that differ; 0 is black.

    The bits of the number are spread over the channels, as PASCAL VOC's colours are.
    """
    colours = []
    for index in range(count):
        levels = [0, 0, 0]
        for bit in range(8):
            levels[bit % 3] |= ((index >> bit) & 1) << (7 - bit // 3)
        colours.append((levels[0], levels[1], levels[2]))
    return ClassTable(tuple(map(str, range(count))), tuple(colours))
