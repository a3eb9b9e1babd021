"""Feature mutual information: FMI."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from decofuse.metrics._images import Images
from decofuse.metrics._names import check_known
from decofuse.metrics.gradients import horizontal_gradient

Feature = Literal["pixels", "gradient"]

_SIDE = 3  # of a window
_CELLS = _SIDE**2
_ROWS = 16  # of windows that are worked on at a time: their joint distributions have 81 values a window


class _Windows(NamedTuple):
    """Each 3×3 window as a distribution over its 9 cells in column-major order, and what follows from it."""

    raw: Tensor  # values, …×9
    flat: Tensor  # whether all values are equal
    shares: Tensor  # the distribution, …×9
    cumulative: Tensor  # …×9
    spread: Tensor  # standard deviation of the cell number
    entropy: Tensor  # [bits]


def feature_mutual_information(
    fused: Tensor, source_a: Tensor, source_b: Tensor, convention: Feature = "pixels"
) -> Tensor:
    """FMI = mean over 3×3 windows of (m(A, F) + m(B, F)) / 2, m = 2 (H_X + H_F - H_XF) / (H_X + H_F).

    The 9 values of a window, stretched to [0, 1] and divided by their sum, are taken for a distribution over its cells;
    the joint distribution of two windows is the one of their correlation between that of independence and the
    Fréchet-Hoeffding bound. m = 1 for equal windows and for two constant ones.

    Range [0, 1], higher is better. Haghighat et al. 2011 and 2014, as MEFB (whose default feature, MATLAB's thinned
    edges, exists nowhere else).

    Args:
        fused: N×H×W or N×1×H×W floating tensor, grey levels [0, 255], at least 3×3 pixels.
        source_a: same shape.
        source_b: same shape.
        convention: which feature: "pixels" the grey levels; "gradient" their horizontal gradient, central differences,
            one-sided on the border.

    Returns:
        N values.

    Raises:
        ValueError: see `Images`; too small, or an unknown convention.
    """
    return of_feature_mutual_information(Images(fused, source_a, source_b), convention)


def of_feature_mutual_information(images: Images, convention: Feature = "pixels") -> Tensor:
    """`feature_mutual_information` of images that are checked."""
    check_known("convention", convention, ("pixels", "gradient"))
    images.require(_SIDE)
    features = images.stack if convention == "pixels" else horizontal_gradient(images.stack)
    height, width = (side - _SIDE + 1 for side in features.shape[-2:])
    total = torch.zeros_like(features[0, :, 0, 0])
    for image, row in ((image, row) for image in range(len(total)) for row in range(0, height, _ROWS)):
        fused, *sources = (_windows(feature) for feature in features[:, image, row : row + _ROWS + _SIDE - 1])
        total[image] += sum((_shared(source, fused).sum() for source in sources), torch.zeros_like(total[image]))
    return images.result(total / (2 * height * width))


def _windows(feature: Tensor) -> _Windows:
    raw = feature.unfold(0, _SIDE, 1).unfold(1, _SIDE, 1).transpose(-1, -2).flatten(-2).flatten(0, 1)
    low, high = raw.amin(-1, keepdim=True), raw.amax(-1, keepdim=True)
    flat = low == high
    scaled = torch.where(flat, torch.ones_like(raw), (raw - low) / (high - low))
    shares = scaled / scaled.sum(dim=-1, keepdim=True)
    cells = torch.arange(1, _CELLS + 1, dtype=raw.dtype, device=raw.device)
    second, mean = (shares * cells**2).sum(dim=-1), (shares * cells).sum(dim=-1)
    entropy = torch.special.entr(shares).sum(dim=-1)
    spread = (second - mean.square()).clamp(min=0).sqrt()
    return _Windows(raw, flat[..., 0], shares, shares.cumsum(dim=-1), spread, entropy)


def _shared(source: _Windows, fused: _Windows) -> Tensor:
    """M of every window."""
    information = source.entropy + fused.entropy - _joint_entropy(source, fused)
    parts = source.entropy + fused.entropy
    value = torch.where(information == 0, information, 2 * information / parts)
    return torch.where((source.raw == fused.raw).all(dim=-1) | (source.flat & fused.flat), 1.0, value)


def _joint_entropy(source: _Windows, fused: _Windows) -> Tensor:
    """-ΣΣ j ln|j| over the joint distribution, which may have negative cells."""
    correlation = _correlation(source, fused)
    scale = correlation * source.spread * fused.spread
    x, f = source.cumulative[:, None, :], fused.cumulative[:, :, None]
    bound = torch.where((correlation >= 0)[:, None, None], torch.minimum(x, f), (x + f - 1).clamp(min=0))
    distance = (bound - x * f).sum(dim=(-2, -1))
    share = torch.where(scale == 0, scale, scale / distance)[:, None, None]
    joint = share * _mixed_difference(bound) + (1 - share) * fused.shares[:, :, None] * source.shares[:, None, :]
    return -torch.xlogy(joint, joint.abs()).sum(dim=(-2, -1))


def _correlation(source: _Windows, fused: _Windows) -> Tensor:
    """Pearson correlation of the distributions; 0 if a window is constant."""
    x, f = (its.shares - 1 / _CELLS for its in (source, fused))
    scale = (x.square().sum(dim=-1) * f.square().sum(dim=-1)).sqrt()
    return torch.where(source.flat | fused.flat, 0.0, (x * f).sum(dim=-1) / scale)


def _mixed_difference(bound: Tensor) -> Tensor:
    """Second mixed difference of a cumulative distribution …×9×9."""
    rows = bound.diff(dim=-2, prepend=torch.zeros_like(bound[..., :1, :]))
    return rows.diff(dim=-1, prepend=torch.zeros_like(bound[..., :1]))
