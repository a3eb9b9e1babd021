"""Visual information fidelity: VIF in the pixel domain."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from decofuse.metrics._images import grey_batches, window_sums

VIF_MINIMUM_SIDE = 41  # below it the fourth scale has no window

_SIZES = (17, 9, 5, 3)  # window side at scales 1 to 4 [pixels]
_NOISE = 2.0  # variance of the visual noise, for grey levels 0-255
_EPSILON = 1e-10


@dataclass(frozen=True)
class _Scale:
    """The fused image at one scale, with its local mean and variance, shared by both sources."""

    image: Tensor
    mean: Tensor
    variance: Tensor


def visual_information_fidelity(fused: Tensor, source_a: Tensor, source_b: Tensor) -> Tensor:
    """VIF = V(A, F) + V(B, F), V(X, F) = Σ ln(1 + g²σ_X² / (v + 2)) / Σ ln(1 + σ_X² / 2) over pixels and four scales.

    g = σ_XF / σ_X² is the gain and v = σ_F² - g σ_XF the residual variance of the fused image, in Gaussian windows of
    17, 9, 5 and 3 pixels (σ a fifth of that); before scales 2-4 the images are blurred and every second pixel is kept.

    Range [0, ∞), 2 if the fused image equals both sources, higher is better. A source without information has V = 1.
    Sheikh and Bovik 2006, pixel-domain form, as CDDFuse's evaluator (there "VIFF", which Han 2013 is not).

    Args:
        fused: N×H×W or N×1×H×W, grey levels [0, 255], at least 41×41 pixels.
        source_a: same shape.
        source_b: same shape.

    Returns:
        N values.

    Raises:
        ValueError: see `grey_batches`.
    """
    images = grey_batches(fused, source_a, source_b, minimum_side=VIF_MINIMUM_SIDE)
    # V does not change with a shift of the grey levels: without the mean, float32 keeps the variances.
    fused, source_a, source_b = (image - image.mean(dim=(-2, -1), keepdim=True).round() for image in images)
    scales = _fused_scales(fused)
    return _fidelity(source_a, scales) + _fidelity(source_b, scales)


def _fused_scales(fused: Tensor) -> list[_Scale]:
    scales = []
    for number, size in enumerate(_SIZES):
        window = _gaussian(size)
        fused = window_sums(fused, window, step=2) if number else fused
        mean = window_sums(fused, window)
        variance = (window_sums(fused.square(), window) - mean.square()).clamp_(min=0)
        scales.append(_Scale(fused, mean, variance))
    return scales


def _fidelity(source: Tensor, scales: list[_Scale]) -> Tensor:
    passed, available = source.new_zeros(2, len(source))
    for number, (size, fused) in enumerate(zip(_SIZES, scales, strict=True)):
        window = _gaussian(size)
        source = window_sums(source, window, step=2) if number else source
        mean = window_sums(source, window)
        variance = (window_sums(source.square(), window) - mean.square()).clamp_(min=0)
        covariance = window_sums(source * fused.image, window) - mean * fused.mean
        gain, residual, variance = _channel(variance, fused.variance, covariance)
        passed += torch.log1p(gain.square() * variance / (residual + _NOISE)).sum(dim=(-2, -1))
        available += torch.log1p(variance / _NOISE).sum(dim=(-2, -1))
    return torch.where(available > 0, passed / available, torch.ones_like(passed))


def _channel(source: Tensor, fused: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gain, residual and source variance per pixel; the order of the special cases is part of the definition."""
    gain = covariance / (source + _EPSILON)
    residual = fused - gain * covariance
    flat_source, flat_fused = source < _EPSILON, fused < _EPSILON
    gain = gain.masked_fill_(flat_source | flat_fused, 0)
    residual = torch.where(flat_source, fused, residual).masked_fill_(flat_fused, 0)
    negative = gain < 0
    residual = torch.where(negative, fused, residual).clamp_(min=_EPSILON)
    return gain.masked_fill_(negative, 0), residual, source.masked_fill(flat_source, 0)


def _gaussian(size: int) -> list[float]:
    sigma, centre = size / 5, size // 2
    weights = [math.exp(-((i - centre) ** 2) / (2 * sigma**2)) for i in range(size)]
    total = sum(weights)
    return [weight / total for weight in weights]
