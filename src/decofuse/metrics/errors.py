"""Metrics of the squared differences from the sources: MSE, RMSE, PSNR."""

import math
from typing import Literal

from torch import Tensor

from decofuse.metrics._images import LEVELS, Images
from decofuse.metrics._names import check_known

Unit = Literal["cddfuse", "unit"]
Root = Literal["standard", "vifb"]
Peak = Literal["cddfuse", "standard", "vifb"]

_PEAK = LEVELS - 1.0


def mean_squared_error(fused: Tensor, source_a: Tensor, source_b: Tensor, convention: Unit = "cddfuse") -> Tensor:
    """MSE = (mean (A - F)² + mean (B - F)²) / 2.

    Range [0, 65025] squared grey levels, lower is better.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].
        source_a: same shape.
        source_b: same shape.
        convention: "cddfuse": of grey levels, as CDDFuse's evaluator; "unit": of grey levels / 255, range [0, 1].

    Returns:
        N values.

    Raises:
        ValueError: see `Images`; or an unknown convention.
    """
    return of_mean_squared_error(Images(fused, source_a, source_b), convention)


def of_mean_squared_error(images: Images, convention: Unit = "cddfuse") -> Tensor:
    """`mean_squared_error` of images that are checked."""
    check_known("convention", convention, ("cddfuse", "unit"))
    error = _error(images)
    return images.result(error / _PEAK**2 if convention == "unit" else error)


def root_mean_squared_error(fused: Tensor, source_a: Tensor, source_b: Tensor, convention: Root = "standard") -> Tensor:
    """RMSE = sqrt(MSE).

    Range [0, 255] grey levels, lower is better.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].
        source_a: same shape.
        source_b: same shape.
        convention: "standard": the root of MSE; "vifb": (‖A - F‖ + ‖B - F‖) / 2n with Frobenius norms over n pixels,
            which is no root of a mean, as VIFB.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`; or an unknown convention.
    """
    return of_root_mean_squared_error(Images(fused, source_a, source_b), convention)


def of_root_mean_squared_error(images: Images, convention: Root = "standard") -> Tensor:
    """`root_mean_squared_error` of images that are checked."""
    check_known("convention", convention, ("standard", "vifb"))
    return images.result(_vifb_error(images) if convention == "vifb" else _error(images).sqrt())


def peak_signal_to_noise_ratio(
    fused: Tensor, source_a: Tensor, source_b: Tensor, convention: Peak = "cddfuse"
) -> Tensor:
    """PSNR = 10 log10(peak² / MSE).

    Decibel, higher is better. +∞ where the fused image equals both sources; -∞ for a black fused image whose peak is
    its own.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].
        source_a: same shape.
        source_b: same shape.
        convention: "cddfuse": the peak is the largest level of this fused image, as CDDFuse's evaluator; "standard":
            255; "vifb": 20 log10(255 / sqrt(RMSE as VIFB)).

    Returns:
        N values.

    Raises:
        ValueError: see `Images`; or an unknown convention.
    """
    return of_peak_signal_to_noise_ratio(Images(fused, source_a, source_b), convention)


def of_peak_signal_to_noise_ratio(images: Images, convention: Peak = "cddfuse") -> Tensor:
    """`peak_signal_to_noise_ratio` of images that are checked."""
    check_known("convention", convention, ("cddfuse", "standard", "vifb"))
    error = _vifb_error(images) if convention == "vifb" else _error(images)
    own = images.fused.amax(dim=(-2, -1))
    peak = own.square() if convention == "cddfuse" else own.new_full(own.shape, _PEAK**2)
    return images.result((10 * (peak / error).log10()).masked_fill(error == 0, math.inf))


def _error(images: Images) -> Tensor:
    return images.error.sum(dim=0) / (2 * images.pixels)


def _vifb_error(images: Images) -> Tensor:
    return images.error.sqrt().sum(dim=0) / (2 * images.pixels)
