"""How far a result may lie from a golden value, and whether it does."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Tolerance:
    """A bound on one kind of error, or on several.

    Attributes:
        kind: `absolute` |found − expected|; `relative` the same over |expected|; `largest` over the largest |expected|;
            `relative_l2` ‖found − expected‖₂ / ‖expected‖₂; `pixels` share of values off by 1, none may be further off;
            `unjudged` as relative_l2, any finite error will do; `both` the larger error of two bounds, each over its
            limit; `either` the smaller one, value by value, of an absolute and a relative bound, each over its limit.
        limit: largest error allowed.
        bounds: the two of `both` and `either`.
    """

    kind: Literal["absolute", "relative", "largest", "relative_l2", "pixels", "unjudged", "both", "either"]
    limit: float
    bounds: tuple["Tolerance", ...] = ()

    def __str__(self) -> str:
        if self.bounds:
            return {"both": " and ", "either": " or "}[self.kind].join(map(str, self.bounds))
        return "not judged" if self.kind == "unjudged" else f"{self.kind} {self.limit:g}"

    def error(self, found: Values, expected: Values) -> float:
        """The largest error of two arrays of one shape; infinite if NaNs stand in different places."""
        if not np.array_equal(np.isnan(found), np.isnan(expected)):
            return float("inf")
        if self.kind == "both":
            return max(bound.error(found, expected) / bound.limit for bound in self.bounds)
        known = ~np.isnan(expected)
        difference, size = np.abs(found - expected)[known], np.abs(expected)[known]
        if not difference.any():  # also where there is nothing to compare
            return 0.0
        match self.kind:
            case "pixels":
                error = float("inf") if difference.max() > 1 else float(np.mean(difference > 0))
            case "largest":
                error = _ratio(difference.max(), size.max())
            case "relative":
                error = _largest_ratio(difference, size)
            case "relative_l2" | "unjudged":
                error = _ratio(np.linalg.norm(difference), np.linalg.norm(size))
            case "either":
                first, second = (b.limit * (size if b.kind == "relative" else np.ones_like(size)) for b in self.bounds)
                error = _largest_ratio(difference, np.maximum(first, second))
            case _:
                error = float(difference.max())
        return error


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


def relative_l2(limit: float) -> Tolerance:
    """Bound ‖found − expected‖₂ / ‖expected‖₂."""
    return Tolerance("relative_l2", limit)


def pixels(limit: float) -> Tolerance:
    """Bound the share of grey levels that are off by 1; none may be further off."""
    return Tolerance("pixels", limit)


def both(first: Tolerance, second: Tolerance) -> Tolerance:
    """Keep two bounds; neither limit may be 0."""
    return Tolerance("both", 1.0, (first, second))


def either(first: Tolerance, second: Tolerance) -> Tolerance:
    """Keep, value by value, an absolute bound or a relative one."""
    return Tolerance("either", 1.0, (first, second))


def unjudged() -> Tolerance:
    """Report ‖found − expected‖₂ / ‖expected‖₂ of values that rounding alone may spoil; it must be finite."""
    return Tolerance("unjudged", sys.float_info.max)


def _largest_ratio(errors: Values, sizes: Values) -> float:
    return max(_ratio(*pair) for pair in zip(errors.flat, sizes.flat, strict=True))


def _ratio(error: float | np.floating, size: float | np.floating) -> float:
    if error == 0:
        return 0.0
    return float(error / size) if size else float("inf")
