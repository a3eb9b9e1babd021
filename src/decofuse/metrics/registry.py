"""The registry: from a metric's name in tables to its function and everything a reader of the number must know."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor

from decofuse.metrics.edges import qabf
from decofuse.metrics.fidelity import VIF_MINIMUM_SIDE, visual_information_fidelity
from decofuse.metrics.information import entropy, mutual_information
from decofuse.metrics.statistics import correlations_of_differences, spatial_frequency, standard_deviation
from decofuse.metrics.structure import DYNAMIC_RANGES, SSIM_MINIMUM_SIDE, DynamicRange, ssim


@dataclass(frozen=True)
class Metric:
    """One fusion metric.

    Attributes:
        function: f(fused) if `of_fused_alone`, else f(fused, source_a, source_b); grey levels in, N values out.
        direction: whether a higher or a lower value is better.
        channel: what of a colour image is scored.
        formula: one line, symbols as in the function's docstring.
        convention: what differs between implementations: units, windows, constants, treatment of the two sources.
        of_fused_alone: the sources do not enter.
        minimum_side: the smallest height and width of the images [pixels].
    """

    function: Callable[..., Tensor]
    direction: Literal["higher", "lower"]
    channel: Literal["grey"]
    formula: str
    convention: str
    of_fused_alone: bool = False
    minimum_side: int = 1

    def __call__(self, fused: Tensor, source_a: Tensor, source_b: Tensor) -> Tensor:
        """Score N fused images; N×H×W or N×1×H×W grey levels [0, 255] give N values."""
        return self.function(fused) if self.of_fused_alone else self.function(fused, source_a, source_b)


def fusion_metrics(ssim_range: DynamicRange = "cddfuse") -> dict[str, Metric]:
    """The metrics by name, in the order of the columns of tables.

    Args:
        ssim_range: convention for the dynamic range of SSIM.
    """
    return {
        "EN": Metric(
            entropy, "higher", "grey", "-Σ p log2 p", "bits, 256 bins, as CDDFuse's evaluator", of_fused_alone=True
        ),
        "SD": Metric(
            standard_deviation, "higher", "grey", "sqrt(mean (F - mean F)²)", "population (ddof 0)", of_fused_alone=True
        ),
        "SF": Metric(
            spatial_frequency,
            "higher",
            "grey",
            "sqrt(mean Δx² + mean Δy²)",
            "each direction divided by its own count, as CDDFuse's evaluator",
            of_fused_alone=True,
            minimum_side=2,
        ),
        "MI": Metric(
            mutual_information,
            "higher",
            "grey",
            "I(A,F) + I(B,F)",
            "nats, 256x256 bins, sum over the sources, as CDDFuse's evaluator",
        ),
        "SCD": Metric(
            correlations_of_differences,
            "higher",
            "grey",
            "ρ(A, F - B) + ρ(B, F - A)",
            "sum; a correlation with a constant operand counts as 0",
        ),
        "VIF": Metric(
            visual_information_fidelity,
            "higher",
            "grey",
            "V(A,F) + V(B,F), V = Σ ln(1 + g²σ_X²/(v + 2)) / Σ ln(1 + σ_X²/2)",
            "pixel domain, 4 scales, noise variance 2, sum over the sources, as CDDFuse's evaluator",
            minimum_side=VIF_MINIMUM_SIDE,
        ),
        "Qabf": Metric(
            qabf,
            "higher",
            "grey",
            "Σ(Q_A g_A + Q_B g_B) / Σ(g_A + g_B)",
            "Xydeas and Petrovic, constants and zero-padded border as CDDFuse's evaluator",
        ),
        "SSIM": Metric(
            partial(ssim, dynamic_range=ssim_range),
            "higher",
            "grey",
            "S(A,F) + S(B,F)",
            f"uniform 7x7 window, sample covariance, sum over the sources, dynamic range {ssim_range} "
            f"(L = {DYNAMIC_RANGES[ssim_range]:g} on 0-255 data)",
            minimum_side=SSIM_MINIMUM_SIDE,
        ),
    }
