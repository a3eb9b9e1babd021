"""Scores of triples of images, and their averages over a set of any size in constant memory."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from decofuse.metrics._images import Images
from decofuse.metrics.definition import Metric


class Average(NamedTuple):
    """Averages of one metric.

    Attributes:
        mean: of the finite values; None where there is none.
        std: their population standard deviation; None where there is none.
        finite: how many values are finite.
        images: how many values there are.
    """

    mean: float | None
    std: float | None
    finite: int
    images: int


def score(metrics: Mapping[str, Metric], fused: Tensor, source_a: Tensor, source_b: Tensor) -> dict[str, Tensor]:
    """Values of all metrics, N each; what several of them need is computed once.

    Args:
        metrics: by name.
        fused: N×H×W or N×1×H×W, grey levels [0, 255].
        source_a: same shape.
        source_b: same shape.

    Raises:
        ValueError: see `Images`; or too small for a metric.
    """
    images = Images(fused, source_a, source_b)
    return {name: metric.of_images(images) for name, metric in metrics.items()}


class FusionScores:
    """Averages of metrics over images that come in batches.

    Only finite values enter, and how many there were is part of the result. Memory does not grow with the images, and
    the averages do not depend on how they were batched, except by rounding in float64.
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics = dict(metrics)
        self._moments = {name: _Moments() for name in metrics}

    def update(self, fused: Tensor, source_a: Tensor, source_b: Tensor) -> dict[str, Tensor]:
        """Score N images and take them into the averages; arguments and result as of `score`."""
        values = score(self.metrics, fused, source_a, source_b)
        for name, its in values.items():
            self.add(name, its.tolist())
        return values

    def add(self, name: str, values: list[float]) -> None:
        """Take values of one metric into its average, in this order."""
        for value in values:
            self._moments[name].add(value)

    def compute(self) -> dict[str, Average]:
        """The averages so far, by metric."""
        return {name: moments.average() for name, moments in self._moments.items()}


class _Moments:
    """Count, mean and squared deviations, updated value by value (Welford 1962), as differences from the first."""

    def __init__(self) -> None:
        self.images = self.finite = 0
        self.first = self.mean = self.squares = 0.0

    def add(self, value: float) -> None:
        self.images += 1
        if not math.isfinite(value):
            return
        if not self.finite:
            self.first = value
        self.finite += 1
        difference = value - self.first
        deviation = difference - self.mean
        self.mean += deviation / self.finite
        self.squares += deviation * (difference - self.mean)

    def average(self) -> Average:
        if not self.finite:
            return Average(None, None, 0, self.images)
        return Average(self.first + self.mean, math.sqrt(self.squares / self.finite), self.finite, self.images)
