"""Cars, persons and bikes: who is on the street, where and how."""

import math

from decofuse.data.scenes.plot import Plot
from decofuse.data.scenes.things import Bike, Car, CarBody, Person, Pose, Thing
from decofuse.data.scenes.weather import Rgb, scaled

BODIES: tuple[CarBody, ...] = ("sedan",) * 10 + ("hatchback",) * 4 + ("suv",) * 4 + ("van",) * 2
PAINTS: tuple[Rgb, ...] = (
    (0.75, 0.75, 0.74),
    (0.72, 0.72, 0.72),
    (0.40, 0.41, 0.43),
    (0.14, 0.15, 0.16),
    (0.03, 0.03, 0.035),
    (0.02, 0.02, 0.025),
    (0.30, 0.02, 0.02),
    (0.03, 0.07, 0.22),
    (0.30, 0.24, 0.14),
    (0.05, 0.12, 0.09),
)
CLOTHES: tuple[Rgb, ...] = (
    (0.02, 0.02, 0.025),
    (0.04, 0.04, 0.05),
    (0.03, 0.04, 0.10),
    (0.06, 0.09, 0.18),
    (0.18, 0.17, 0.16),
    (0.10, 0.08, 0.05),
    (0.35, 0.03, 0.03),
    (0.55, 0.53, 0.50),
    (0.08, 0.16, 0.07),
    (0.50, 0.38, 0.08),
    (0.30, 0.10, 0.22),
)
SKINS: tuple[Rgb, ...] = ((0.55, 0.36, 0.27), (0.46, 0.28, 0.19), (0.22, 0.12, 0.075))
HAIRS: tuple[Rgb, ...] = ((0.015, 0.012, 0.01), (0.03, 0.02, 0.012), (0.15, 0.09, 0.04), (0.3, 0.3, 0.3))
REVERSED = math.pi


def _tint(plot: Plot, colours: tuple[Rgb, ...]) -> Rgb:
    return scaled(plot.pick(colours), plot.rng.uniform(0.8, 1.2))


def _distance(plot: Plot, near: float, far: float) -> float:
    """A distance for which all sizes in the image are equally likely on a logarithmic scale."""
    return float(near * (far / near) ** plot.rng.random())


def place_cars(plot: Plot) -> list[Thing]:
    """Draw the traffic ahead, oncoming traffic, parked cars and now and then one that crosses."""
    rng, street = plot.rng, plot.street
    spots: list[tuple[float, float, float, bool]] = []  # across, ahead, yaw, running
    if plot.chance(0.6):
        spots.append((rng.normal(0, 0.2), rng.uniform(9, 28), rng.normal(0, 0.03), True))
    if plot.chance(0.12):
        spots.append((rng.uniform(street.left + 2, street.right), rng.uniform(11, 24), plot.pick((-1.5, 1.5)), True))
    for _ in range(int(rng.poisson(1.3))):
        across = street.divider - street.lane / 2 + rng.normal(0, 0.15)
        spots.append((across, rng.uniform(9, 60), REVERSED + rng.normal(0, 0.03), True))
    spots += _parked_along(plot) + (_parked_beside(plot) if plot.chance(0.45) else [])
    cars: list[Thing] = []
    for across, ahead, yaw, running in spots:
        if plot.claim(across, ahead, 2.1):
            body, paint = plot.pick(BODIES), _tint(plot, PAINTS)
            cars.append(Car(across, ahead, plot.base(across), plot.seed(), yaw, body, paint, running))
    return cars


def _parked_along(plot: Plot) -> list[tuple[float, float, float, bool]]:
    """Cars on the parking strips; most face the way of their side, few run."""
    rng, street, spots = plot.rng, plot.street, []
    for width, edge, reverse in (
        (street.parking[0], street.left + 1.1, 0.8),
        (street.parking[1], street.right - 1.1, 0.2),
    ):
        ahead = rng.uniform(5, 12)
        while width and ahead < 70:
            if plot.chance(0.6):
                yaw = (REVERSED if plot.chance(reverse) else 0.0) + rng.normal(0, 0.02)
                spots.append((edge + rng.normal(0, 0.08), ahead, yaw, plot.chance(0.12)))
            ahead += rng.uniform(5.4, 7)
    return spots


def _parked_beside(plot: Plot) -> list[tuple[float, float, float, bool]]:
    """A row of cars beyond a pavement, at an angle to the road."""
    rng, side = plot.rng, plot.side()
    ahead, yaw, spots = rng.uniform(8, 18), rng.uniform(0.9, 1.57) * plot.pick((-1, 1)), []
    for _ in range(int(rng.integers(1, 4))):
        spots.append((plot.beyond(side, rng.uniform(0.5, 2.0)), ahead, yaw, False))
        ahead += rng.uniform(2.6, 4.5)
    return spots


def place_persons(plot: Plot) -> list[Thing]:
    """Draw persons on the pavements, at the kerbs and across the road, alone and in groups."""
    rng, street = plot.rng, plot.street
    persons: list[Thing] = []
    for _ in range(2 + int(rng.poisson(2.4))):
        ahead = _distance(plot, 5.8, 32)
        if plot.chance(0.4):
            centre, yaw = rng.uniform(street.left, street.right), plot.pick((-1, 1)) * rng.uniform(1.0, 2.0)
        else:
            side = plot.side()
            centre = plot.beyond_kerb(side, rng.uniform(0.6, plot.pavement(side) - 0.3))
            yaw = plot.pick((0.0, REVERSED)) + rng.normal(0, 0.4)
        pose: Pose = "walk" if plot.chance(0.7) else "stand"
        for _ in range(plot.pick((1, 1, 2, 2, 3))):
            place = (centre + rng.normal(0, 0.6), ahead + rng.normal(0, 0.5))
            if place[1] > 5 and plot.claim(*place, 0.3):
                turn = yaw + rng.normal(0, 0.15 if pose == "walk" else 1.5)
                persons.append(_person(plot, place, turn, pose))
    return persons


def _person(plot: Plot, place: tuple[float, float], yaw: float, pose: Pose) -> Person:
    across, ahead = place
    rng = plot.rng
    return Person(
        across=across,
        ahead=ahead,
        base=plot.base(across),
        seed=plot.seed(),
        yaw=yaw,
        pose=pose,
        phase=rng.uniform(0, 2 * math.pi),
        height=rng.normal(1.7, 0.08) if plot.chance(0.92) else rng.uniform(1.1, 1.4),
        top=_tint(plot, CLOTHES),
        legs=_tint(plot, CLOTHES[:6]),
        skin=_tint(plot, SKINS),
        hair=_tint(plot, HAIRS),
        coat=plot.chance(0.3),
        bag=plot.chance(0.35),
    )


def place_bikes(plot: Plot) -> list[Thing]:
    """Draw cyclists along and across the road, and bikes parked alone or in rows."""
    rng, street = plot.rng, plot.street
    bikes: list[Thing] = []
    for _ in range(plot.pick((0, 1, 1, 1, 2))):
        ahead = _distance(plot, 7, 30)
        if plot.chance(0.35):
            across, yaw = rng.uniform(street.left, street.right), plot.pick((-1, 1)) * rng.uniform(1.1, 1.9)
        else:
            inwards, yaw = rng.uniform(0.4, 1.0), plot.pick((0.0, REVERSED)) + rng.normal(0, 0.1)
            across = street.left + inwards if plot.chance(0.4) else street.right - inwards
        if plot.claim(across, ahead, 0.8):
            rider = _person(plot, (across, ahead), yaw, "ride")
            bikes.append(Bike(across, ahead, rider.base, plot.seed(), yaw, _tint(plot, PAINTS), rider))
    return bikes + (_parked_bikes(plot) if plot.chance(0.6) else [])


def _parked_bikes(plot: Plot) -> list[Bike]:
    rng = plot.rng
    across = plot.beyond_kerb(plot.side(), rng.uniform(0.9, 1.6))
    ahead, yaw, row = rng.uniform(5.5, 13), rng.uniform(0.5, 1.3) * plot.pick((-1, 1)), []
    for _ in range(int(rng.integers(1, 6))):
        if plot.claim(across, ahead, 0.35):
            turn, paint = yaw + rng.normal(0, 0.1), _tint(plot, PAINTS)
            row.append(Bike(across, ahead, plot.base(across), plot.seed(), turn, paint, None))
        ahead += rng.uniform(0.7, 1.1)
    return row
