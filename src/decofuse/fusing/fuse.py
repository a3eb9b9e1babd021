"""Inference: registered images of any size and depth to fused ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from decofuse.data.images import Float32, Pixels, full_scale, grey_levels
from decofuse.errors import UserError
from decofuse.fusing.postprocess import Depth, quantise, recolour, recolour_clamped, stretch
from decofuse.fusing.tiling import Tiles, Window, fuse_tiled
from decofuse.fusing.views import as_batch
from decofuse.models.method import Fuser
from decofuse.settings import FuseSettings, Views

Sources = tuple[Pixels, Pixels]
WHOLE: Window = (slice(None), slice(None))

_STRIP = 256  # rows that are finished at a time, so that a large image needs no second one in floats


@dataclass(frozen=True)
class Fused:
    """A fused pair, 8 bits deep, or 16 where a source is.

    Attributes:
        image: H×W×3 RGB if the result has colour, else H×W.
        luma: H×W, luma that the network gave, or that of its RGB; metrics are computed on it.
    """

    image: Pixels
    luma: Pixels


def fuse_pair(
    network: Fuser,
    sources: Sources,
    views: Views,
    settings: FuseSettings,
    device: torch.device,
    *,
    tiles: Tiles | None = None,
) -> Fused:
    """Fuse two registered images as a batch of one, at their own size; see `fuse_pairs`."""
    return fuse_pairs(network, [sources], views, settings, device, tiles=tiles)[0]


def fuse_pairs(
    network: Fuser,
    pairs: Sequence[Sources],
    views: Views,
    settings: FuseSettings,
    device: torch.device,
    *,
    tiles: Tiles | None = None,
) -> list[Fused]:
    """Fuse registered pairs of one size as one batch.

    The network is moved to `device` and put into evaluation mode.

    Args:
        network: a trained network or a training-free fuser.
        pairs: visible (or first) and infrared (or second) sources, H×W (grey) or H×W×3 (RGB), uint8 or uint16.
        views: what the network is given and gives.
        settings: how the output becomes levels and gets its colour.
        device: where to compute.
        tiles: how to cut images that are too large to be fused whole; None fuses them whole.

    Raises:
        UserError: the sizes differ or are too small for the network, or the network gives a value that is not finite.
    """
    height, width = _size(pairs, network.smallest)
    with torch.inference_mode():
        network = network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

        def fuse(window: Window) -> Float32:
            return _run(network, pairs, window, views, device)

        levels = fuse(WHOLE) if tiles is None else fuse_tiled(fuse, height, width, tiles)
    if not np.isfinite(levels).all():
        raise UserError("expected finite values from the network, found others; its weights have diverged, train again")
    return [_finish(image, sources, views, settings) for image, sources in zip(levels, pairs, strict=True)]


def _size(pairs: Sequence[Sources], smallest: int) -> tuple[int, int]:
    height, width = pairs[0][0].shape[:2]
    for other in (source.shape[:2] for sources in pairs for source in sources):
        if other != (height, width):
            raise UserError(
                f"expected two images of one size, found {width}x{height} and {other[1]}x{other[0]} pixels; "
                "register them first"
            )
    if min(height, width) < smallest:
        raise UserError(f"expected sides of at least {smallest} pixels, found {width}x{height}; enlarge the images")
    return height, width


def _run(network: Fuser, pairs: Sequence[Sources], window: Window, views: Views, device: torch.device) -> Float32:
    """What the network makes of one window of every pair, N×H×W×K; views are of single pixels, so windows go first."""
    source_a = as_batch([sources[0][window] for sources in pairs], views.source_a, device)
    source_b = as_batch([sources[1][window] for sources in pairs], views.source_b, device)
    return np.moveaxis(network.fuse(source_a, source_b).float().cpu().numpy(), 1, -1)


def _finish(levels: Float32, sources: Sources, views: Views, settings: FuseSettings) -> Fused:
    """From the network's H×W×K to the fused image; all but the stretch is done strip by strip."""
    depth: Depth = np.uint16 if max(full_scale(source) for source in sources) > 255 else np.uint8
    levels = stretch(levels) if settings.stretch else levels
    strips = [slice(top, top + _STRIP) for top in range(0, len(levels), _STRIP)]
    parts = [_coloured(levels[rows], (sources[0][rows], sources[1][rows]), views, settings, depth) for rows in strips]
    luma = np.concatenate([part.luma for part in parts])
    if all(part.image is part.luma for part in parts):
        return Fused(luma, luma)
    return Fused(np.concatenate([part.image for part in parts]), luma)


def _coloured(levels: Float32, sources: Sources, views: Views, settings: FuseSettings, depth: Depth) -> Fused:
    if views.fused == "rgb":
        image = quantise(levels, settings.rounding, depth)
        return Fused(image, grey_levels(image))
    luma = quantise(levels[..., 0], settings.rounding, depth)
    if settings.chroma == "clamped":
        return Fused(recolour_clamped(levels[..., 0], *sources, settings.rounding, depth), luma)
    return Fused(recolour(luma, *sources), luma)
