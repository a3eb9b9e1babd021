"""Metrics of grey-level histograms: EN and MI.

Levels are rounded to integers (ties to even), so that 8-bit images, which is what is scored, have their own 256 bins.
Counts are exact in every precision; entropies are computed in float64 and returned in the precision of the images.
"""

import math

import torch
from torch import Tensor

from decofuse.metrics._images import grey_batches

LEVELS = 256


def entropy(fused: Tensor) -> Tensor:
    """EN = -Σ p_k log2 p_k over the 256 grey levels, with 0·log 0 = 0.

    Range [0, 8] bits, higher is better (noise is rewarded). 0 for a constant image.
    Shannon 1948, as CDDFuse's evaluator.

    Args:
        fused: N×H×W or N×1×H×W, grey levels [0, 255].

    Returns:
        N values.

    Raises:
        ValueError: see `grey_batches`.
    """
    (fused,) = grey_batches(fused)
    counts = _histograms(fused.round().long(), LEVELS)
    return (_entropy_nats(counts) / math.log(2)).to(fused.dtype)


def mutual_information(fused: Tensor, source_a: Tensor, source_b: Tensor) -> Tensor:
    """MI = I(A, F) + I(B, F), I(X, F) = Σ p(x,f) ln(p(x,f) / (p(x)p(f))) over 256×256 grey levels.

    Range [0, 2 ln 256] **nats** (bits / 1.4427), higher is better. 0 if the fused image or both sources are constant.
    Qu et al. 2002; natural logarithm as CDDFuse's evaluator.

    Args:
        fused: N×H×W or N×1×H×W, grey levels [0, 255].
        source_a: same shape.
        source_b: same shape.

    Returns:
        N values.

    Raises:
        ValueError: see `grey_batches`.
    """
    fused, source_a, source_b = grey_batches(fused, source_a, source_b)
    levels_f, levels_a, levels_b = (image.round().long() for image in (fused, source_a, source_b))
    return (_mutual_information(levels_a, levels_f) + _mutual_information(levels_b, levels_f)).to(fused.dtype)


def _mutual_information(x: Tensor, y: Tensor) -> Tensor:
    joint = _histograms(x * LEVELS + y, LEVELS**2).view(-1, LEVELS, LEVELS)
    parts = _entropy_nats(joint.sum(2)) + _entropy_nats(joint.sum(1))
    return (parts - _entropy_nats(joint.flatten(1))).clamp(min=0)  # rounding alone makes it negative


def _histograms(indices: Tensor, bins: int) -> Tensor:
    """Counts of each bin in each image: N×H×W integers below `bins` -> N×bins."""
    images = len(indices)
    offsets = bins * torch.arange(images, device=indices.device).view(-1, 1, 1)
    return torch.bincount((indices + offsets).flatten(), minlength=images * bins).view(images, bins)


def _entropy_nats(counts: Tensor) -> Tensor:
    shares = counts.double() / counts.sum(dim=1, keepdim=True)
    terms: Tensor = torch.special.entr(shares)
    return terms.sum(dim=1)
