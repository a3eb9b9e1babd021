"""How far a result may lie from a golden value, and whether it does."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Tolerance:
    """A bound on one kind of error.

    Attributes:
        kind: `absolute` |found − expected|; `relative` the same over |expected|; `largest` over the largest |expected|;
            `pixels` share of values off by 1, none may be further off.
        limit: largest error allowed.
    """

    kind: Literal["absolute", "relative", "largest", "pixels"]
    limit: float

    def __str__(self) -> str:
        return f"{self.kind} {self.limit:g}"

    def error(self, found: Values, expected: Values) -> float:
        """The largest error of two arrays of one shape; infinite if NaNs stand in different places."""
        if not np.array_equal(np.isnan(found), np.isnan(expected)):
            return float("inf")
        known = ~np.isnan(expected)
        difference, size = np.abs(found - expected)[known], np.abs(expected)[known]
        if not difference.any():  # also where there is nothing to compare
            return 0.0
        if self.kind == "pixels":
            return float("inf") if difference.max() > 1 else float(np.mean(difference > 0))
        if self.kind == "largest":
            return _ratio(difference.max(), size.max())
        if self.kind == "relative":
            return max(_ratio(*pair) for pair in zip(difference.flat, size.flat, strict=True))
        return float(difference.max())


@dataclass(frozen=True)
class Rule:
    """The tolerances of all keys that match a shell pattern, for both precisions."""

    pattern: str
    float32: Tolerance
    float64: Tolerance


def find(rules: Iterable[Rule], key: str) -> Rule | None:
    """The first rule that `key` matches."""
    return next((rule for rule in rules if fnmatchcase(key, rule.pattern)), None)


def absolute(limit: float) -> Tolerance:
    """Bound |found − expected|."""
    return Tolerance("absolute", limit)


def relative(limit: float) -> Tolerance:
    """Bound |found − expected| / |expected|."""
    return Tolerance("relative", limit)


def of_largest(limit: float) -> Tolerance:
    """Bound |found − expected| / max |expected|."""
    return Tolerance("largest", limit)


def pixels(limit: float) -> Tolerance:
    """Bound the share of grey levels that are off by 1; none may be further off."""
    return Tolerance("pixels", limit)


def _ratio(error: float, size: float) -> float:
    if error == 0:
        return 0.0
    return float(error / size) if size else float("inf")
