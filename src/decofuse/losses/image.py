"""Losses between an image and what it should be: SSDFusion's reconstruction terms.

Ming et al., Pattern Recognition 2025, published code. Every argument is N×1×H×W in [0, 1]; every result a scalar.
"""

from torch import Tensor
from torch.nn import functional as F

from decofuse.losses.gradient import sobel_magnitude


def gradient_loss(found: Tensor, target: Tensor) -> Tensor:
    """L1 distance of the Sobel magnitudes |Gₓ| + |G_y|, with a border of zeros."""
    return F.l1_loss(sobel_magnitude(found), sobel_magnitude(target))


def image_loss(found: Tensor, target: Tensor) -> Tensor:
    """0.9 (mean absolute error + mean squared error) + 0.1 gradient loss."""
    return 0.9 * (F.l1_loss(found, target) + F.mse_loss(found, target)) + 0.1 * gradient_loss(found, target)
