"""The registry: from a metric's name in tables to its function and everything a reader of the number must know."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from decofuse.metrics._names import check_known
from decofuse.metrics.catalogue_levels import OF_LEVELS
from decofuse.metrics.catalogue_structure import OF_STRUCTURE
from decofuse.metrics.definition import Definition, Direction, Metric

__all__ = ["METRICS", "USUAL", "Definition", "Direction", "Metric", "fusion_metrics"]

METRICS: Mapping[str, Definition] = {**OF_LEVELS, **OF_STRUCTURE}
"""All metrics by name, in the order of the columns of tables."""

USUAL = ("EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM")
"""The metrics that most tables of fusion methods have."""


def fusion_metrics(
    names: Sequence[str] = USUAL,
    convention: Literal["published", "standard"] = "published",
    conventions: Mapping[str, str] = {},
) -> dict[str, Metric]:
    """Metrics by name, in the order of the names.

    Args:
        names: of METRICS.
        convention: of all of them; "published" is that of published tables, "standard" the one without their traps.
        conventions: of single metrics by name, before `convention`.

    Raises:
        ValueError: an unknown metric or convention.
    """
    for name in (*names, *conventions):
        check_known("metric", name, METRICS)
    check_known("convention", convention, ("published", "standard"))
    for name, its in conventions.items():
        check_known(f"convention of {name}", its, METRICS[name].conventions)
    return {name: _metric(METRICS[name], conventions.get(name, getattr(METRICS[name], convention))) for name in names}


def _metric(its: Definition, convention: str) -> Metric:
    several = len(its.conventions) > 1
    return Metric(
        partial(its.of_images, convention=convention) if several else its.of_images,
        its.direction,
        its.channel,
        its.formula,
        its.conventions[convention],
        its.of_fused_alone,
        its.minimum_sides.get(convention, its.minimum_side),
    )
