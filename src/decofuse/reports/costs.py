"""What the jobs of a run cost, as Snakemake's benchmark files state it."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """Of one job.

    Attributes:
        rule: its rule.
        job: the name of its benchmark file.
        seconds: wall-clock time.
        megabytes: largest resident memory of the job and its children; NaN for jobs that were over too soon.
    """

    rule: str
    job: str
    seconds: float
    megabytes: float


class Total(NamedTuple):
    """Of all jobs of one rule: their number, the sum of their times, and the longest and the largest of them."""

    rule: str
    jobs: int
    seconds: float
    longest: float
    megabytes: float


def read_costs(paths: Iterable[Path], preset: str) -> list[Cost]:
    """Read benchmark files, the longest job first; a file that is none is left out.

    Args:
        paths: PRESET/RULE-NAMES.tsv, or RULE/NAMES.tsv for jobs that all presets share.
        preset: name of the run.
    """
    costs = []
    for path in paths:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t"))
        seconds = _number(rows[-1].get("s")) if rows else math.nan
        if math.isfinite(seconds):
            rule = path.stem.partition("-")[0] if path.parent.name == preset else path.parent.name
            job = path.stem if path.parent.name == preset else f"{rule}-{path.stem}"
            costs.append(Cost(rule, job, seconds, _number(rows[-1].get("max_rss"))))
    return sorted(costs, key=lambda cost: -cost.seconds)


def by_rule(costs: Iterable[Cost]) -> list[Total]:
    """Totals of each rule, the one that took longest first."""
    rules: dict[str, list[Cost]] = {}
    for cost in costs:
        rules.setdefault(cost.rule, []).append(cost)
    totals = []
    for rule, its in rules.items():
        times = [cost.seconds for cost in its]
        known = [cost.megabytes for cost in its if math.isfinite(cost.megabytes)]
        totals.append(Total(rule, len(its), sum(times), max(times), max(known, default=math.nan)))
    return sorted(totals, key=lambda total: -total.seconds)


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan
