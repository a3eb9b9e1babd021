"""An intensity loss that follows, at each pixel, the source with more local contrast, or the one that a mask names.

The form that PSFusion's and SSDFusion's published code shares. Every image is N×1×H×W in [0, 1].
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from decofuse.losses.filtering import filtered

WINDOW = 9  # side of both windows [pixels]
SIGMA = 1.5


def local_variance(image: Tensor) -> Tensor:
    """G∗X² − (G∗X)² with a 9×9 Gaussian window of σ = 1.5 (built in float32) and a border of zeros; N×1×H×W."""
    distance = torch.arange(WINDOW, dtype=torch.float32, device=image.device) - WINDOW // 2
    taps = torch.exp(-distance.square() / (2 * SIGMA**2))
    taps = taps / taps.sum()
    window = torch.outer(taps, taps)[None].to(image.dtype)
    mean, square = filtered(torch.cat((image, image.square()), dim=1), window, "constant").unbind(dim=1)
    return square - mean.square()


def local_error(image: Tensor, fused: Tensor, epsilon: float = 0.0) -> Tensor:
    """Mean of (X − F + ε)² over 9×9 pixels, a border of zeros in X and in F counted; N×1×H×W."""
    error = F.pad(image - fused, [WINDOW // 2] * 4) + epsilon
    return F.avg_pool2d(error.square(), WINDOW, stride=1)


def chosen(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """Where `first` is followed: its variance is strictly larger, or `mask` (N×1×H×W) is above 0; boolean."""
    return (local_variance(first) - local_variance(second) > 0) | (mask > 0)


def selected_intensity_loss(first: Tensor, second: Tensor, fused: Tensor, mask: Tensor, epsilon: float = 0.0) -> Tensor:
    """Mean of the local error against the source that `chosen` names; a scalar, without gradient through the choice."""
    errors = torch.where(
        chosen(first, second, mask), local_error(first, fused, epsilon), local_error(second, fused, epsilon)
    )
    return errors.mean()
