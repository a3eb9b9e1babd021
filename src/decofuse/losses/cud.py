"""What the two views of a degraded image must be taken apart into: common and unique decomposition (CUD).

Liang et al., DeFusion, ECCV 2022.
"""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


class PartMasks(NamedTuple):
    """Where the image belongs to each part, N×1×H×W of 0 and 1: in both views, in the first or the second alone."""

    common: Tensor
    unique_a: Tensor
    unique_b: Tensor


def part_masks(mask_a: Tensor, mask_b: Tensor) -> PartMasks:
    """The masks of the parts; they are disjoint, and together 1 where the views together show the image.

    Args:
        mask_a: N×1×H×W, 1 where the first view shows the image and 0 elsewhere.
        mask_b: the same of the second view.
    """
    common = mask_a * mask_b
    return PartMasks(common, mask_a - common, mask_b - common)


def summed_l1(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute error of each sample, summed over the batch: a scalar."""
    return len(wanted) * F.l1_loss(found, wanted)
