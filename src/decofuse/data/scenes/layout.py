"""Where things stand: draws a plausible street, independent of the image size."""

import math
from typing import Literal

import numpy as np

from decofuse.data.scenes.crowd import place_bikes, place_cars, place_persons
from decofuse.data.scenes.plot import Plot
from decofuse.data.scenes.things import (
    KERB_HEIGHT,
    Building,
    Bump,
    CarStop,
    Cone,
    LampPost,
    Layout,
    RailSpan,
    Side,
    Sign,
    SignShape,
    StopShape,
    Street,
    Thing,
    Tree,
)
from decofuse.data.scenes.weather import COOL_LED, SODIUM, WARM_LED, Lamp, Rgb, scaled

Surroundings = Literal["facades", "trees", "open"]
SURROUNDINGS: tuple[Surroundings, ...] = ("facades", "facades", "trees", "open")
STOP_SHAPES: tuple[StopShape, ...] = ("bollard", "arch", "wheel_stop")
SIGN_SHAPES: tuple[SignShape, ...] = ("disc", "triangle", "board", "light")
SIDES: tuple[Side, Side] = ("left", "right")
HEIGHTS = (3.6, 6.8, 10.0, 13.0, 17.0, 22.0)  # of buildings [metres]
FAR = 110.0  # nothing small stands beyond [metres]
WALLS: tuple[Rgb, ...] = (
    (0.42, 0.38, 0.32),
    (0.30, 0.15, 0.10),
    (0.52, 0.50, 0.46),
    (0.36, 0.30, 0.22),
    (0.22, 0.22, 0.24),
    (0.48, 0.36, 0.24),
    (0.30, 0.34, 0.36),
)


def sample_layout(rng: np.random.Generator, night: bool) -> Layout:
    """Draw a street and everything in it."""
    plot = Plot(rng, _street(rng))
    surroundings = [(side, plot.pick(SURROUNDINGS)) for side in SIDES]
    buildings = [building for side, kind in surroundings for building in _buildings(plot, side, kind)]
    bumps = _bumps(plot)
    things: list[Thing] = [*_rails(plot), *_car_stops(plot)]
    things += place_cars(plot) + place_persons(plot) + place_bikes(plot)
    things += [*_cones(plot), *_lamp_posts(plot, night), *_signs(plot)]
    for side, kind in surroundings:
        things += _trees(plot, side, kind)
    return Layout(
        street=plot.street,
        eye=rng.uniform(1.35, 1.75),
        bend=rng.normal(0, 0.0012) if plot.chance(0.33) else 0.0,
        horizon=rng.uniform(-0.07, 0.02),
        heading=rng.uniform(-0.1, 0.1),
        buildings=tuple(buildings),
        things=tuple(things),
        bumps=tuple(bumps),
        seed=plot.seed(),
    )


def _street(rng: np.random.Generator) -> Street:
    """The camera drives on the right, in the middle of the lane beside the divider."""
    lane = rng.uniform(2.9, 3.5)
    more_left, more_right = int(rng.random() < 0.33), int(rng.random() < 0.33)
    parking = (2.2 if rng.random() < 0.4 else 0.0, 2.2 if rng.random() < 0.4 else 0.0)
    return Street(
        left=-lane / 2 - (1 + more_left) * lane - parking[0],
        right=lane / 2 + more_right * lane + parking[1],
        lane=lane,
        divider=-lane / 2,
        pavement=(rng.uniform(2.0, 4.5), rng.uniform(2.0, 4.5)),
        verge=("grass" if rng.random() < 0.55 else "paved", "grass" if rng.random() < 0.55 else "paved"),
        kerbs=(rng.random() < 0.8, rng.random() < 0.85),
        parking=parking,
        zebra=rng.uniform(7, 22) if rng.random() < 0.4 else None,
        double_line=rng.random() < 0.4,
        yellow=rng.random() < 0.4,
        worn=rng.uniform(0.05, 0.6),
    )


def _buildings(plot: Plot, side: Side, kind: Surroundings) -> list[Building]:
    rng = plot.rng
    setback = rng.uniform(0.3, 3.0) if kind == "facades" else rng.uniform(14, 26)
    density = {"facades": 0.9, "trees": 0.5, "open": 0.6}[kind]
    buildings = []
    start = rng.uniform(1.5, 6)
    while start < 150:
        length = rng.uniform(9, 26)
        if plot.chance(density):
            across = plot.beyond(side, setback + (rng.uniform(0, 3) if plot.chance(0.5) else 0.0))
            height = plot.pick(HEIGHTS) + rng.uniform(0, 1.5)
            buildings.append(Building(side, across, start, start + length, height, plot.pick(WALLS), plot.seed()))
        start += length + (rng.uniform(2, 10) if plot.chance(0.35) else 0.0)
    return buildings


def _bumps(plot: Plot) -> list[Bump]:
    if plot.chance(0.55):
        return []
    width, height = plot.rng.uniform(0.45, 0.8), plot.rng.uniform(0.07, 0.12)
    return [Bump(plot.rng.uniform(5.5, 15), width, height, plot.chance(0.75), plot.seed())]


def _rails(plot: Plot) -> list[RailSpan]:
    if plot.chance(0.5):
        return []
    across = plot.beyond_kerb(plot.side(), 0.45)
    first, last = plot.rng.uniform(3.5, 12), plot.rng.uniform(20, 60)
    if plot.chance(0.55):
        return [RailSpan(across, z, KERB_HEIGHT, plot.seed(), 4.0, "beam") for z in np.arange(first, last, 4.0)]
    return [RailSpan(across, z, KERB_HEIGHT, plot.seed(), 2.0, "pipes") for z in np.arange(first, last, 2.0)]


def _car_stops(plot: Plot) -> list[CarStop]:
    rng = plot.rng
    if plot.chance(0.4):
        return []
    side, shape, striped = plot.side(), plot.pick(STOP_SHAPES), plot.chance(0.5)
    low, high = {"bollard": (1.2, 2.0), "arch": (1.8, 2.8), "wheel_stop": (2.4, 2.8)}[shape]
    spacing, ahead = rng.uniform(low, high), rng.uniform(4.5, 9)
    across = plot.beyond_kerb(side, 1.1 if shape == "wheel_stop" else rng.uniform(0.5, 1.0))
    yaw = plot.pick((0.0, math.pi / 2))
    places = [ahead + spacing * number for number in range(int(rng.integers(3, 9)))]
    return [
        CarStop(across, place, KERB_HEIGHT, plot.seed(), shape, yaw, striped)
        for place in places
        if plot.claim(across, place, 0.5)
    ]


def _cones(plot: Plot) -> list[Cone]:
    rng = plot.rng
    if plot.chance(0.42):
        return []
    ahead, across = rng.uniform(4.5, 13), rng.uniform(plot.street.left + 0.4, plot.street.right - 0.4)
    drift, step, height = rng.uniform(-0.5, 0.5), rng.uniform(1.2, 3.0), rng.uniform(0.65, 0.9)
    places = [(across + drift * number, ahead + step * number) for number in range(int(rng.integers(2, 7)))]
    return [Cone(x, z, plot.base(x), plot.seed(), height) for x, z in places if plot.claim(x, z, 0.3)]


def _lamp_posts(plot: Plot, night: bool) -> list[LampPost]:
    rng = plot.rng
    side, colour = plot.side(), plot.pick((SODIUM, WARM_LED, COOL_LED))
    height, spacing, ahead = rng.uniform(5.5, 8.5), rng.uniform(16, 28), rng.uniform(6, 26)
    intensity = scaled(colour, rng.uniform(0.06, 0.16) * height**2)
    first_lit = ahead if plot.chance(0.7) else rng.uniform(30, 60)
    across = plot.beyond_kerb(side, 0.7)
    posts = []
    while ahead < FAR:
        reach = rng.uniform(1.2, 2.2) * (1 if side == "left" else -1)
        lit = plot.chance(0.9) and night and ahead >= first_lit
        lamp = Lamp((across + reach, height - 0.25, ahead), intensity) if lit else None
        plot.claim(across, ahead, 0.3)
        posts.append(LampPost(across, ahead, KERB_HEIGHT, plot.seed(), height, reach, lamp))
        ahead += spacing
    return posts


def _signs(plot: Plot) -> list[Sign]:
    signs = []
    for _ in range(int(plot.rng.integers(0, 4))):
        across, ahead = plot.beyond_kerb(plot.side(), plot.rng.uniform(0.4, 0.9)), plot.rng.uniform(8, 40)
        if plot.claim(across, ahead, 0.3):
            signs.append(Sign(across, ahead, KERB_HEIGHT, plot.seed(), plot.pick(SIGN_SHAPES)))
    return signs


def _trees(plot: Plot, side: Side, kind: Surroundings) -> list[Tree]:
    rng = plot.rng
    if kind == "facades" and plot.chance(0.45):
        return []
    autumn, bare = plot.chance(0.2), plot.chance(0.12)
    outwards = [-0.8] if kind == "facades" else [rng.uniform(0.5, 2), rng.uniform(7, 12)]
    trees = []
    for across in [plot.beyond(side, outward) for outward in outwards]:
        ahead, spacing = rng.uniform(5, 14), rng.uniform(7, 13)
        while ahead < FAR:
            tall = plot.chance(0.45 if kind == "open" else 0.85)
            trunk, crown = (rng.uniform(2.0, 3.2), rng.uniform(1.7, 3.2)) if tall else (0.1, rng.uniform(0.6, 1.3))
            place = across + rng.normal(0, 0.3)
            if plot.claim(place, ahead, 0.4):
                trees.append(Tree(place, ahead, KERB_HEIGHT, plot.seed(), trunk, crown, autumn, bare and tall))
            ahead += spacing * rng.uniform(0.7, 1.5)
    return trees
