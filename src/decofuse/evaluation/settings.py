"""Which metrics are computed, and how; apart from the other settings, so that a change reruns no training."""

import difflib
from collections.abc import Iterable
from typing import Literal

from pydantic import Field, field_validator

from decofuse.settings import Section

Precision = Literal["float64", "float32"]

METRIC_CONVENTIONS: dict[str, tuple[str, ...]] = {
    "EN": ("cddfuse",),
    "SD": ("cddfuse", "ssdfusion"),
    "SF": ("cddfuse", "vifb"),
    "AG": ("cddfuse", "vifb"),
    "EI": ("vifb",),
    "VAR": ("standard",),
    "MI": ("cddfuse", "bits", "vifb"),
    "NMI": ("mefb",),
    "CC": ("cddfuse",),
    "SCD": ("cddfuse",),
    "MSE": ("cddfuse", "unit"),
    "PSNR": ("cddfuse", "standard", "vifb"),
    "RMSE": ("standard", "vifb"),
    "SSIM": ("cddfuse", "standard", "vifb", "ssdfusion", "unit"),
    "MS-SSIM": ("standard", "pytorch_msssim", "torchmetrics"),
    "VIF": ("cddfuse",),
    "VIFF": ("mefb",),
    "Qabf": ("cddfuse", "petrovic"),
    "Nabf": ("kumar", "petrovic"),
    "Labf": ("kumar",),
    "Qcb": ("vifb",),
    "Qcv": ("vifb",),
    "CE": ("vifb",),
    "FMI": ("pixels", "gradient"),
}
"""The fusion metrics and the conventions of each; `decofuse.metrics.registry` says what they mean."""


class EvaluationSettings(Section):
    """Which fusion metrics are computed, and in which conventions."""

    metrics: tuple[str, ...] = Field(
        ("EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM"),
        min_length=1,
        description="metrics, in the order of the columns; docs/metrics.md lists them",
    )
    convention: Literal["published", "standard"] = Field(
        "published",
        description="published: as CDDFuse's evaluator, with which most published tables were made; standard: without "
        "its traps (SSIM with L = 255)",
    )
    conventions: dict[str, str] = Field({}, description="conventions of single metrics by name, before `convention`")
    precision: Precision = Field(
        "float64",
        description="arithmetic of VIF, VIFF and Qabf: float64 agrees with the reference values to seven digits or "
        "more, float32 to four, in two thirds of the time; all other metrics are computed in float64",
    )

    @field_validator("metrics", mode="after")
    @classmethod
    def _metrics_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            _known("metric", name, METRIC_CONVENTIONS)
        if len(set(names)) < len(names):
            raise ValueError(f"expected each metric once, found {', '.join(names)}")
        return names

    @field_validator("conventions", mode="after")
    @classmethod
    def _conventions_known(cls, conventions: dict[str, str]) -> dict[str, str]:
        for name, convention in conventions.items():
            _known("metric", name, METRIC_CONVENTIONS)
            _known(f"convention of {name}", convention, METRIC_CONVENTIONS[name])
        return conventions


def _known(kind: str, name: str, known: Iterable[str]) -> None:
    names = list(known)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"expected a {kind} of {', '.join(names)}, found {name!r}{hint}")
