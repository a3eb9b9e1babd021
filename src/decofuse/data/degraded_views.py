"""Degraded views of single images: what DeFusion and DeFusion++ learn to fuse from (CUD).

Of a clean image two views are made. Each keeps some cells of it and shows noise elsewhere; every pixel is kept by at
least one. Liang et al., Fusion from Decomposition, ECCV 2022, in the order of operations of the published code.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from decofuse.data.image_store import ImageStore
from decofuse.data.images import Float32, UInt8
from decofuse.data.manifest import Manifest
from decofuse.errors import UserError
from decofuse.seeding import seed_for
from decofuse.settings import ViewSampling

Mask = NDArray[np.bool_]
Arrays = dict[str, NDArray[Any]]

ROLES = ("image", "visible", "source_a")  # the first of these sources that a dataset has is trained on
GREY = np.array([0.2989, 0.587, 0.114])  # weights of R, G and B in the adjustments of torchvision
AREA = (0.08, 1.0)  # of a crop, over that of the image
ASPECT = (3 / 4, 4 / 3)  # of a crop, width over height
CROP_ATTEMPTS = 10


class Grids(NamedTuple):
    """Cells to keep, each g×g: two grids for either view, and one for what neither kept."""

    coarse1: Mask
    fine1: Mask
    coarse2: Mask
    fine2: Mask
    extra: Mask


class Window(NamedTuple):
    """A part of an image [pixels]."""

    top: int
    left: int
    height: int
    width: int


def keep_probability(uniform: float) -> float:
    """Chance that a cell of a grid is kept, in [0.1, 0.993), from a draw in [0, 1); the same for all of a sample."""
    return 0.1 + uniform / 1.12


def extra_cells(uniform: float, cells: tuple[int, int, int]) -> int:
    """Cells a side of the grid that shares out what neither view kept, from a draw in [0, 1).

    Args:
        uniform: the draw.
        cells: cells a side of the coarse grids, of the fine ones, and a third number.
    """
    coarse, fine, third = cells
    return coarse if uniform < 0.33 else fine if uniform < 0.66 else third


def masks(grids: Grids, uniform: float, size: int) -> tuple[Mask, Mask]:
    """Where the two views show the image, each S×S; together they cover it.

    Args:
        grids: cells to keep.
        uniform: draw in [0, 1); from ½ on the views are exchanged.
        size: S.
    """
    coarse1, fine1, coarse2, fine2, extra = (_enlarged(grid, size) for grid in grids)
    first, second = coarse1 & fine1, coarse2 & fine2
    neither = ~(first | second)
    first, second = first | (neither & extra), second | (neither & ~extra)
    return (first, second) if uniform < 0.5 else (second, first)


def degrade(image: Float32, mask: Mask, normal: Float32) -> Float32:
    """One view: the image where the mask is true, elsewhere |z| clipped to 1.

    Args:
        image: 3×S×S in [0, 1].
        mask: S×S.
        normal: z, standard normal, 3×S×S.
    """
    view: Float32 = np.where(mask, image, np.minimum(np.abs(normal), 1))
    return view


def colour_matrix(mean: NDArray[np.float64], factors: Sequence[float], order: Sequence[int]) -> NDArray[np.float64]:
    """Brightness, contrast and saturation of an image as one matrix M: (R, G, B, 1)ᵀ is mapped to M (R, G, B, 1)ᵀ.

    Each is f · image + (1 − f) · other, with black, the image's mean grey level, or its grey version as the other one,
    as in torchvision for tensors. With factors up to 1 nothing leaves [0, 1], so that all three are linear and can be
    applied after cropping.

    Args:
        mean: of R, G and B over the whole image, in [0, 1].
        factors: of brightness, contrast and saturation, in [0, 1].
        order: the order in which these three (0, 1, 2) are applied.

    Returns:
        3×4 float64.
    """
    matrix = np.eye(3, 4)
    for kind in order:
        factor = factors[kind]
        if kind == 2:
            matrix = (factor * np.eye(3) + (1 - factor) * GREY) @ matrix
        else:
            level = GREY @ (matrix @ [*mean, 1]) if kind == 1 else 0.0
            matrix = factor * matrix
            matrix[:, 3] += (1 - factor) * level
    return matrix


def draw_window(rng: np.random.Generator, height: int, width: int) -> Window:
    """A random part of an image, as torchvision's RandomResizedCrop draws it by default.

    The area is uniform, the aspect ratio log-uniform; after ten parts that do not fit, the largest central one of an
    allowed aspect is taken.
    """
    for _ in range(CROP_ATTEMPTS):
        area = height * width * rng.uniform(*AREA)
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return Window(int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w)
    w, h = min(width, round(height * ASPECT[1])), min(height, round(width / ASPECT[0]))
    return Window((height - h) // 2, (width - w) // 2, h, w)


class DegradedViews:
    """Two degraded views of each image of a dataset; an epoch is one pass over the images.

    Of pairs the visible image is taken, or the first source of other tasks; never an infrared one. A grey image among
    colour ones is repeated to three channels.
    """

    def __init__(self, path: Path, split: str, settings: ViewSampling, seed: int, fixed: bool) -> None:
        """Find the images.

        Args:
            path: manifest of the dataset.
            split: train or val.
            settings: size and degradation.
            seed: seed of all that is random.
            fixed: draw by the index of an image, so that its views are the same each time.

        Raises:
            UserError: the manifest is missing, or no image to train on has colour.
        """
        sources = Manifest.read(path).sources
        self.role = next(role for role in ROLES if role in sources)
        self._images = ImageStore(path, split, (self.role,))
        channels = {pair.files[self.role].channels for pair in self._images.pairs}
        if channels == {1} and not fixed:
            raise UserError(
                f"{path}: expected RGB images to train on, found grey ones; train on a dataset with colour images"
            )
        self._settings = settings
        self._seed = seed
        self._fixed = fixed

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    def batch(self, indices: NDArray[np.int64], step: int, first: int = 0) -> Arrays:
        """Views by index of the image.

        Returns:
            `view_a`, `view_b` and the clean `image`, N×3×S×S float32 in [0, 1]; `mask_a` and `mask_b`, N×1×S×S
            float32, 1 where the view shows the image and 0 elsewhere; `step`, int64, a scalar.
        """
        places = [("index", int(i)) if self._fixed else ("step", step, n) for n, i in enumerate(indices, first)]
        samples = [self._sample(int(i), *place) for i, place in zip(indices, places, strict=True)]
        keys = ("view_a", "view_b", "image", "mask_a", "mask_b")
        arrays: Arrays = {key: np.stack(values) for key, values in zip(keys, zip(*samples, strict=True), strict=True)}
        return {**arrays, "step": np.array(step, np.int64)}

    def close(self) -> None:
        """Nothing is held open."""

    def _sample(self, index: int, *place: int | str) -> tuple[Float32, ...]:
        rng = np.random.Generator(np.random.PCG64(seed_for(self._seed, *place)))
        image = self._clean(self._images.image(index, self.role), rng)
        shown = masks(self._draw_grids(rng), rng.random(), self._settings.size)
        views = [degrade(image, mask, rng.standard_normal(image.shape, np.float32)) for mask in shown]
        return (*views, image, *(mask[None].astype(np.float32) for mask in shown))

    def _clean(self, pixels: UInt8, rng: np.random.Generator) -> Float32:
        """A random part of an image in random colours, 3×S×S; resized bilinearly without antialiasing, as upstream."""
        size = self._settings.size
        mean = np.array(cv2.mean(pixels)[:3] if pixels.ndim == 3 else cv2.mean(pixels)[:1] * 3) / 255
        matrix = colour_matrix(mean, rng.uniform(self._settings.jitter, 1, 3).tolist(), rng.permutation(3).tolist())
        top, left, height, width = draw_window(rng, *pixels.shape[:2])
        part = pixels[top : top + height, left : left + width].astype(np.float32) / np.float32(255)
        resized = cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR)
        rgb = resized if resized.ndim == 3 else cv2.cvtColor(resized, cv2.COLOR_GRAY2RGB)
        return np.ascontiguousarray(np.moveaxis(cv2.transform(rgb, matrix), -1, 0)).clip(0, 1)

    def _draw_grids(self, rng: np.random.Generator) -> Grids:
        coarse = self._settings.cells
        fine, third = (int(cells) for cells in 2 * coarse + rng.integers(2, size=2))
        chance = keep_probability(rng.random())
        extra = extra_cells(rng.random(), (coarse, fine, third))
        return Grids(*(rng.random((cells, cells)) < chance for cells in (coarse, fine, coarse, fine, extra)))


def _enlarged(grid: Mask, size: int) -> Mask:
    """Nearest neighbour to S×S: pixel i has the value of cell ⌊i g / S⌋."""
    cell = np.arange(size) * len(grid) // size
    return grid[np.ix_(cell, cell)]
