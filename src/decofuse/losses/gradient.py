"""Image derivatives by Sobel kernels: the two of the first order, 3×3, and the three of the second, 5×5."""

from typing import Literal

import torch
from torch import Tensor

from decofuse.losses.filtering import filtered


def sobel(images: Tensor, border: Literal["constant", "replicate"]) -> Tensor:
    """Responses to the Sobel kernels [[−1, 0, 1], [−2, 0, 2], [−1, 0, 1]] and its transpose (correlation).

    Args:
        images: N×C×H×W.
        border: `constant` pads with zeros, `replicate` with the nearest pixel.

    Returns:
        N×C×2×H×W: horizontal and vertical derivative, not divided.
    """
    horizontal = torch.tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=images.dtype, device=images.device)
    return filtered(images, torch.stack((horizontal, horizontal.T)), border)


def spatial_gradient(images: Tensor) -> Tensor:
    """Derivatives a pixel, N×C×H×W → N×C×2×H×W: Sobel / 8, replicated border; as kornia's spatial_gradient."""
    return sobel(images, "replicate") / 8


def sobel_magnitude(images: Tensor) -> Tensor:
    """|Gₓ| + |G_y| of the undivided Sobel responses with a border of zeros, N×C×H×W."""
    return sobel(images, "constant").abs().sum(dim=2)


def second_derivatives(images: Tensor) -> Tensor:
    """Second derivatives xx, xy and yy by 5×5 Sobel kernels, the border replicated.

    With s = (1, 4, 6, 4, 1), d = (1, 0, −2, 0, 1) and e = (1, 2, 0, −2, −1): s dᵀ / 64, e eᵀ / 36 and d sᵀ / 64, each
    over the sum of its magnitudes. That is kornia's spatial_gradient of order 2 up to release 0.6; later ones divide
    the mixed derivative by 64 too.

    Args:
        images: N×C×H×W.

    Returns:
        N×C×3×H×W, the signs without meaning.
    """
    smooth, curve, slope = torch.tensor(
        [[1, 4, 6, 4, 1], [1, 0, -2, 0, 1], [1, 2, 0, -2, -1]], dtype=images.dtype, device=images.device
    )
    pairs = ((smooth, curve, 64), (slope, slope, 36), (curve, smooth, 64))
    kernels = torch.stack([torch.outer(rows, columns) / scale for rows, columns, scale in pairs])
    return filtered(images, kernels, "replicate")


def second_order_magnitude(images: Tensor) -> Tensor:
    """|xx| + |xy| + |yy| of the second derivatives, N×C×H×W."""
    return second_derivatives(images).abs().sum(dim=2)
