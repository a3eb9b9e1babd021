"""Edge transfer: Qabf."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from decofuse.metrics._images import grey_batches


class _Edges(NamedTuple):
    """Strength (≥ 0) and angle (-π/2 to π/2) of the gradient at every pixel, N×H×W each."""

    strength: Tensor
    angle: Tensor


def qabf(fused: Tensor, source_a: Tensor, source_b: Tensor) -> Tensor:
    """Qabf = Σ(Q_A g_A + Q_B g_B) / Σ(g_A + g_B): how much edge strength g and angle a the fused image keeps.

    Q_X = 0.9994 / (1 + exp(-15(G - 0.5))) · 0.9879 / (1 + exp(-22(A - 0.8))), G = min(g_X, g_F) / max(g_X, g_F),
    A = 1 - |a_X - a_F| / (π/2); 3×3 Sobel with zero padding, a = π/2 where the horizontal derivative is 0.

    Range [0, 1), higher is better. 0 if neither source has a gradient.
    Xydeas and Petrovic 2000, constants and border as CDDFuse's evaluator, with its rule that G = g_F where g_X = g_F.

    Args:
        fused: N×H×W or N×1×H×W, grey levels [0, 255].
        source_a: same shape.
        source_b: same shape.

    Returns:
        N values.

    Raises:
        ValueError: see `grey_batches`.
    """
    edges_f, edges_a, edges_b = (_edges(image) for image in grey_batches(fused, source_a, source_b))
    kept = _preserved(edges_a, edges_f) * edges_a.strength + _preserved(edges_b, edges_f) * edges_b.strength
    kept, total = (image.sum(dim=(-2, -1)) for image in (kept, edges_a.strength + edges_b.strength))
    return torch.where(total > 0, kept / total, torch.zeros_like(total))


def _preserved(source: _Edges, fused: _Edges) -> Tensor:
    """Q_X of every pixel, N×H×W."""
    weaker, stronger = torch.minimum(source.strength, fused.strength), torch.maximum(source.strength, fused.strength)
    strength = torch.where(weaker == stronger, weaker, weaker / stronger)
    angle = 1 - (source.angle - fused.angle).abs() / (math.pi / 2)
    return 0.9994 * torch.sigmoid(15 * (strength - 0.5)) * 0.9879 * torch.sigmoid(22 * (angle - 0.8))


def _edges(image: Tensor) -> _Edges:
    padded = pad(image, (1, 1, 1, 1))
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    columns = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    x, y = rows[..., 2:] - rows[..., :-2], columns[:, 2:] - columns[:, :-2]
    angle = torch.where(x == 0, math.pi / 2, -torch.atan(y / x))
    return _Edges((x.square() + y.square()).sqrt(), angle)
