"""A method ready to fuse: arrays in, arrays out, within a limit of memory."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from decofuse.data.images import Pixels
from decofuse.errors import UserError
from decofuse.fusing.fuse import Sources, fuse_pairs
from decofuse.fusing.memory import Need, Size, check_available, measure, tiles_within
from decofuse.fusing.tiling import Tiles, smallest_tiles
from decofuse.models.method import Fuser
from decofuse.settings import FuseSettings, Views

_SAFE = 2**22  # pixels that are fused whole without looking for free memory first


@dataclass
class ImageFuser:
    """Fuses registered images of any size from the network's smallest on; made by `decofuse.api.load`.

    Attributes:
        network: a trained network or a training-free fuser.
        views: what it is given and gives.
        settings: how its output becomes levels and gets its colour.
        device: where it computes.
        reach: how far a source pixel can change fused ones [pixels]; None: over the whole image, so that tiles
            approximate.
        max_memory: limit for the process, or on a GPU for its memory [bytes]; larger images are fused in tiles. None:
            images are fused whole.
    """

    network: Fuser
    views: Views
    settings: FuseSettings
    device: torch.device
    reach: int | None = None
    max_memory: int | None = None
    _tiles: dict[Size, Tiles | None] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Move the network to where it computes."""
        self.network = self.network.to(self.device).eval()

    def fuse(self, source_a: Pixels, source_b: Pixels) -> Pixels:
        """Fuse two registered images.

        Args:
            source_a: visible (or first) source, H×W (grey) or H×W×3 (RGB), uint8 or uint16.
            source_b: infrared (or second) source, of the same size.

        Returns:
            H×W×3 RGB if the result has colour, else H×W; uint16 if a source is, else uint8.

        Raises:
            ValueError: no such arrays.
            UserError: sizes that differ or are too small, not enough memory, or values that are not finite.
        """
        return self.fuse_batch([(source_a, source_b)])[0]

    def fuse_batch(self, pairs: Sequence[Sources]) -> list[Pixels]:
        """Fuse several pairs of one size at once, which keeps a GPU busy; else as `fuse`."""
        for image in (image for pair in pairs for image in pair):
            _check(image)
        try:
            tiles = self._planned((len(pairs), *pairs[0][0].shape[:2]))
            fused = fuse_pairs(self.network, pairs, self.views, self.settings, self.device, tiles=tiles)
        except torch.OutOfMemoryError as error:
            raise UserError(
                "expected enough memory on the GPU, found it full; fuse in tiles with --max-memory, or smaller batches"
            ) from error
        return [result.image for result in fused]

    def _planned(self, size: Size) -> Tiles | None:
        """The tiles for images of this size, found out once."""
        if size not in self._tiles:
            self._tiles[size] = self._plan(size)
        return self._tiles[size]

    def _plan(self, size: Size) -> Tiles | None:
        if self.max_memory is None:
            # Of a GPU, PyTorch itself says when it is full.
            if self.device.type == "cpu" and math.prod(size) > _SAFE:
                check_available(self._need, size)
            return None
        return tiles_within(self.max_memory, self._need, self.device, size, smallest_tiles(self.reach))

    @functools.cached_property
    def _need(self) -> Need:
        return measure(self.network, self.views, self.device)


def _check(image: Pixels) -> None:
    shape = image.shape
    if image.dtype not in (np.uint8, np.uint16) or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
        raise ValueError(f"expected HxW or HxWx3 of uint8 or uint16, found {shape} of {image.dtype}")
