"""Fusing a large image in overlapping tiles whose results run into each other."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from decofuse.data.images import Float32

ALIGN = 32  # tiles begin at multiples of this, so that networks which halve the image sample it where they would whole
CONTEXT = 32  # what a tile sees beyond its result, for methods that see the whole image anyway [pixels]
RAMP = 64  # width over which one tile's result gives way to the next one's, for these methods [pixels]

Window = tuple[slice, slice]  # rows, columns


@dataclass(frozen=True)
class Tiles:
    """How an image is cut.

    Attributes:
        side: of a square tile; a multiple of ALIGN [pixels].
        context: outermost pixels of a tile, next to another tile, whose result does not count [pixels].
        ramp: width over which neighbours are blended; 0 cuts, which no one sees where both agree [pixels].
    """

    side: int
    context: int = CONTEXT
    ramp: int = RAMP

    @property
    def overlap(self) -> int:
        """Pixels that neighbours share; a multiple of ALIGN."""
        return _aligned(2 * self.context + self.ramp)

    @property
    def step(self) -> int:
        """Distance between the first pixels of neighbours."""
        return self.side - self.overlap

    @property
    def smallest(self) -> int:
        """The smallest side for this overlap: more than two tiles must not overlap along an axis."""
        return max(2 * self.overlap, ALIGN)

    def __post_init__(self) -> None:
        """Refuse a side that does not fit."""
        if self.side % ALIGN or self.side < self.smallest:
            raise ValueError(f"expected a multiple of {ALIGN} from {self.smallest} on, found {self.side}")


def smallest_tiles(reach: int | None) -> Tiles:
    """The smallest tiles for a method of this reach [pixels]; None: it sees the whole image, and tiles approximate."""
    context, ramp = (CONTEXT, RAMP) if reach is None else (reach, 0)
    return Tiles(max(2 * _aligned(2 * context + ramp), ALIGN), context, ramp)


@dataclass(frozen=True)
class _Span:
    """One tile along one axis: its pixels, and the share that its result has in each of them, float32."""

    pixels: slice
    shares: Float32


def fuse_tiled(fuse: Callable[[Window], Float32], height: int, width: int, tiles: Tiles) -> Float32:
    """Fuse tile by tile and blend: shares fall linearly over the ramp, and add up to 1 in every pixel.

    Args:
        fuse: the result of a window, N×h×w×K float32.
        height: of the whole image [pixels].
        width: of the whole image [pixels].
        tiles: how to cut it.

    Returns:
        N×H×W×K float32.
    """
    rows, columns = (list(_spans(length, tiles)) for length in (height, width))
    whole: Float32 | None = None
    for row in rows:
        for column in columns:
            part = fuse((row.pixels, column.pixels))
            if whole is None:
                whole = np.zeros((len(part), height, width, part.shape[-1]), dtype=np.float32)
            part *= row.shares[:, None, None] * column.shares[:, None]
            whole[:, row.pixels, column.pixels] += part
    assert whole is not None  # noqa: S101 - an image has at least one tile
    return whole


def _spans(length: int, tiles: Tiles) -> Iterator[_Span]:
    starts = [0, *range(tiles.step, max(length - tiles.overlap, 1), tiles.step)]
    stops = [min(start + tiles.side, length) for start in starts]
    stops[-1] = length
    for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        shares = np.ones(stop - start, dtype=np.float32)
        if i:
            rise = _rise(stops[i - 1] - start, tiles.ramp)
            shares[: len(rise)] = rise
        if i + 1 < len(starts):
            fall = 1 - _rise(stop - starts[i + 1], tiles.ramp)
            shares[len(shares) - len(fall) :] = fall
        yield _Span(slice(start, stop), shares)


def _aligned(length: int) -> int:
    return -(-length // ALIGN) * ALIGN


def _rise(overlap: int, ramp: int) -> Float32:
    """Shares from 0 to 1 over an overlap: a ramp in its middle, flat on either side."""
    flat = (overlap - ramp) // 2
    inner = (np.arange(ramp, dtype=np.float32) + np.float32(0.5)) / np.float32(max(ramp, 1))
    return np.concatenate((np.zeros(flat, np.float32), inner, np.ones(overlap - ramp - flat, np.float32)))
