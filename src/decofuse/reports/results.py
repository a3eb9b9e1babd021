"""The averages that the stage which scores a split wrote, of several methods and datasets."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from decofuse.errors import UserError
from decofuse.evaluation.ranking import Ranking, rank
from decofuse.metrics import METRICS


class Entry(NamedTuple):
    """A file of averages: of which method, on which dataset."""

    method: str
    dataset: str
    path: Path


@dataclass(frozen=True)
class Averages:
    """Averages of one method on one dataset, by metric; None where no value was finite."""

    images: int
    mean: dict[str, float | None]
    std: dict[str, float | None]
    finite: dict[str, int]
    conventions: dict[str, str]


@dataclass(frozen=True)
class Results:
    """Averages by dataset, then by method, in the order of the entries; metrics and conventions are the same in all."""

    metrics: tuple[str, ...]
    conventions: dict[str, str]
    datasets: dict[str, dict[str, Averages]]

    def ranking(self, dataset: str) -> Ranking:
        """The methods of a dataset by their means."""
        means = {method: averages.mean for method, averages in self.datasets[dataset].items()}
        return rank(means, {name: METRICS[name].direction for name in self.metrics})


def read_results(entries: Sequence[Entry]) -> Results:
    """Read all files.

    Raises:
        UserError: no entries, an entry twice, a file that is missing or of another kind, an unknown metric, or two
            files whose metrics or conventions differ, so that their numbers must not stand in one table.
    """
    if not entries:
        raise UserError("expected results to put in a table, found none; evaluate at least one method")
    datasets: dict[str, dict[str, Averages]] = {}
    first = _read(entries[0].path)
    for method, dataset, path in entries:
        averages = _read(path)
        if averages.conventions != first.conventions:
            raise UserError(
                f"{path}: expected the metrics and conventions of {entries[0].path}, found others; "
                "evaluate both with the same settings"
            )
        if method in datasets.setdefault(dataset, {}):
            raise UserError(f"{path}: expected {method} on {dataset} once, found it twice; list each result once")
        datasets[dataset][method] = averages
    return Results(tuple(first.mean), first.conventions, datasets)


def _read(path: Path) -> Averages:
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
        mean, std = (
            {str(name): None if number is None else float(number) for name, number in value[field].items()}
            for field in ("mean", "std")
        )
        finite = {name: int(value["finite"][name]) for name in mean}
        conventions = {name: str(value["conventions"][name]) for name in mean}
        averages = Averages(int(value["images"]), mean, {name: std[name] for name in mean}, finite, conventions)
    except OSError as error:
        raise UserError(f"{path}: expected averages, found {error.strerror}; run the evaluation stage") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: expected averages of the evaluation stage, found a file of another kind; run that stage again"
        ) from error
    unknown = sorted(set(mean) - set(METRICS))
    if unknown or not mean:
        raise UserError(f"{path}: expected known metrics, found {unknown}; run the evaluation stage again")
    return averages
