"""Structural similarity on one scale and on five: SSIM, MS-SSIM."""

from collections.abc import Mapping
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from decofuse.metrics._images import Images, products
from decofuse.metrics._names import check_known
from decofuse.metrics._windows import box_sums, gaussian, strip_sums, window_sums

Form = Literal["cddfuse", "standard", "vifb", "ssdfusion", "unit"]
Pooling = Literal["standard", "pytorch_msssim", "torchmetrics"]

# The fifth scale then has a window; a side that is mirrored, or padded when halved, keeps one from 161 on.
MS_SSIM_MINIMUM_SIDES: Mapping[str, int] = {"standard": 176, "pytorch_msssim": 161, "torchmetrics": 161}

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales
_SIDE = 11  # of the Gaussian window
_SIGMA = 1.5
_EPSILON = 1e-12  # kornia's; where images are black it is 1e-5 of the denominator


class _Window(NamedTuple):
    side: int
    gaussian: bool
    reflected: bool  # windows reach over the border, which mirrors the image; else they lie inside
    data_range: float  # L, for grey levels 0-255
    epsilon: float = 0.0  # added to the denominator


_WINDOWS: Mapping[Form, _Window] = {
    "cddfuse": _Window(7, False, False, 2),
    "standard": _Window(7, False, False, 255),
    "vifb": _Window(_SIDE, True, False, 255),
    "ssdfusion": _Window(7, True, True, 1, _EPSILON),
    "unit": _Window(7, True, True, 255, 255**4 * _EPSILON),
}
SSIM_MINIMUM_SIDES: Mapping[str, int] = {
    form: window.side // 2 + 1 if window.reflected else window.side for form, window in _WINDOWS.items()
}


def ssim(fused: Tensor, source_a: Tensor, source_b: Tensor, convention: Form = "cddfuse") -> Tensor:
    """SSIM = S(A, F) + S(B, F), the mean over windows of what follows.

    S = (2 u_X u_F + C1)(2 σ_XF + C2) / ((u_X² + u_F² + C1)(σ_X² + σ_F² + C2)), C1 = (0.01 L)², C2 = (0.03 L)².

    Range [-2, 2], higher is better. Wang et al. 2004. The dynamic range L changes the value much.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255], at least 7×7 pixels (vifb 11×11, ssdfusion and
            unit 4×4).
        source_a: same shape.
        source_b: same shape.
        convention: "cddfuse": L = 2 on 0-255 data, uniform 7×7 windows inside the image, sample covariance, as
            CDDFuse's evaluator and the tables made with it (scikit-image 0.19 took L from the type); "standard": the
            same with L = 255; "vifb": L = 255, Gaussian windows of 11 pixels, σ = 1.5, as VIFB; "ssdfusion": L = 1
            on 0-255 data, Gaussian windows of 7 pixels, σ = 1.5, around every pixel of the mirrored image, as
            SSDFusion; "unit": the same with L = 1 on 0-1 data.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`; too small, or an unknown convention.
    """
    return of_ssim(Images(fused, source_a, source_b), convention)


def of_ssim(images: Images, convention: Form = "cddfuse") -> Tensor:
    """`ssim` of images that are checked."""
    check_known("convention", convention, _WINDOWS)
    images.require(SSIM_MINIMUM_SIDES[convention])
    form = _WINDOWS[convention]
    centred = _mirrored(images.centred, form.side // 2) if form.reflected else images.centred
    total = strip_sums(partial(_similarity, offset=images.offset, form=form), centred, form.side)
    height, width = (side - form.side + 1 for side in centred.shape[-2:])
    return images.result(total.sum(dim=0) / (height * width))


def ms_ssim(fused: Tensor, source_a: Tensor, source_b: Tensor, convention: Pooling = "standard") -> Tensor:
    """MS-SSIM = M(A, F) + M(B, F), M = max(ssim_5, 0)^β5 · Π max(cs_j, 0)^βj over the scales j = 1 to 4.

    cs is the mean of (2 σ_XF + C2) / (σ_X² + σ_F² + C2), ssim that of SSIM, in Gaussian windows of 11 pixels (σ = 1.5),
    L = 255; between scales 2×2 pixels are averaged. Near the smallest size the fifth scale has a handful of windows and
    the value is fragile.

    Range [0, 2], higher is better. Wang et al. 2003.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255], at least 176×176 pixels (161×161 in the
            other conventions).
        source_a: same shape.
        source_b: same shape.
        convention: "standard": windows inside the image, an odd last row or column is dropped when scales change, as
            Wang; "pytorch_msssim": zeros are put around an odd side first, as that package; "torchmetrics": dropped,
            and ssim_5 is over windows around every pixel of the mirrored image, as that package.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`; too small, or an unknown convention.
    """
    return of_ms_ssim(Images(fused, source_a, source_b), convention)


def of_ms_ssim(images: Images, convention: Pooling = "standard") -> Tensor:
    """`ms_ssim` of images that are checked."""
    check_known("convention", convention, MS_SSIM_MINIMUM_SIDES)
    images.require(MS_SSIM_MINIMUM_SIDES[convention])
    weights, stack, offset = gaussian(_SIDE, _SIGMA), images.stack, images.offset
    product = torch.ones_like(images.variance[1:])
    for scale, exponent in enumerate(_WEIGHTS, start=1):
        centred = stack - offset
        last = scale == len(_WEIGHTS)
        if last and convention == "torchmetrics":
            centred = _mirrored(centred, _SIDE // 2)
        means, seconds = window_sums(centred, weights), window_sums(products(centred), weights)
        terms = _terms(means, seconds, offset, _WINDOWS["vifb"])
        structure = torch.div(*terms.structure).mul_(2)
        if last:
            structure.mul_(torch.div(*terms.luminance)).mul_(2)
        else:
            padding = [side % 2 if convention == "pytorch_msssim" else 0 for side in stack.shape[-2:]]
            stack = avg_pool2d(stack, 2, padding=padding)
        product = product * structure.mean(dim=(-2, -1)).clamp(min=0) ** exponent
    return images.result(product.sum(dim=0))


def _similarity(strip: Tensor, offset: Tensor, form: _Window) -> Tensor:
    """Σ S over the windows of both sources in a strip of the centred images, 2×N."""
    if form.gaussian:
        weights, count = gaussian(form.side, _SIGMA), 1
        sums, seconds = window_sums(strip, weights), window_sums(products(strip), weights)
    else:
        count = form.side**2
        sums, seconds = box_sums(strip, form.side), box_sums(products(strip), form.side)
    luminance, structure = _terms(sums, seconds, offset * count, form, count)
    numerator, denominator = luminance[0].mul_(structure[0]), luminance[1].mul_(structure[1])
    if form.epsilon:
        denominator.add_(form.epsilon)
    return 4 * numerator.div_(denominator).sum(dim=(-2, -1))


class _Terms(NamedTuple):
    """Half the numerator, and the denominator, of both factors at every window of both sources, 2×N×H×W each."""

    luminance: tuple[Tensor, Tensor]
    structure: tuple[Tensor, Tensor]


def _terms(sums: Tensor, seconds: Tensor, offset: Tensor, form: _Window, count: int = 1) -> _Terms:
    """The factors of S, all times `count` (structure) or its square (luminance), which saves dividing maps.

    Args:
        sums: `count` times the window means of the centred images (fused, sources), 3×N×H×W.
        seconds: the same of their products (as `products` orders them), 5×N×H×W.
        offset: `count` times what the centred images lack.
        form: has the data range.
        count: pixels of a window whose covariance is that of a sample; 1 for weighted windows and populations.
    """
    c1 = sums.new_tensor((0.01 * form.data_range * count) ** 2)
    c2 = (0.03 * form.data_range) ** 2 * (count - 1 if count > 1 else 1)
    variances = torch.addcmul(seconds[:3], sums, sums, value=-1 / count)
    covariances = torch.addcmul(seconds[3:], sums[1:], sums[:1], value=-1 / count).add_(c2 / 2)
    whole = sums + offset
    fused, sources = whole[:1], whole[1:]
    squares = torch.addcmul(torch.addcmul(c1, fused, fused), sources, sources)
    return _Terms(
        (torch.addcmul(c1 / 2, fused, sources), squares), (covariances, variances[1:].add_(variances[:1].add_(c2)))
    )


def _mirrored(stack: Tensor, margin: int) -> Tensor:
    """K×N×H×W with a border that mirrors the image without repeating its frame."""
    return pad(stack, (margin, margin, margin, margin), mode="reflect")
