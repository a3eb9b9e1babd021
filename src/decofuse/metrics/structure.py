"""Structural similarity: SSIM."""

from typing import Literal, NamedTuple

from torch import Tensor

from decofuse.metrics._images import grey_batches, window_sums

DynamicRange = Literal["cddfuse", "standard"]
DYNAMIC_RANGES: dict[DynamicRange, float] = {"cddfuse": 2.0, "standard": 255.0}
SSIM_MINIMUM_SIDE = 7

_PIXELS = 49  # of a 7×7 window
_SAMPLE = _PIXELS / (_PIXELS - 1)  # from a population to a sample covariance


class _Windows(NamedTuple):
    """An image less its rounded mean, and of its 7×7 windows the mean, population variance and unshifted mean."""

    shifted: Tensor
    shifted_mean: Tensor
    variance: Tensor
    mean: Tensor


def ssim(fused: Tensor, source_a: Tensor, source_b: Tensor, dynamic_range: DynamicRange = "cddfuse") -> Tensor:
    """SSIM = S(A, F) + S(B, F), uniform 7×7 windows, sample covariance, mean over the windows inside the image.

    S = (2 u_X u_F + C1)(2 σ_XF + C2) / ((u_X² + u_F² + C1)(σ_X² + σ_F² + C2)), C1 = (0.01 L)², C2 = (0.03 L)².

    Range [-2, 2], higher is better. Wang et al. 2004, windows as scikit-image. The dynamic range L changes the value
    much: "cddfuse" is L = 2 on 0-255 data, as CDDFuse's evaluator and the tables made with it; "standard" is L = 255.

    Args:
        fused: N×H×W or N×1×H×W, grey levels [0, 255], at least 7×7 pixels.
        source_a: same shape.
        source_b: same shape.
        dynamic_range: the convention for L.

    Returns:
        N values.

    Raises:
        ValueError: see `grey_batches`; or an unknown dynamic range.
    """
    if dynamic_range not in DYNAMIC_RANGES:
        raise ValueError(f"expected a dynamic range of {sorted(DYNAMIC_RANGES)}, found {dynamic_range!r}")
    fused, source_a, source_b = grey_batches(fused, source_a, source_b, minimum_side=SSIM_MINIMUM_SIDE)
    constants = [(share * DYNAMIC_RANGES[dynamic_range]) ** 2 for share in (0.01, 0.03)]
    f, a, b = (_windows(image) for image in (fused, source_a, source_b))
    return (_similarity(a, f, constants) + _similarity(b, f, constants)).mean(dim=(-2, -1))


def _windows(image: Tensor) -> _Windows:
    # Without the image's mean, rounded so that integer levels stay exact, float32 does not lose the variances.
    shift = image.mean(dim=(-2, -1), keepdim=True).round()
    shifted = image - shift
    mean = _mean(shifted)
    return _Windows(shifted, mean, _mean(shifted.square()) - mean.square(), mean + shift)


def _similarity(x: _Windows, f: _Windows, constants: list[float]) -> Tensor:
    """S of every window of one source."""
    c1, c2 = constants
    covariance = _mean(x.shifted * f.shifted) - x.shifted_mean * f.shifted_mean
    structure = (2 * _SAMPLE * covariance + c2) / (_SAMPLE * (x.variance + f.variance) + c2)
    return structure * (2 * x.mean * f.mean + c1) / (x.mean.square() + f.mean.square() + c1)


def _mean(image: Tensor) -> Tensor:
    return window_sums(image, [1.0] * 7) / _PIXELS
