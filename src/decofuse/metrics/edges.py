"""Edge transfer in Petrovic's manner: Qabf, and what is added (Nabf) and lost (Labf)."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from decofuse.metrics._images import Images, dot
from decofuse.metrics._names import check_known
from decofuse.metrics._windows import sobel, strip_sums

Transfer = Literal["cddfuse", "petrovic"]
Artefacts = Literal["kumar", "petrovic"]


class _Transfer(NamedTuple):
    """Of both sources at every pixel, 2×N×H×W: share of an edge that is kept, weight of the edge."""

    quality: Tensor
    weight: Tensor
    added: Tensor  # N×H×W, 1 where the fused edge is stronger than both sources', else 0


def qabf(fused: Tensor, source_a: Tensor, source_b: Tensor, convention: Transfer = "cddfuse") -> Tensor:
    """Qabf = Σ(Q_A w_A + Q_B w_B) / Σ(w_A + w_B): how much of the strength g and angle a of edges is kept.

    Range [0, 1), higher is better. Xydeas and Petrovic 2000.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].
        source_a: same shape.
        source_b: same shape.
        convention: "cddfuse": w = g, Q_X = 0.9994 / (1 + exp(-15(G - 0.5))) · 0.9879 / (1 + exp(-22(A - 0.8))),
            G = min(g_X, g_F) / max(g_X, g_F) but g_F where they are equal, A = 1 - |a_X - a_F| / (π/2), 3×3 Sobel with
            zero padding (the frame counts as an edge), a = π/2 where the horizontal derivative is 0, as CDDFuse's
            evaluator; 0 if neither source has a gradient. "petrovic": that of `nabf`, so that Qabf, Nabf and Labf add
            up to 1.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`; an unknown convention.
    """
    return of_qabf(Images(fused, source_a, source_b), convention)


def of_qabf(images: Images, convention: Transfer = "cddfuse") -> Tensor:
    """`qabf` of images that are checked."""
    check_known("convention", convention, ("cddfuse", "petrovic"))
    if convention == "petrovic":
        quality, weight, _ = images.once(_kumar)
        kept, total = dot(quality, weight).sum(dim=0), weight.sum(dim=(0, -2, -1))
    else:
        kept, total = strip_sums(_xydeas, pad(images.stack.to(images.precision), (1, 1, 1, 1)), 3)
    return images.result(torch.where(total > 0, kept / total, torch.zeros_like(total)))


def nabf(fused: Tensor, source_a: Tensor, source_b: Tensor, convention: Artefacts = "kumar") -> Tensor:
    """Nabf = Σ((1 - Q_A)w_A + (1 - Q_B)w_B) / Σ(w_A + w_B), upper sum where g_F > g_A and g_F > g_B: artefacts.

    Q_X = sqrt(0.9999 / (1 + exp(-19(R - 0.5))) · 0.9995 / (1 + exp(-22(T - 0.5)))), R = min(g_X, g_F) / max(g_X, g_F),
    T = ||a_X - a_F| - π/2| · 2/π; w = g^1.5 from g = 2 on, else 0.001; 3×3 Sobel / 8, mirrored border.

    Range [0, 1] (petrovic [0, 2]), lower is better. Kumar 2013 after Petrovic and Xydeas 2005.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255], at least 2×2 pixels.
        source_a: same shape.
        source_b: same shape.
        convention: "kumar": as above; "petrovic": the upper sum is of (2 - Q_A - Q_B)(w_A + w_B).

    Returns:
        N values.

    Raises:
        ValueError: see `Images`; too small, or an unknown convention.
    """
    return of_nabf(Images(fused, source_a, source_b), convention)


def of_nabf(images: Images, convention: Artefacts = "kumar") -> Tensor:
    """`nabf` of images that are checked."""
    check_known("convention", convention, ("kumar", "petrovic"))
    quality, weight, added = images.once(_kumar)
    missing = 1 - quality
    error = missing.sum(dim=0) * weight.sum(dim=0) if convention == "petrovic" else (missing * weight).sum(dim=0)
    return images.result(dot(error, added) / weight.sum(dim=(0, -2, -1)))


def labf(fused: Tensor, source_a: Tensor, source_b: Tensor) -> Tensor:
    """Labf: Nabf with the upper sum over all other pixels, where g_F ≤ g_A or g_F ≤ g_B: what is lost.

    Range [0, 1], lower is better. Kumar 2013 after Petrovic and Xydeas 2005.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255], at least 2×2 pixels.
        source_a: same shape.
        source_b: same shape.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`; or too small.
    """
    return of_labf(Images(fused, source_a, source_b))


def of_labf(images: Images) -> Tensor:
    """`labf` of images that are checked."""
    quality, weight, added = images.once(_kumar)
    error = ((1 - quality) * weight).sum(dim=0)
    return images.result(dot(error, 1 - added) / weight.sum(dim=(0, -2, -1)))


def _xydeas(strip: Tensor) -> Tensor:
    """ΣQg and Σg of both sources, 2×N, inside a strip. Without masks, the slowest operations here on a CPU."""
    x, y = (derivative[..., 1:-1, 1:-1] for derivative in sobel(strip, "constant"))
    strength = x.square().addcmul_(y, y).sqrt_()
    slope = (y / x).nan_to_num_(nan=-math.inf, posinf=-math.inf, neginf=-math.inf)
    angle = slope.atan_()  # -a; a is π/2 where x is 0
    fused, source = strength[:1], strength[1:]
    weaker = torch.minimum(source, fused)
    ratio = (weaker / torch.maximum(source, fused)).nan_to_num_(nan=0.0)
    equal = ratio.floor()  # 1 where both are equal and not 0, as a ratio below 1 never rounds to 1
    kept = ratio.addcmul_(equal, weaker.sub_(1))
    of_strength = kept.mul_(-15).add_(15 * 0.5).exp_().add_(1)
    turn = (angle[1:] - angle[:1]).abs_()
    of_angle = turn.mul_(22 / (math.pi / 2)).sub_(22 * (1 - 0.8)).exp_().add_(1)
    quality = 0.9994 * 0.9879 * (source / of_strength.mul_(of_angle)).sum(dim=(0, -2, -1))
    return torch.stack([quality, source.sum(dim=(0, -2, -1))])


def _kumar(images: Images) -> _Transfer:
    images.require(2)
    x, y = (derivative / 8 for derivative in sobel(images.stack, "reflect"))
    strength = x.square().add_(y.square()).sqrt_()
    angle = (x / y).nan_to_num_(nan=0.0, posinf=math.inf, neginf=-math.inf).atan_()
    fused, source = strength[:1], strength[1:]
    ratio = (torch.minimum(source, fused) / torch.maximum(source, fused)).nan_to_num_(nan=0.0)
    alike = ((angle[1:] - angle[:1]).abs() - math.pi / 2).abs() / (math.pi / 2)
    quality = (0.9999 * torch.sigmoid(19 * (ratio - 0.5)) * 0.9995 * torch.sigmoid(22 * (alike - 0.5))).sqrt()
    weight = torch.where(source >= 2, source**1.5, torch.full_like(source, 0.001))
    return _Transfer(quality, weight, (fused > source).all(dim=0).double())
