"""SSIM loss, in the two forms that published fusion code computes.

Wang et al., IEEE TIP 2004, with kornia's choices: 11×11 Gaussian window of σ = 1.5, reflected border of 5 pixels,
C₁ = 0.01², C₂ = 0.03², biased local variance; images in [0, 1].
"""

from typing import Literal

import torch
from torch import Tensor

from decofuse.losses.filtering import filtered

SSIMVersion = Literal["kornia_0.2", "kornia_0.5"]
RADIUS = 5
SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2


def ssim_map(first: Tensor, second: Tensor, version: SSIMVersion = "kornia_0.5", radius: int = RADIUS) -> Tensor:
    """SSIM of each pixel, in [-1, 1].

    Args:
        first: N×C×H×W in [0, 1], H and W larger than `radius`.
        second: same shape.
        version: `kornia_0.2` builds the window in float32 whatever the dtype of the images; `kornia_0.5` builds it in
            their dtype and adds 1e-12 to the denominator.
        radius: of the window, and of the reflected border [pixels].

    Returns:
        N×C×H×W.
    """
    old = version == "kornia_0.2"
    window = _window(first, torch.float32 if old else first.dtype, radius)
    stacked = torch.stack((first, second, first.square(), second.square(), first * second))
    blurred = filtered(stacked.flatten(0, 1), window[None], "reflect").reshape(stacked.shape)
    mean1, mean2, square1, square2, product = blurred.unbind()
    variances = (square1 - mean1.square()) + (square2 - mean2.square())
    covariance = product - mean1 * mean2
    numerator = (2 * mean1 * mean2 + C1) * (2 * covariance + C2)
    denominator = (mean1.square() + mean2.square() + C1) * (variances + C2)
    return numerator / (denominator if old else denominator + 1e-12)


def ssim_loss(first: Tensor, second: Tensor, version: SSIMVersion = "kornia_0.2") -> Tensor:
    """Mean SSIM loss, a scalar; 0 for identical images.

    The two versions agree where SSIM ≥ 0. Where it is negative, `kornia_0.2` is capped at ½ and passes no gradient
    (kornia 0.4.1 and before); `kornia_0.5` goes on up to 1 (kornia's SSIMLoss since 0.5).

    Args:
        first: N×C×H×W in [0, 1], H and W at least 6.
        second: same shape.
        version: which form.
    """
    dissimilarity = 1 - ssim_map(first, second, version)
    if version == "kornia_0.2":
        return (dissimilarity.clamp(0, 1) / 2).mean()
    return (dissimilarity / 2).clamp(0, 1).mean()


def _window(images: Tensor, dtype: torch.dtype, radius: int) -> Tensor:
    """The Gaussian window of sum 1, built in `dtype`, then in the dtype and on the device of `images`."""
    distance = torch.arange(-radius, radius + 1, dtype=dtype, device=images.device)
    gaussian = torch.exp(-distance.square() / (2 * SIGMA**2))
    gaussian = gaussian / gaussian.sum()
    return torch.outer(gaussian, gaussian).to(images.dtype)
