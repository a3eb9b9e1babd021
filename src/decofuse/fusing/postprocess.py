"""From a network's output to 8 or 16 bits, and to colour."""

from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from decofuse.data.images import Float32, Pixels, full_scale
from decofuse.models.colour import join, split

F = TypeVar("F", np.float32, np.float64)
Rounding = Literal["half_down", "nearest", "truncate"]
Depth = type[np.uint8] | type[np.uint16]


def stretch(levels: NDArray[F]) -> NDArray[F]:
    """Map the range [minimum, maximum] of one image to [0, 1]; a constant image has no range and stays as it is."""
    low, high = levels.min(), levels.max()
    stretched: NDArray[F] = (levels - low) / (high - low) if high > low else levels
    return stretched


def quantise(levels: NDArray[F], rounding: Rounding, depth: Depth = np.uint8) -> Pixels:
    """Make 8-bit or 16-bit levels of values in [0, 1]; what lies outside is clipped.

    Args:
        levels: any shape.
        rounding: `half_down` as the image writer of CDDFuse (255·x + 0.499999999, truncated), `nearest` with ties to
            even, `truncate` as FSIDFusion and SFDFuse.
        depth: np.uint8 (0–255) or np.uint16 (0–65535).
    """
    scaled = np.iinfo(depth).max * levels.astype(np.float64).clip(0, 1)
    if rounding == "half_down":
        scaled = np.floor(scaled + 0.499999999)
    elif rounding == "nearest":
        scaled = np.rint(scaled)
    quantised: Pixels = scaled.astype(depth)
    return quantised


def to_ycbcr(rgb: Pixels) -> Float32:
    """Y, Cb and Cr of an H×W×3 RGB image, full-range BT.601, as H×W×3 float32 in the levels of the image.

    Y = 0.299 R + 0.587 G + 0.114 B in [0, 255] or [0, 65535]; Cb = 0.564 (B − Y) and Cr = 0.713 (R − Y), OpenCV's
    constants, are centred on 0: nothing is added to make them positive.
    """
    red, green, blue = np.moveaxis(rgb.astype(np.float32), -1, 0)
    y = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    return np.stack((y, np.float32(0.564) * (blue - y), np.float32(0.713) * (red - y)), axis=-1)


def to_rgb(ycbcr: Float32, depth: Depth = np.uint8) -> Pixels:
    """The exact inverse of `to_ycbcr`, rounded to nearest and clipped to the levels of `depth`; H×W×3."""
    y, cb, cr = np.moveaxis(ycbcr, -1, 0)
    red, blue = y + cr / np.float32(0.713), y + cb / np.float32(0.564)
    green = (y - np.float32(0.299) * red - np.float32(0.114) * blue) / np.float32(0.587)
    rounded: Float32 = np.rint(np.stack((red, green, blue), axis=-1))
    levels: Pixels = rounded.clip(0, np.iinfo(depth).max).astype(depth)
    return levels


def recolour(luma: Pixels, source_a: Pixels, source_b: Pixels) -> Pixels:
    """Put the chroma of the colour sources back beside the fused luma.

    The chroma of one colour source is taken as it is, as CDDFuse's author describes for PET and SPECT. That of two is
    their mean weighted by saturation, c = (c₁|c₁| + c₂|c₂|) / (|c₁| + |c₂|) for Cb and for Cr, 0 where neither has
    any: Prabhakar et al., DeepFuse, ICCV 2017.

    Args:
        luma: H×W uint8 or uint16.
        source_a: H×W (grey) or H×W×3 (RGB), uint8 or uint16.
        source_b: the same.

    Returns:
        H×W×3 RGB of the depth of `luma` if a source has colour, else `luma`. Colours outside of RGB are clipped, so the
        luma of the result can differ from `luma`.
    """
    scale = full_scale(luma)
    chromas = [_chroma(source, scale) for source in (source_a, source_b) if source.ndim == 3]
    if not chromas:
        return luma
    chroma = chromas[0] if len(chromas) == 1 else _by_saturation(*chromas)
    return to_rgb(np.concatenate((luma[..., None].astype(np.float32), chroma), axis=-1), luma.dtype.type)


def recolour_clamped(luma: Float32, source_a: Pixels, source_b: Pixels, rounding: Rounding, depth: Depth) -> Pixels:
    """Put the chroma of the colour sources back beside fused luma by `decofuse.models.colour`, then quantise.

    That of one colour source is upstream's; that of two is weighted as in `recolour`, which upstream knows nothing of.

    Args:
        luma: H×W float32 in [0, 1].
        source_a: H×W (grey) or H×W×3 (RGB), uint8 or uint16.
        source_b: the same.
        rounding: see `quantise`.
        depth: see `quantise`.

    Returns:
        H×W×3 RGB if a source has colour, else H×W; of that depth.
    """
    chromas = [_chroma_clamped(source) for source in (source_a, source_b) if source.ndim == 3]
    if not chromas:
        return quantise(luma, rounding, depth)
    chroma = chromas[0] if len(chromas) == 1 else _by_saturation(*(each - 0.5 for each in chromas)) + 0.5
    joined = join(torch.from_numpy(luma)[None, None], torch.from_numpy(chroma))[0].numpy()
    return quantise(np.moveaxis(joined, 0, -1), rounding, depth)


def _chroma_clamped(source: Pixels) -> Float32:
    """Cb and Cr of an RGB image, 1×2×H×W in [0, 1]."""
    rgb = np.moveaxis(source, -1, 0).astype(np.float32) / np.float32(full_scale(source))
    chroma: Float32 = split(torch.from_numpy(rgb)[None])[1].numpy()
    return chroma


def _chroma(source: Pixels, scale: int) -> Float32:
    """Cb and Cr of an RGB image, H×W×2, in levels of which `scale` is the largest."""
    chroma = to_ycbcr(source)[..., 1:]
    return chroma if full_scale(source) == scale else chroma * np.float32(scale / full_scale(source))


def _by_saturation(first: Float32, second: Float32) -> Float32:
    weight1, weight2 = np.abs(first), np.abs(second)
    total = weight1 + weight2
    mean = np.zeros_like(total)
    np.divide(first * weight1 + second * weight2, total, out=mean, where=total > 0)
    return mean
