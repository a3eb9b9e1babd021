"""Fusing in overlapping windows, for networks whose cost grows faster than the image."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

TOGETHER = 64  # windows in one batch


def in_windows(fuse: Callable[[Tensor, Tensor], Tensor], source_a: Tensor, source_b: Tensor, size: int) -> Tensor:
    """Fuse windows that overlap by half, and blend the results by weights that fall linearly towards their borders.

    Args:
        fuse: maps two batches of windows, M×C×size×size, to their results, M×K×size×size.
        source_a: N×C×H×W.
        source_b: same shape.
        size: side of a window, even [pixels].

    Returns:
        N×K×H×W.
    """
    height, width = source_a.shape[-2:]
    step = size // 2
    missing = [max(size - side, -(side - size) % step) for side in (width, height)]
    sources = [F.pad(source, (0, missing[0], 0, missing[1]), mode="replicate") for source in (source_a, source_b)]
    tiles = [source.unfold(2, size, step).unfold(3, size, step).permute(0, 2, 3, 1, 4, 5) for source in sources]
    n, rows, columns = tiles[0].shape[:3]
    first, second = (torch.split(tile.flatten(0, 2), TOGETHER) for tile in tiles)
    fused = torch.cat([fuse(a, b) for a, b in zip(first, second, strict=True)])
    ramp = torch.arange(size, dtype=fused.dtype, device=fused.device) + 0.5
    ramp = torch.minimum(ramp, size - ramp)
    weight = torch.outer(ramp, ramp)

    def blended(parts: Tensor) -> Tensor:
        stacked = parts.reshape(n, rows * columns, -1).transpose(1, 2)
        return F.fold(stacked, sources[0].shape[-2:], size, stride=step)

    total = blended(weight.expand(n * rows * columns, 1, size, size).contiguous())
    return (blended(fused * weight) / total)[..., :height, :width]
