"""Which of several methods is best: places by metric, mean places, and how many digits of a mean are printed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decofuse.metrics.definition import Direction

ARROWS: Mapping[Direction, str] = {"higher": "↑", "lower": "↓"}

Means = Mapping[str, float | None]  # means of one method by metric; None where no value is finite


@dataclass(frozen=True)
class Ranking:
    """Places of methods, 1 the best; the order of `places` is that of the methods given.

    Attributes:
        decimals: digits after the point with which the means of a metric are printed and compared.
        places: method -> metric -> place. Means that are printed alike share a place, and the places behind it stay
            free (1, 1, 3). Without a mean the place is the last one.
        mean: method -> mean place over the metrics.
        order: the methods by mean place, those that share one in the order given.
    """

    decimals: dict[str, int]
    places: dict[str, dict[str, int]]
    mean: dict[str, float]
    order: tuple[str, ...]

    def text(self, metric: str, value: float | None) -> str:
        """A mean or deviation as printed; a dash for none."""
        return "–" if value is None else _text(value, self.decimals[metric])


def rank(means: Mapping[str, Means], directions: Mapping[str, Direction]) -> Ranking:
    """Rank methods by their means.

    Args:
        means: by method, of all metrics.
        directions: whether a higher or a lower mean is better, by metric.
    """
    columns = {name: [row[name] for row in means.values()] for name in directions}
    decimals = {name: _decimals(column) for name, column in columns.items()}
    by_metric = {
        name: _places(column, decimals[name], directions[name] == "higher") for name, column in columns.items()
    }
    places = {method: {name: by_metric[name][i] for name in directions} for i, method in enumerate(means)}
    mean = {method: sum(row.values()) / len(row) for method, row in places.items()}
    return Ranking(decimals, places, mean, tuple(sorted(means, key=mean.__getitem__)))


def _decimals(column: Sequence[float | None]) -> int:
    """As many as give the largest mean of a column four significant digits, at most six."""
    largest = max((abs(value) for value in column if value is not None), default=0.0)
    return min(max(3 - math.floor(math.log10(largest)), 0), 6) if largest else 3


def _places(column: Sequence[float | None], decimals: int, higher: bool) -> list[int]:
    printed = [None if value is None else float(_text(value, decimals)) for value in column]
    known = sorted((value for value in printed if value is not None), reverse=higher)
    return [len(known) + 1 if value is None else known.index(value) + 1 for value in printed]


def _text(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:.{decimals}f}"  # -0.0 + 0.0 is 0.0
