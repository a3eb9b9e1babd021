"""Correlation between features, and CDDFuse's decomposition loss."""

import torch
from torch import Tensor

EPSILON = 2.0**-23  # machine epsilon of float32, in every dtype


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson correlation along the pixels, of each sample and channel, and its mean: a scalar in [-1, 1].

    0 where a map is constant.

    Args:
        first: N×C×H×W.
        second: same shape.
    """
    a, b = first.flatten(2), second.flatten(2)
    a, b = a - a.mean(dim=-1, keepdim=True), b - b.mean(dim=-1, keepdim=True)
    norms = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    each: Tensor = (a * b).sum(dim=-1) / (norms + EPSILON)
    return each.clamp(-1, 1).mean()


def batch_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson correlation over all elements of two batches at once, a scalar; NaN where one is constant.

    So it depends on which samples share a batch, as in PSFusion's published code.

    Args:
        first: any shape.
        second: same shape.
    """
    a, b = first - first.mean(), second - second.mean()
    return (a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt())


def decomposition_loss(base_a: Tensor, base_b: Tensor, detail_a: Tensor, detail_b: Tensor) -> Tensor:
    """cc(detail)² / (1.01 + cc(base)): low if base features agree and detail features do not; a scalar.

    Zhao et al., CDDFuse, CVPR 2023. Every argument is N×C×H×W.
    """
    return correlation(detail_a, detail_b).square() / (1.01 + correlation(base_a, base_b))
