"""Tiles: they cover the image, and blend without a seam."""

import itertools

import numpy as np
import pytest
import torch

from decofuse.fusing.fuse import fuse_pair
from decofuse.fusing.tiling import ALIGN, Tiles, fuse_tiled, smallest_tiles
from decofuse.models.method import Fuser
from decofuse.models.reference import Average, Laplacian
from decofuse.models.registry import METHODS
from decofuse.settings import FuseSettings

CPU = torch.device("cpu")
PLAIN = FuseSettings(stretch=False, rounding="nearest")


@pytest.mark.parametrize(("context", "ramp"), [(0, 0), (20, 0), (20, 64), (32, 64), (60, 0), (64, 10)])
@pytest.mark.parametrize("size", [(100, 7), (256, 256), (257, 400), (385, 641), (1000, 384)])
def test_shares_add_up_to_one_and_the_context_does_not_count(size, context, ramp):
    tiles = Tiles(512, context, ramp)
    windows = []

    def fuse(window):
        windows.append(window)
        height, width = (part.stop - part.start for part in window)
        part = np.ones((1, height, width, 1), np.float32)
        # What lies in the context next to another tile is spoilt: it must have no part in the result.
        for axis, (span, length) in enumerate(zip(window, size, strict=True), start=1):
            along = np.moveaxis(part, axis, 0)
            along[: context if span.start else 0] = 1e9
            along[len(along) - (context if span.stop < length else 0) :] = 1e9
        return part

    assert np.abs(fuse_tiled(fuse, *size, tiles) - 1).max() < 1e-6
    assert all(span.start % ALIGN == 0 for window in windows for span in window)
    assert all(span.stop - span.start <= tiles.side for window in windows for span in window)


@pytest.mark.parametrize("side", [0, 100, 224, 250, 257])
def test_tiles_that_would_not_move_on_are_refused(side):
    with pytest.raises(ValueError, match=f"expected a multiple of 32 from 256 on, found {side}"):
        Tiles(side, 32)


def scene(height, width, seed=0):
    """Smooth structures and noise, in colour and in grey."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = 128 + 90 * np.sin(x / 37 + seed) * np.cos(y / 53)
    noisy = base[..., None] + rng.normal(0, 12, (height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8), (255 - base + rng.normal(0, 9, base.shape)).clip(0, 255).astype(
        np.uint8
    )


@pytest.mark.parametrize(("network", "name"), [(Average(), "average"), (Laplacian(), "laplacian")])
@pytest.mark.parametrize("size", [(500, 771), (96, 700)])
def test_within_their_reach_methods_are_exact(network, name, size):
    reach = METHODS[name].reach
    views = METHODS[name].tasks["infrared-visible"]
    sources = scene(*size)
    whole = fuse_pair(network, sources, views, PLAIN, CPU)
    tiled = fuse_pair(network, sources, views, PLAIN, CPU, tiles=smallest_tiles(reach))
    assert np.abs(tiled.image.astype(int) - whole.image).max() <= 1
    assert (tiled.image != whole.image).mean() < 1e-4  # where float32 rounds a tie the other way


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.reach is not None])
def test_the_declared_reach_is_that_of_the_network(name):
    """A changed pixel changes nothing beyond the reach, and something within four pixels of it."""
    network = {"average": Average, "laplacian": Laplacian}[name]().double()
    reach, farthest = METHODS[name].reach, 0
    generator = torch.Generator().manual_seed(0)
    for y in range(160, 176):  # every place in the coarsest level's grid
        images = torch.rand(2, 1, 1, 336, 336, generator=generator, dtype=torch.float64)
        before = network.fuse(*images)
        images[0, 0, 0, y, y] += 0.7
        changed = (network.fuse(*images) - before).abs()[0, 0] > 0
        farthest = max(farthest, *((torch.nonzero(changed) - y).abs().amax(0).tolist()))
    assert reach - 4 <= farthest <= reach


def test_every_method_says_how_far_it_sees():
    assert all((method.reach is None) == bool(method.whole) for method in METHODS.values())


class Seen(Fuser):
    """Gives the first source, and keeps the sizes of what it was given."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def fuse(self, source_a, source_b):
        self.sizes.append(tuple(source_a.shape))
        return source_a


def test_the_stretch_is_that_of_the_whole_image():
    """Tile by tile, each would get a brightness of its own."""
    network = Seen()
    visible, infrared = scene(400, 500)
    views = METHODS["average"].tasks["infrared-visible"]
    fused = fuse_pair(network, (visible, infrared), views, FuseSettings(), CPU, tiles=Tiles(256, 32))
    whole = fuse_pair(Seen(), (visible, infrared), views, FuseSettings(), CPU)
    assert np.abs(fused.luma.astype(int) - whole.luma).max() <= 1
    assert (fused.luma.min(), fused.luma.max()) == (0, 255)
    assert len(network.sizes) == len(list(itertools.product(range(3), range(3))))
    assert max(side for size in network.sizes for side in size) == 256
