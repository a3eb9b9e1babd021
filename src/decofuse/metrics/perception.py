"""Metrics with a model of contrast sensitivity: Qcb, Qcv."""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from decofuse.metrics._images import Images
from decofuse.metrics._windows import sobel, window_sums

_REACH = 15  # of the Gaussians of the contrast [pixels]
_BLOCK = 16  # [pixels]


def qcb(fused: Tensor, source_a: Tensor, source_b: Tensor) -> Tensor:
    """Qcb = mean(λ_A Q_AF + λ_B Q_BF), Q_XF = min(C_X, C_F) / max(C_X, C_F), λ_X = C_X² / (C_A² + C_B²).

    C = c³ / (c² + 0.0001) masks the local contrast c = |(G_2 * x) / (G_4 * x) - 1| of the image x, stretched to 0-255
    and filtered with the contrast sensitivity exp(-(r/15.387)²) - 0.7622 exp(-(r/1.3456)²), r the frequency in cycles a
    fifteenth of the image; G_σ are Gaussians of 31 pixels on a border of zeros.

    Range [0, 1], higher is better. **NaN** if an image is constant. Chen and Blum 2009, as VIFB.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].
        source_a: same shape.
        source_b: same shape.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`.
    """
    return of_qcb(Images(fused, source_a, source_b))


def of_qcb(images: Images) -> Tensor:
    """`qcb` of images that are checked."""
    frequency = _frequencies(images.stack) / _REACH
    sensitivity = torch.exp(-((frequency / 15.3870) ** 2)) - 0.7622 * torch.exp(-((frequency / 1.3456) ** 2))
    filtered = pad(_filtered(images.stretched, sensitivity), (_REACH,) * 4)
    narrow, wide = (window_sums(filtered, _density(sigma)) for sigma in (2, 4))
    contrast = (narrow / wide - 1).abs()
    masked = contrast**3 / (contrast.square() + 1e-4)
    source, fused = masked[1:], masked[:1]
    preserved = torch.minimum(source, fused) / torch.maximum(source, fused)
    saliency = source.square() / source.square().sum(dim=0)
    return images.result((saliency * preserved).sum(dim=0).mean(dim=(-2, -1)))


def qcv(fused: Tensor, source_a: Tensor, source_b: Tensor) -> Tensor:
    """Qcv = Σ(λ_A D_A + λ_B D_B) / Σ(λ_A + λ_B) over blocks of 16×16 pixels.

    λ_X is the sum of the fifth power of the Sobel strength of X, D_X the mean square of X - F filtered with the
    contrast sensitivity 2.6 (0.0192 + 0.144 r) exp(-(0.144 r)^1.1), r the frequency in cycles a quarter of the image;
    images are stretched to 0-255 first, blocks at the end filled with zeros.

    Range [0, ∞) squared grey levels, lower is better. **NaN** if an image is constant and not 0, or no source has an
    edge. Chen and Varshney 2007, as VIFB.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].
        source_a: same shape.
        source_b: same shape.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`.
    """
    return of_qcv(Images(fused, source_a, source_b))


def of_qcv(images: Images) -> Tensor:
    """`qcv` of images that are checked."""
    fused, sources = images.stretched[:1], images.stretched[1:]
    x, y = sobel(sources, "constant")
    saliency = _block_sums((x.square() + y.square()) ** 2.5)
    frequency = _frequencies(images.stack) / 4
    sensitivity = 2.6 * (0.0192 + 0.144 * frequency) * torch.exp(-((0.144 * frequency) ** 1.1))
    distance = _block_sums(_filtered(sources - fused, sensitivity).square()) / _BLOCK**2
    value = (saliency * distance).sum(dim=(0, -2, -1)) / saliency.sum(dim=(0, -2, -1))
    low, high = images.stack.amin((-2, -1)), images.stack.amax((-2, -1))
    without_range = ((low == high) & (high > 0)).any(dim=0)
    return images.result(value.masked_fill(without_range, math.nan))


def _frequencies(images: Tensor) -> Tensor:
    """Distance from 0 of each frequency of a real Fourier transform, in cycles an image."""
    height, width = images.shape[-2:]
    options = {"dtype": images.dtype, "device": images.device}
    y, x = torch.fft.fftfreq(height, 1 / height, **options), torch.fft.rfftfreq(width, 1 / width, **options)
    return torch.hypot(y[:, None], x)


def _filtered(images: Tensor, response: Tensor) -> Tensor:
    """Images …×H×W times a response in the frequency domain, as `_frequencies` lays it out."""
    filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(images) * response, s=images.shape[-2:])
    return filtered


def _density(sigma: float) -> list[float]:
    """One direction of a Gaussian density, cut off and not normalised again."""
    scale = sigma * math.sqrt(2 * math.pi)
    return [math.exp(-(i**2) / (2 * sigma**2)) / scale for i in range(-_REACH, _REACH + 1)]


def _block_sums(images: Tensor) -> Tensor:
    """Sums over blocks; …×H×W -> …×⌈H/16⌉×⌈W/16⌉."""
    height, width = images.shape[-2:]
    padded = pad(images, (0, -width % _BLOCK, 0, -height % _BLOCK))
    rows, columns = (side // _BLOCK for side in padded.shape[-2:])
    return padded.view(*images.shape[:-2], rows, _BLOCK, columns, _BLOCK).sum(dim=(-3, -1))
