"""Metrics of grey-level statistics: SD, VAR, CC, SCD."""

from typing import Literal

import torch
from torch import Tensor

from decofuse.metrics._images import Images, dot
from decofuse.metrics._names import check_known

Divisor = Literal["cddfuse", "ssdfusion"]


def standard_deviation(fused: Tensor, convention: Divisor = "cddfuse") -> Tensor:
    """SD = sqrt(Σ (F - mean F)² / n).

    Range [0, 127.5] grey levels, higher is better (noise is rewarded). 0 for a constant image.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].
        convention: "cddfuse": n is the number of pixels, as CDDFuse's evaluator (what VIFB calls "variance");
            "ssdfusion": one less, as SSDFusion's (at least two pixels).

    Returns:
        N values.

    Raises:
        ValueError: see `Images`; or an unknown convention.
    """
    return of_standard_deviation(Images(fused), convention)


def of_standard_deviation(images: Images, convention: Divisor = "cddfuse") -> Tensor:
    """`standard_deviation` of images that are checked."""
    check_known("convention", convention, ("cddfuse", "ssdfusion"))
    if convention == "ssdfusion":
        images.require(2)
    divisor = images.pixels - (convention == "ssdfusion")
    return images.result((images.variance[0] * images.pixels / divisor).sqrt())


def variance(fused: Tensor) -> Tensor:
    """VAR = mean (F - mean F)², the square of SD.

    Range [0, 16256.25] squared grey levels, higher is better (noise is rewarded). 0 for a constant image.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].

    Returns:
        N values.

    Raises:
        ValueError: see `Images`.
    """
    return of_variance(Images(fused))


def of_variance(images: Images) -> Tensor:
    """`variance` of images that are checked."""
    return images.result(images.variance[0])


def correlation_coefficient(fused: Tensor, source_a: Tensor, source_b: Tensor) -> Tensor:
    """CC = (ρ(A, F) + ρ(B, F)) / 2, ρ the Pearson correlation over all pixels.

    Range [-1, 1], higher is better. A correlation with a constant image counts as 0.
    Definition as CDDFuse's evaluator.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].
        source_a: same shape.
        source_b: same shape.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`.
    """
    return of_correlation_coefficient(Images(fused, source_a, source_b))


def of_correlation_coefficient(images: Images) -> Tensor:
    """`correlation_coefficient` of images that are checked."""
    f, a, b = images.centred
    return images.result((_correlation(a, f) + _correlation(b, f)) / 2)


def correlations_of_differences(fused: Tensor, source_a: Tensor, source_b: Tensor) -> Tensor:
    """SCD = ρ(A, F - B) + ρ(B, F - A), ρ the Pearson correlation over all pixels.

    Range [-2, 2], higher is better. A correlation with a constant operand counts as 0.
    Aslantas and Bendes 2015, as CDDFuse's evaluator.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].
        source_a: same shape.
        source_b: same shape.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`.
    """
    return of_correlations_of_differences(Images(fused, source_a, source_b))


def of_correlations_of_differences(images: Images) -> Tensor:
    """`correlations_of_differences` of images that are checked."""
    f, a, b = images.centred
    return images.result(_correlation(a, f - b) + _correlation(b, f - a))


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    """ρ of two centred images N×H×W; 0 where one is constant."""
    scale = (dot(x, x) * dot(y, y)).sqrt()
    return torch.where(scale > 0, dot(x, y) / scale, torch.zeros_like(scale))
