"""Fusion losses that compare the fused image with the stronger of the two sources.

Zhao et al., CDDFuse, CVPR 2023 (after Tang et al., SeAFusion, Information Fusion 2022). Every argument is
N×1×H×W in [0, 1]; every result a scalar.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from decofuse.losses.gradient import sobel, sobel_magnitude


def intensity_loss(visible: Tensor, infrared: Tensor, fused: Tensor) -> Tensor:
    """L1 distance between the fused image and the brighter source at each pixel."""
    return F.l1_loss(fused, torch.maximum(visible, infrared))


def maximum_gradient_loss(visible: Tensor, infrared: Tensor, fused: Tensor) -> Tensor:
    """L1 distance between the fused gradient magnitude and the larger of the sources' at each pixel."""
    strongest = torch.maximum(sobel_magnitude(visible), sobel_magnitude(infrared))
    return F.l1_loss(sobel_magnitude(fused), strongest)


def directional_gradient_loss(visible: Tensor, infrared: Tensor, fused: Tensor) -> Tensor:
    """The same for the horizontal and for the vertical derivative by itself, the two losses added (PSFusion)."""
    of_visible, of_infrared, of_fused = (sobel(image, "constant").abs() for image in (visible, infrared, fused))
    return 2 * F.l1_loss(of_fused, torch.maximum(of_visible, of_infrared))
