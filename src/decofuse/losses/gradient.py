"""Image gradients by the two 3×3 Sobel kernels."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def sobel(images: Tensor, border: Literal["constant", "replicate"]) -> Tensor:
    """Responses to the Sobel kernels [[−1, 0, 1], [−2, 0, 2], [−1, 0, 1]] and its transpose (correlation).

    Args:
        images: N×C×H×W.
        border: `constant` pads with zeros, `replicate` with the nearest pixel.

    Returns:
        N×C×2×H×W: horizontal and vertical derivative, not divided.
    """
    horizontal = torch.tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=images.dtype, device=images.device)
    kernels = torch.stack((horizontal, horizontal.T))[:, None]
    n, c, h, w = images.shape
    padded = F.pad(images.reshape(n * c, 1, h, w), (1, 1, 1, 1), mode=border)
    return F.conv2d(padded, kernels).reshape(n, c, 2, h, w)


def spatial_gradient(images: Tensor) -> Tensor:
    """Derivatives a pixel, N×C×H×W → N×C×2×H×W: Sobel / 8, replicated border; as kornia's spatial_gradient."""
    return sobel(images, "replicate") / 8


def sobel_magnitude(images: Tensor) -> Tensor:
    """|Gₓ| + |G_y| of the undivided Sobel responses with a border of zeros, N×C×H×W."""
    return sobel(images, "constant").abs().sum(dim=2)
