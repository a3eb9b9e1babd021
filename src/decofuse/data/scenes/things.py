"""What can stand in a scene.

Positions are road coordinates in metres; `yaw` turns clockwise seen from above, 0 faces ahead [radians]; `seed` draws
whatever a thing's painter leaves open.
"""

from dataclasses import dataclass
from typing import Literal

from decofuse.data.scenes.weather import Lamp, Rgb

Side = Literal["left", "right"]
CarBody = Literal["sedan", "hatchback", "suv", "van"]
Pose = Literal["walk", "stand", "ride"]
StopShape = Literal["bollard", "arch", "wheel_stop"]
RailShape = Literal["beam", "pipes"]
SignShape = Literal["disc", "triangle", "board", "light"]
Verge = Literal["paved", "grass"]
KERB_HEIGHT = 0.16  # pavements lie this much above the road [metres]


@dataclass(frozen=True)
class Thing:
    """Anything that stands somewhere."""

    across: float
    ahead: float
    base: float  # height of the ground there
    seed: int


@dataclass(frozen=True)
class Car(Thing):
    """A car, parked or with its engine running."""

    yaw: float
    body: CarBody
    paint: Rgb
    running: bool


@dataclass(frozen=True)
class Person(Thing):
    """A person on foot, or on a bike."""

    yaw: float
    pose: Pose
    phase: float  # of the step [radians]
    height: float  # [metres]
    top: Rgb
    legs: Rgb
    skin: Rgb
    hair: Rgb
    coat: bool
    bag: bool


@dataclass(frozen=True)
class Bike(Thing):
    """A bike, parked or ridden."""

    yaw: float
    paint: Rgb
    rider: Person | None


@dataclass(frozen=True)
class Cone(Thing):
    """A traffic cone."""

    height: float


@dataclass(frozen=True)
class CarStop(Thing):
    """What stops cars: a bollard, an arch or a wheel stop."""

    shape: StopShape
    yaw: float
    striped: bool


@dataclass(frozen=True)
class RailSpan(Thing):
    """One span of a guardrail along the road, from `ahead` to `ahead + length`."""

    length: float
    shape: RailShape


@dataclass(frozen=True)
class Bump:
    """A speed bump across the road."""

    ahead: float
    width: float
    height: float
    striped: bool
    seed: int


@dataclass(frozen=True)
class LampPost(Thing):
    """A street lamp; `lamp` is None while it is off."""

    height: float
    reach: float  # of the arm, signed [metres]
    lamp: Lamp | None


@dataclass(frozen=True)
class Sign(Thing):
    """A traffic sign, a direction board or a traffic light on a post."""

    shape: SignShape


@dataclass(frozen=True)
class Tree(Thing):
    """A tree, or a bush where the trunk is short."""

    trunk: float  # height of the lowest leaves [metres]
    crown: float  # radius of the crown [metres]
    autumn: bool
    bare: bool


@dataclass(frozen=True)
class Building:
    """A facade along the road, and its gable end that faces the camera."""

    side: Side
    across: float
    start: float
    end: float
    height: float
    wall: Rgb
    seed: int


@dataclass(frozen=True)
class Street:
    """The ground from left to right: verge, pavement, kerb, parking strip, lanes, and the same mirrored."""

    left: float  # the kerbs [metres across]
    right: float
    lane: float  # width of a lane [metres]
    divider: float  # the line between the directions [metres across]
    pavement: tuple[float, float]  # widths, left and right [metres]
    verge: tuple[Verge, Verge]
    kerbs: tuple[bool, bool]
    parking: tuple[float, float]  # widths of the parking strips, 0 for none [metres]
    zebra: float | None  # where a zebra crossing begins [metres ahead]
    double_line: bool
    yellow: bool
    worn: float  # how faded the markings are, in [0, 1]


@dataclass(frozen=True)
class Layout:
    """Everything that stands in a scene, and the camera that sees it."""

    street: Street
    eye: float
    bend: float
    horizon: float  # row relative to the image's middle, in image heights
    heading: float  # column of straight ahead relative to the middle, in image widths
    buildings: tuple[Building, ...]
    things: tuple[Thing, ...]
    bumps: tuple[Bump, ...]
    seed: int
