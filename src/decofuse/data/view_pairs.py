"""Crops of infrared-visible pairs, alone or beside degraded views: what DeFusion++'s later phases learn from."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from decofuse.data.degraded_views import DegradedViews, draw_window
from decofuse.data.image_store import ImageStore
from decofuse.data.images import Float32, UInt8, grey_levels
from decofuse.seeding import seed_for
from decofuse.settings import PairSampling, ViewSampling

Arrays = dict[str, NDArray[Any]]


class Pairs:
    """A random part of each pair, the same of both sources, resized to a square; an epoch is one pass over the pairs.

    Parts are drawn as degraded views draw theirs, and half of them are flipped left-right.
    """

    def __init__(self, path: Path, split: str, settings: PairSampling, seed: int, fixed: bool) -> None:
        """Find the pairs.

        Args:
            path: manifest of the dataset.
            split: train or val.
            settings: size of the crops.
            seed: seed of all that is random.
            fixed: draw by the index of a pair, so that its crop is the same each time.

        Raises:
            UserError: the manifest is missing, or lacks a source.
        """
        self._images = ImageStore(path, split, ("visible", "infrared"))
        self._size = settings.size
        self._seed = seed
        self._fixed = fixed

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._images)

    def batch(self, indices: NDArray[np.int64], step: int, first: int = 0) -> Arrays:
        """Pairs by index: `visible` and `infrared`, N×3×S×S float32 in [0, 1]; grey is repeated to three channels."""
        places = [("index", int(i)) if self._fixed else ("step", step, n) for n, i in enumerate(indices, first)]
        pairs = [self._pair(int(i), *place) for i, place in zip(indices, places, strict=True)]
        visible, infrared = zip(*pairs, strict=True)
        return {"visible": np.stack(visible), "infrared": np.stack(infrared)}

    def close(self) -> None:
        """Nothing is held open."""

    def _pair(self, index: int, *place: int | str) -> tuple[Float32, Float32]:
        rng = np.random.Generator(np.random.PCG64(seed_for(self._seed, *place)))
        visible, infrared = self._images.image(index, "visible"), grey_levels(self._images.image(index, "infrared"))
        top, left, height, width = draw_window(rng, *infrared.shape)
        flipped = rng.random() < 0.5
        parts = (pixels[top : top + height, left : left + width] for pixels in (visible, infrared))
        crops = [self._resized(part[:, ::-1] if flipped else part) for part in parts]
        return crops[0], crops[1]

    def _resized(self, pixels: UInt8) -> Float32:
        """H×W or H×W×3 as 3×S×S in [0, 1], bilinearly without antialiasing."""
        levels = pixels.astype(np.float32) / np.float32(255)
        square = cv2.resize(levels, (self._size, self._size), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        rgb = square if square.ndim == 3 else np.repeat(square[..., None], 3, axis=-1)
        return np.ascontiguousarray(np.moveaxis(rgb, -1, 0))


class ViewsAndPairs:
    """The keys of `Pairs`, and those of `DegradedViews` of the same pairs' visible images, drawn independently."""

    def __init__(self, path: Path, split: str, settings: ViewSampling, seed: int, fixed: bool) -> None:
        """Find both; see there. Crops of pairs are as large as the views."""
        self._views = DegradedViews(path, split, settings, seed_for(seed, "views"), fixed)
        self._pairs = Pairs(path, split, PairSampling(size=settings.size), seed_for(seed, "pairs"), fixed)

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._pairs)

    def batch(self, indices: NDArray[np.int64], step: int, first: int = 0) -> Arrays:
        """Views and pairs by index of the pair."""
        return {**self._views.batch(indices, step, first), **self._pairs.batch(indices, step, first)}

    def close(self) -> None:
        """Close both."""
        self._views.close()
        self._pairs.close()
