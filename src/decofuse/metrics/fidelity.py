"""Visual information fidelity in the pixel domain: VIF, and VIFF of fusion."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from decofuse.metrics._images import Images, products
from decofuse.metrics._windows import gaussian, strip_sums, window_sums

VIF_MINIMUM_SIDE = 41  # below it the fourth scale has no window

_SIZES = (17, 9, 5, 3)  # window side at scales 1 to 4 [pixels]; σ is a fifth of it
_EPSILON = 1e-10
_VIF_NOISE = 2.0  # variance of the visual noise, for grey levels 0-255
_VIFF_NOISE = 0.005 * 255**2
_VIFF_SCALES = (1, 0, 0.15, 1)
_VIFF_EPSILON = 1e-7 * math.log(10)


class _Channel(NamedTuple):
    """Of both sources, at every window, 2×N×h×w each."""

    passed: Tensor  # information on the source that the fused image holds [nats]
    available: Tensor  # information that the source holds [nats]
    gain: Tensor  # how strongly the source appears in the fused image (≥ 0)


def visual_information_fidelity(fused: Tensor, source_a: Tensor, source_b: Tensor) -> Tensor:
    """VIF = V(A, F) + V(B, F), V(X, F) = Σ ln(1 + g²σ_X² / (v + 2)) / Σ ln(1 + σ_X² / 2) over pixels and four scales.

    g = σ_XF / σ_X² is the gain and v = σ_F² - g σ_XF the residual variance of the fused image, in Gaussian windows of
    17, 9, 5 and 3 pixels (σ a fifth of that); before scales 2-4 the images are blurred and every second pixel is kept.

    Range [0, ∞), 2 if the fused image equals both sources, higher is better. A source without information has V = 1.
    Sheikh and Bovik 2006, pixel-domain form, as CDDFuse's evaluator (there "VIFF", which Han 2013 is not).

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255], at least 41×41 pixels.
        source_a: same shape.
        source_b: same shape.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`; or too small.
    """
    return of_visual_information_fidelity(Images(fused, source_a, source_b))


def of_visual_information_fidelity(images: Images) -> Tensor:
    """`visual_information_fidelity` of images that are checked."""
    passed, available = torch.stack(list(_over_scales(images, _information))).sum(dim=0)
    fidelity = torch.where(available > 0, passed / available, torch.ones_like(passed))
    return images.result(fidelity.sum(dim=0))


def fusion_fidelity(fused: Tensor, source_a: Tensor, source_b: Tensor) -> Tensor:
    """VIFF = (F_1 + 0.15 F_3 + F_4) / 2.15 over scales, F = Σ ln(1 + g²σ_X² / (v + n)) / Σ ln(1 + σ_X² / n).

    At every pixel X is the source with the smaller gain g (source B where they are equal, the one place where the order
    of the sources matters), as in VIF otherwise;
    n = 325.125 is the variance of the noise, and 1e-7 ln 10 is added to both logarithms (1e-7 to decimal ones).

    Range [0, ∞), 1 if the fused image equals both sources, higher is better (contrast is rewarded without bound).
    Han et al. 2013, as MEFB on grey levels.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255], at least 41×41 pixels.
        source_a: same shape.
        source_b: same shape.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`; or too small.
    """
    return of_fusion_fidelity(Images(fused, source_a, source_b))


def of_fusion_fidelity(images: Images) -> Tensor:
    """`fusion_fidelity` of images that are checked."""
    total = torch.zeros_like(images.variance[0])
    for (passed, available), weight in zip(_over_scales(images, _selected_information), _VIFF_SCALES, strict=True):
        total += weight * passed / available
    return images.result(total / sum(_VIFF_SCALES))


def _over_scales(images: Images, function: Callable[..., Tensor]) -> Iterator[Tensor]:
    """Σ function(strip of the images, window) at each scale."""
    images.require(VIF_MINIMUM_SIDE)
    scaled = images.centred.to(images.precision)  # a shift of the grey levels changes nothing
    for number, size in enumerate(_SIZES):
        window = gaussian(size, size / 5)
        scaled = window_sums(scaled, window, step=2).contiguous() if number else scaled
        yield strip_sums(partial(function, window=window), scaled, size)


def _information(strip: Tensor, window: list[float]) -> Tensor:
    """What the fused image holds of each source, and what the source holds, over all windows: 2×2×N nats."""
    return torch.stack([values.sum(dim=(-2, -1)) for values in _channel(strip, window, _VIF_NOISE)[:2]])


def _selected_information(strip: Tensor, window: list[float]) -> Tensor:
    """The same of the source with the smaller gain at each window, and 1e-7 of a decimal logarithm each: 2×N nats."""
    passed, available, gain = _channel(strip, window, _VIFF_NOISE)
    gain = gain * available.sign()
    first = gain[0] < gain[1]
    maps = (torch.where(first, values[0], values[1]) + _VIFF_EPSILON for values in (passed, available))
    return torch.stack([values.sum(dim=(-2, -1)) for values in maps])


def _channel(strip: Tensor, window: list[float], noise: float) -> _Channel:
    """There is no gain where the fused variance is 0 (below 1e-10) or the covariance is negative.

    Where the source's is, the gain does not matter: nothing is available.
    """
    means, seconds = window_sums(strip, window), window_sums(products(strip), window)
    variances = torch.threshold_(torch.addcmul(seconds[:3], means, means, value=-1), _EPSILON, 0.0)
    covariance = torch.addcmul(seconds[3:], means[1:], means[:1], value=-1)
    fused, source = variances[:1], variances[1:]
    gain = covariance.clamp(min=0).mul_(fused.sign()).div_(source + _EPSILON)
    residual = torch.addcmul(fused + noise, gain, covariance, value=-1).clamp_(min=noise + _EPSILON)
    passed = torch.addcmul(residual, gain.square(), source).div_(residual).log_()
    return _Channel(passed, (source / noise).add_(1).log_(), gain)
