"""Multi-octave noise: the texture of every surface."""

import cv2
import numpy as np

from decofuse.data.images import Float32

SIDE = 512  # of a tile [pixels]


def generator(*key: int) -> np.random.Generator:
    """A PCG64 generator that depends on whole numbers ≥ 0 alone."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def tile(rng: np.random.Generator, cells: int, decay: float) -> Float32:
    """A tileable SIDE×SIDE float32 texture of zero mean and unit deviation.

    Args:
        rng: source of randomness.
        cells: lattice cells along a side in the coarsest octave; each octave doubles them.
        decay: amplitude of an octave relative to the one before.
    """
    total = np.zeros((SIDE, SIDE), np.float32)
    amplitude = 1.0
    while cells <= SIDE:
        lattice = rng.standard_normal((cells, cells), np.float32)
        total = total + np.float32(amplitude) * _enlarge(lattice)
        cells, amplitude = cells * 2, amplitude * decay
    return np.asarray((total - total.mean()) / total.std(), np.float32)


def _enlarge(lattice: Float32) -> Float32:
    """Interpolate a periodic lattice to SIDE×SIDE."""
    cells = len(lattice)
    if cells == SIDE:
        return lattice
    step = SIDE // cells
    padded = np.pad(lattice, 2, mode="wrap")
    kind = cv2.INTER_CUBIC if step > 4 else cv2.INTER_LINEAR
    large = cv2.resize(padded, None, fx=step, fy=step, interpolation=kind)
    return np.asarray(large[2 * step : 2 * step + SIDE, 2 * step : 2 * step + SIDE], np.float32)


def sample(texture: Float32, column: Float32, row: Float32) -> Float32:
    """Read a tile at positions [tile pixels] that broadcast to H×W, repeating it beyond its sides."""
    # the remainder keeps the positions within the 16-bit range of OpenCV's fixed-point maps
    wrapped = [place - np.floor(place * np.float32(1 / SIDE)) * np.float32(SIDE) for place in (column, row)]
    across, down = (np.ascontiguousarray(place, np.float32) for place in np.broadcast_arrays(*wrapped))
    return np.asarray(cv2.remap(texture, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)


def patch(texture: Float32, rng: np.random.Generator, height: int, width: int, extent: float) -> Float32:
    """A height×width piece of a tile from a random place, whose longer side spans `extent` tile pixels."""
    scale = extent / max(height, width)
    rows, columns = max(2, round(height * scale)), max(2, round(width * scale))
    top, left = rng.integers(0, SIDE, 2)
    piece = texture[np.ix_(np.arange(top, top + rows) % SIDE, np.arange(left, left + columns) % SIDE)]
    kind = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(piece, (width, height), interpolation=kind), np.float32)


def smoothstep(low: float, high: float, value: Float32) -> Float32:
    """0 below `low`, 1 above `high`, a smooth ramp between."""
    ramp = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    smooth: Float32 = ramp * ramp * (3 - 2 * ramp)
    return smooth


def band(value: Float32, low: float, high: float, footprint: Float32 | float) -> Float32:
    """How much of a pixel of width `footprint` centred at `value` lies in [low, high]; 0 to 1 (box filter)."""
    rise = np.clip((value - np.float32(low)) / footprint + np.float32(0.5), 0, 1)
    fall = np.clip((value - np.float32(high)) / footprint + np.float32(0.5), 0, 1)
    covered: Float32 = rise - fall
    return covered
