"""Metrics of grey-level statistics: SD, SF, SCD.

Deviations are taken from the first pixel: none of these metrics changes with a shift of the grey levels, the sums stay
exact for integer levels, and a constant image gives an exact zero variance in every precision.
"""

import torch
from torch import Tensor

from decofuse.metrics._images import grey_batches


def standard_deviation(fused: Tensor) -> Tensor:
    """SD = sqrt(mean (F - mean F)²), the population standard deviation.

    Range [0, 127.5] grey levels, higher is better (noise is rewarded). 0 for a constant image.
    Definition as CDDFuse's evaluator.

    Args:
        fused: N×H×W or N×1×H×W, grey levels [0, 255].

    Returns:
        N values.

    Raises:
        ValueError: see `grey_batches`.
    """
    (fused,) = grey_batches(fused)
    return _shifted(fused).std(dim=(-2, -1), correction=0)


def spatial_frequency(fused: Tensor) -> Tensor:
    """SF = sqrt(mean (F[y,x+1] - F[y,x])² + mean (F[y+1,x] - F[y,x])²), each mean over its own differences.

    Range [0, 360.6] grey levels, higher is better (noise is rewarded).
    Eskicioglu and Fisher 1995; the counts are those of CDDFuse's evaluator (VIFB divides both sums by H·W).

    Args:
        fused: N×H×W or N×1×H×W, grey levels [0, 255], at least 2×2 pixels.

    Returns:
        N values.

    Raises:
        ValueError: see `grey_batches`.
    """
    (fused,) = grey_batches(fused, minimum_side=2)
    horizontal = fused.diff(dim=-1).square().mean(dim=(-2, -1))
    vertical = fused.diff(dim=-2).square().mean(dim=(-2, -1))
    return (horizontal + vertical).sqrt()


def correlations_of_differences(fused: Tensor, source_a: Tensor, source_b: Tensor) -> Tensor:
    """SCD = ρ(A, F - B) + ρ(B, F - A), ρ the Pearson correlation over all pixels.

    Range [-2, 2], higher is better. A correlation with a constant operand counts as 0.
    Aslantas and Bendes 2015, as CDDFuse's evaluator.

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
    return _correlation(source_a, fused - source_b) + _correlation(source_b, fused - source_a)


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    x, y = (_centred(image) for image in (x, y))
    scale = (x.square().sum(dim=(-2, -1)) * y.square().sum(dim=(-2, -1))).sqrt()
    covariance = (x * y).sum(dim=(-2, -1))
    return torch.where(scale > 0, covariance / scale, torch.zeros_like(scale))


def _centred(image: Tensor) -> Tensor:
    shifted = _shifted(image)
    return shifted - shifted.mean(dim=(-2, -1), keepdim=True)


def _shifted(image: Tensor) -> Tensor:
    return image - image[:, :1, :1]
