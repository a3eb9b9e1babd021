"""The page of the metrics, made from their registry."""

from collections.abc import Iterator

from decofuse.metrics import METRICS, USUAL
from decofuse.metrics.definition import Definition

INTRODUCTION = """\
# Metrics

Made from `src/decofuse/metrics` by `make docs`. F is the fused image, A and B are its sources. All metrics are of grey
levels 0-255 (rounded luma of colour images, as stored in 8 bits), computed in float64. Averages are over the finite
values, and say how many those are.

`evaluation.metrics` chooses metrics, `evaluation.convention` the conventions of all (`published`: of published tables,
as CDDFuse's evaluator where it has the metric; `standard`: without their traps), `evaluation.conventions` those of
single metrics, such as `{SSIM: vifb}`. Numbers of different conventions must not be compared; tables name theirs.
"""

USUAL_NOTE = """\
In bold: the metrics that most tables have, and the default. ↑: higher is better, ↓: lower is better. Metrics of the
fused image alone (EN, SD, SF, AG, EI, VAR) reward noise as well as contrast.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, *_overview(), "", USUAL_NOTE, "## Conventions", "", *_conventions(), ""]
    return "\n".join(parts)


def _overview() -> Iterator[str]:
    yield "| metric | name | formula | range | reference | values agree with |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, its in METRICS.items():
        arrow = {"higher": "↑", "lower": "↓"}[its.direction]
        shown = f"**{name}**" if name in USUAL else name
        yield _row(f"{shown} {arrow}", its.title, its.formula, its.range, its.reference, its.code)


def _conventions() -> Iterator[str]:
    yield "| metric | convention | default of | smallest side | what it is |"
    yield "| --- | --- | --- | ---: | --- |"
    for name, its in METRICS.items():
        for convention, words in its.conventions.items():
            side = its.minimum_sides.get(convention, its.minimum_side)
            yield _row(name, f"`{convention}`", _default(its, convention), str(side), words)


def _default(its: Definition, convention: str) -> str:
    roles = {"published": its.published, "standard": its.standard}
    return ", ".join(role for role, chosen in roles.items() if chosen == convention) or "–"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
