"""Metrics of grey-level histograms: EN, MI, NMI, CE.

Levels are rounded to integers (ties to even), so that 8-bit images, which is what is scored, have their own 256 bins.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from decofuse.metrics._images import Images, histograms
from decofuse.metrics._names import check_known

Unit = Literal["cddfuse", "bits", "vifb"]


def entropy(fused: Tensor) -> Tensor:
    """EN = -Σ p_k log2 p_k over the 256 grey levels, with 0·log 0 = 0.

    Range [0, 8] bits, higher is better (noise is rewarded). 0 for a constant image.
    Shannon 1948, as CDDFuse's evaluator.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].

    Returns:
        N values.

    Raises:
        ValueError: see `Images`.
    """
    return of_entropy(Images(fused))


def of_entropy(images: Images) -> Tensor:
    """`entropy` of images that are checked."""
    counts = images.joint[0].sum(dim=-2) if len(images.sources) else histograms(images.levels[0])
    return images.result(_entropy_nats(counts) / math.log(2))


def mutual_information(fused: Tensor, source_a: Tensor, source_b: Tensor, convention: Unit = "cddfuse") -> Tensor:
    """MI = I(A, F) + I(B, F), I(X, F) = Σ p(x,f) ln(p(x,f) / (p(x)p(f))) over 256×256 grey levels.

    Range [0, 2 ln 256] nats, higher is better. 0 if the fused image or both sources are constant. Qu et al. 2002.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].
        source_a: same shape.
        source_b: same shape.
        convention: "cddfuse": **nats**, as CDDFuse's evaluator; "bits": binary logarithm, 1.4427 times as much;
            "vifb": nats, of images that are each stretched to 0-255 first, as VIFB.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`; or an unknown convention.
    """
    return of_mutual_information(Images(fused, source_a, source_b), convention)


def of_mutual_information(images: Images, convention: Unit = "cddfuse") -> Tensor:
    """`mutual_information` of images that are checked."""
    check_known("convention", convention, ("cddfuse", "bits", "vifb"))
    shared, _, _ = _information(images.joint_stretched if convention == "vifb" else images.joint)
    return images.result(shared.sum(dim=0) / (math.log(2) if convention == "bits" else 1))


def normalised_mutual_information(fused: Tensor, source_a: Tensor, source_b: Tensor) -> Tensor:
    """NMI = 2 I(A, F) / (H(A) + H(F)) + 2 I(B, F) / (H(B) + H(F)), of images each stretched to 0-255 first.

    Range [0, 2], higher is better. A term of two constant images is 0. Hossny et al. 2008, as MEFB.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].
        source_a: same shape.
        source_b: same shape.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`.
    """
    return of_normalised_mutual_information(Images(fused, source_a, source_b))


def of_normalised_mutual_information(images: Images) -> Tensor:
    """`normalised_mutual_information` of images that are checked."""
    shared, source, fused = _information(images.joint_stretched)
    parts = source + fused
    terms = torch.where(parts > 0, 2 * shared / parts, torch.zeros_like(parts))
    return images.result(terms.sum(dim=0))


def cross_entropy(fused: Tensor, source_a: Tensor, source_b: Tensor) -> Tensor:
    """CE = (D(A) + D(B)) / 2, D(X) = Σ p_X(k) log2(p_X(k) / p_F(k)) over the levels that both images have.

    Bits, lower is better. No divergence, as levels that one image lacks are left out: it can be negative, and is 0 for
    images without a common level. Definition as VIFB.

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255].
        source_a: same shape.
        source_b: same shape.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`.
    """
    return of_cross_entropy(Images(fused, source_a, source_b))


def of_cross_entropy(images: Images) -> Tensor:
    """`cross_entropy` of images that are checked."""
    fused, a, b = (histograms(levels).double() / images.pixels for levels in images.levels)
    divergences = []
    for source in (a, b):
        both = (source > 0) & (fused > 0)
        ratios = torch.where(both, source / fused, torch.ones_like(source))
        divergences.append((source * ratios.log2()).sum(dim=-1))
    return images.result((divergences[0] + divergences[1]) / 2)


def _information(joint: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mutual information and entropies of both margins, in nats, of joint histograms …×256×256."""
    rows, columns = _entropy_nats(joint.sum(dim=-1)), _entropy_nats(joint.sum(dim=-2))
    shared = (rows + columns - _entropy_nats(joint.flatten(-2))).clamp(min=0)  # rounding alone makes it negative
    return shared, rows, columns


def _entropy_nats(counts: Tensor) -> Tensor:
    shares = counts.double() / counts.sum(dim=-1, keepdim=True)
    terms: Tensor = torch.special.entr(shares)
    return terms.sum(dim=-1)
