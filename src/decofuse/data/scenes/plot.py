"""The ground plan while it fills up: what is where on the street, and what is still free."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from decofuse.data.scenes.things import KERB_HEIGHT, Side, Street

T = TypeVar("T")


class Plot:
    """Draws places on a street, and keeps things from standing in each other."""

    def __init__(self, rng: np.random.Generator, street: Street) -> None:
        self.rng = rng
        self.street = street
        self._taken: list[tuple[float, float, float]] = []

    def seed(self) -> int:
        """A seed for a thing's own randomness."""
        return int(self.rng.integers(1 << 31))

    def chance(self, probability: float) -> bool:
        """True with a probability."""
        return self.rng.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of several, each as likely."""
        return options[int(self.rng.integers(len(options)))]

    def side(self) -> Side:
        """Left or right."""
        return "left" if self.chance(0.5) else "right"

    def claim(self, across: float, ahead: float, radius: float) -> bool:
        """Take a disc of ground if it is free; says whether it was."""
        free = all((across - a) ** 2 + (ahead - z) ** 2 > (radius + r) ** 2 for a, z, r in self._taken)
        if free:
            self._taken.append((across, ahead, radius))
        return free

    def beyond_kerb(self, side: Side, distance: float) -> float:
        """The place `distance` metres outside of a kerb."""
        return self.street.left - distance if side == "left" else self.street.right + distance

    def beyond(self, side: Side, distance: float) -> float:
        """The place `distance` metres outside of a pavement."""
        return self.beyond_kerb(side, self.pavement(side) + distance)

    def pavement(self, side: Side) -> float:
        """Width of a pavement [metres]."""
        return self.street.pavement[0 if side == "left" else 1]

    def base(self, across: float) -> float:
        """Height of the ground: 0 on the road, a kerb's height beside it."""
        return 0.0 if self.street.left <= across <= self.street.right else KERB_HEIGHT
