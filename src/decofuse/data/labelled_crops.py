"""Training samples from whole colour images with label maps: random crops, and maps that follow from the labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from decofuse.data.dataset import IGNORED_LABEL
from decofuse.data.image_store import ImageStore
from decofuse.data.images import UInt8, luma
from decofuse.data.manifest import LABEL, Manifest
from decofuse.errors import UserError
from decofuse.seeding import seed_for
from decofuse.settings import LabelledCropSampling, MetaCropSampling

Arrays = dict[str, NDArray[Any]]


class _Place(NamedTuple):
    """Random choices of one sample."""

    flip: int
    turn: int
    down: float
    right: float


UNCHANGED = _Place(flip=2, turn=3, down=0.5, right=0.5)


class ColourCrops:
    """Square crops of pairs in colour, flipped and turned at random; one crop of each pair an epoch.

    The first source goes by the name `visible`, the second by `infrared`, whatever the task. Keys of a batch: `visible`
    N×3×S×S (RGB) and `infrared` N×1×S×S (luma), float32 in [0, 1]; `label` N×1×S×S uint8 class indices, 255 where
    ignored.

    Ming et al., SSDFusion, third stage: of four draws of a flip two change nothing, of five of a turn two.
    """

    flips, turns = 4, 5

    def __init__(
        self, path: Path, split: str, settings: LabelledCropSampling | MetaCropSampling, seed: int, fixed: bool
    ) -> None:
        """Read the manifest.

        Args:
            path: manifest of a dataset of pairs with labels.
            split: train or val.
            settings: size of the crops, and how maps are made of labels.
            seed: seed of flips, turns and places.
            fixed: take the middle of each image, neither flipped nor turned.

        Raises:
            UserError: the dataset has no pairs or no labels, or a first source is grey.
        """
        self._roles = sources_of_pairs(path)
        self._store = ImageStore(path, split, (*self._roles, LABEL))
        grey = next((pair for pair in self._store.pairs if pair.files[self._roles[0]].channels != 3), None)
        if grey is not None:
            raise UserError(
                f"{grey.files[self._roles[0]].path}: expected a {self._roles[0]} image in colour, found a grey one; "
                f"train on a dataset whose {self._roles[0]} images are RGB"
            )
        self._size = settings.size
        self._seed = seed
        self._fixed = fixed

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._store)

    def batch(self, indices: NDArray[np.int64], step: int, first: int = 0) -> Arrays:
        """Crops of the pairs at `indices`, all maps of a sample cut alike.

        Raises:
            UserError: a file is gone, altered or unreadable.
        """
        samples = [
            self._sample(int(index), UNCHANGED if self._fixed else self._draw(step, position))
            for position, index in enumerate(indices, first)
        ]
        return {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}

    def close(self) -> None:
        """Nothing is held open."""

    def _draw(self, step: int, position: int) -> _Place:
        generator = np.random.Generator(np.random.PCG64(seed_for(self._seed, "crop", step, position)))
        flips, turns = generator.integers(self.flips), generator.integers(self.turns)
        return _Place(min(int(flips), 2), min(int(turns), 3), *generator.random(2).tolist())

    def _sample(self, index: int, place: _Place) -> Arrays:
        images = [self._store.image(index, role) for role in (*self._roles, LABEL)]
        first, second, label = (turn(flip(image, place.flip), place.turn) for image in enlarged(images, self._size))
        places = (int(share * (side - self._size + 1)) for share, side in zip(place[2:], label.shape, strict=True))
        top, left = places
        cut = np.s_[top : top + self._size, left : left + self._size]
        return {
            "visible": np.ascontiguousarray(first[cut].transpose(2, 0, 1), np.float32) / np.float32(255),
            "infrared": np.ascontiguousarray(luma(second[cut])[None]),
            **self._maps(label, top, left),
        }

    def _maps(self, label: UInt8, top: int, left: int) -> Arrays:
        """What is made of the label map of a whole image for the crop at (top, left)."""
        return {LABEL: np.ascontiguousarray(label[None, top : top + self._size, left : left + self._size])}


class LabelledCrops(ColourCrops):
    """The same with further maps, and other chances of flips and turns.

    Keys of a batch: `visible` and `infrared` as there; `label` (class indices, 255 where ignored), `binary` (1 on
    objects: labels but 0 and 255) and `boundary` (1 where a pixel nearby has another label), N×S×S int64; `mask` (1 on
    salient classes), N×1×S×S float32.

    Tang et al., PSFusion, Information Fusion 99 (2023) 101870; how it made the last three maps is not public.
    """

    flips, turns = 3, 4

    def __init__(self, path: Path, split: str, settings: LabelledCropSampling, seed: int, fixed: bool) -> None:
        """See `ColourCrops`."""
        super().__init__(path, split, settings, seed, fixed)
        self._settings = settings

    def _maps(self, label: UInt8, top: int, left: int) -> Arrays:
        size, radius = self._size, self._settings.boundary_radius
        wide = np.s_[max(top - radius, 0) : top + size + radius, max(left - radius, 0) : left + size + radius]
        edges = boundaries(label[wide], radius)[min(top, radius) :, min(left, radius) :][:size, :size]
        classes = label[top : top + size, left : left + size].astype(np.int64)
        salient = np.isin(classes, self._settings.mask_classes)
        return {
            LABEL: classes,
            "binary": ((classes != 0) & (classes != IGNORED_LABEL)).astype(np.int64),
            "boundary": edges.astype(np.int64),
            "mask": salient[None].astype(np.float32),
        }


def sources_of_pairs(manifest_path: Path) -> tuple[str, str]:
    """Names of the first and the second source of a dataset of pairs.

    Raises:
        UserError: it is no manifest, or has another number of sources.
    """
    sources = Manifest.read(manifest_path).sources
    if len(sources) != 2:
        raise UserError(
            f"{manifest_path}: expected a dataset of pairs, found the sources {', '.join(sources) or 'none'}; "
            "train on another one"
        )
    return sources[0], sources[1]


def flip(image: UInt8, which: int) -> UInt8:
    """Flip H×W(×C): 0 upside down, 1 left-right, 2 not at all; a view."""
    return (image[::-1], image[:, ::-1], image)[which]


def turn(image: UInt8, which: int) -> UInt8:
    """Turn H×W(×C): 0 by 90° counter-clockwise, 1 by 180°, 2 by 90° clockwise, 3 not at all; a view."""
    turned: UInt8 = np.rot90(image, (1, 2, 3, 0)[which])
    return turned


def enlarged(images: Sequence[UInt8], size: int) -> list[UInt8]:
    """Images of one size, the last a label map, with a shorter side of at least `size` [pixels].

    Smaller ones are scaled, bilinearly and the label map to the nearest pixel.
    """
    height, width = images[-1].shape
    shorter = min(height, width)
    if shorter >= size:
        return list(images)
    shape = round(width * size / shorter), round(height * size / shorter)
    ways = [cv2.INTER_LINEAR] * (len(images) - 1) + [cv2.INTER_NEAREST_EXACT]
    resized = (cv2.resize(image, shape, interpolation=way) for image, way in zip(images, ways, strict=True))
    return [image.astype(np.uint8, copy=False) for image in resized]


def boundaries(label: UInt8, radius: int) -> NDArray[np.bool_]:
    """Pixels with another label (255 counts as one) within `radius` rows and columns, H×W; the border is replicated."""
    label = np.ascontiguousarray(label)
    window = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    highest = cv2.dilate(label, window, borderType=cv2.BORDER_REPLICATE)
    differs: NDArray[np.bool_] = highest != cv2.erode(label, window, borderType=cv2.BORDER_REPLICATE)
    return differs
