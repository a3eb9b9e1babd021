"""Training samples of a segmentation network: random crops, as mmsegmentation's usual pipeline takes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from decofuse.data.dataset import IGNORED_LABEL
from decofuse.data.images import UInt8
from decofuse.seeding import seed_for
from decofuse.segmentation.images import LabelledImages
from decofuse.segmentation.settings import SegmentationSampling

TRIES = 10  # for a crop that is not filled by one class
BRIGHTNESS = 32.0  # largest shift of the levels
CONTRAST = SATURATION = (0.5, 1.5)
HUE = 18.0  # largest shift, of 180 [half degrees]


class SegmentationCrops:
    """Square crops of labelled images, scaled, flipped and changed in colour at random; one crop of each an epoch.

    Keys of a batch: `image` N×3×S×S float32 RGB in [0, 1], the mean colour where a crop reaches over the image;
    `label` N×S×S int64, 255 there and where ignored.
    """

    def __init__(
        self,
        source: str,
        classes: Sequence[str],
        manifest: Path,
        index: Path | None = None,
        *,
        split: str,
        settings: SegmentationSampling,
        seed: int,
        fixed: bool,
    ) -> None:
        """Read the manifest.

        Args:
            source: see `LabelledImages`.
            classes: names of the classes.
            manifest: manifest of a dataset with labels.
            index: index of its fused images; None for a source.
            split: train or val.
            settings: scale, size and changes.
            seed: seed of all random choices.
            fixed: take the middle of each image at ratio 1, unchanged.

        Raises:
            UserError: see `LabelledImages`.
        """
        self.images = LabelledImages(manifest, index, split, source, classes)
        self._settings = settings
        self._seed = seed
        self._fixed = fixed
        self._mean = np.zeros(3)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def pad_with(self, mean: NDArray[np.float64]) -> None:
        """Take `mean` (R, G, B in [0, 255]) as the colour beside an image; black before."""
        self._mean = mean

    def batch(self, indices: NDArray[np.int64], step: int, first: int = 0) -> dict[str, NDArray[Any]]:
        """Crops of the images at `indices`.

        Raises:
            UserError: a file is gone, altered or unreadable, or a label map does not fit.
        """
        samples = [self._sample(int(index), step, position) for position, index in enumerate(indices, first)]
        images, labels = zip(*samples, strict=True)
        return {"image": np.stack(images), "label": np.stack(labels)}

    def close(self) -> None:
        """Nothing is held open."""

    def _sample(self, index: int, step: int, position: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        settings, size = self._settings, self._settings.size
        draw = np.random.Generator(np.random.PCG64(seed_for(self._seed, "crop", step, position)))
        ratio = 1.0 if self._fixed else draw.uniform(*settings.ratio)
        image = fitted(self.images.rgb(index), settings.fit, ratio)
        label = fitted(self.images.label(index), settings.fit, ratio)
        place = middle(label, size) if self._fixed else self._place(label, draw)
        image, label = image[place], label[place]
        if not self._fixed and settings.flip and draw.random() < 0.5:
            image, label = image[:, ::-1], label[:, ::-1]
        if not self._fixed and settings.photometric:
            image = distorted(np.ascontiguousarray(image), draw)
        height, width = label.shape
        padded = np.empty((3, size, size), np.float32)
        padded[:] = self._mean[:, None, None] / 255
        padded[:, :height, :width] = image.transpose(2, 0, 1) / np.float32(255)
        classes = np.full((size, size), IGNORED_LABEL, np.int64)
        classes[:height, :width] = label
        return padded, classes

    def _place(self, label: UInt8, draw: np.random.Generator) -> "Place":
        settings = self._settings
        # Without aimed crops nothing is drawn for them, so that the crops stay those of mmsegmentation's order.
        if settings.aimed and draw.random() < settings.aimed:
            return aimed_place(label, settings.size, draw)
        return varied_place(label, settings.size, settings.most, draw)


Place = tuple[slice, slice]


def fitted(image: UInt8, fit: tuple[int, int], ratio: float) -> UInt8:
    """An image (H×W×3, bilinear) or label map (H×W, nearest pixel) at `ratio` times the size that fits into `fit`."""
    height, width = image.shape[:2]
    factor = ratio * min(max(fit) / max(height, width), min(fit) / min(height, width))
    shape = max(1, int(width * factor + 0.5)), max(1, int(height * factor + 0.5))
    if shape == (width, height):
        return image
    way = cv2.INTER_LINEAR if image.ndim == 3 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(image, shape, interpolation=way), np.uint8)


def middle(label: UInt8, size: int) -> Place:
    """The square of `size` in the middle, as much of it as lies inside."""
    top, left = (max(0, side - size) // 2 for side in label.shape)
    return slice(top, top + size), slice(left, left + size)


def varied_place(label: UInt8, size: int, most: float, draw: np.random.Generator) -> Place:
    """A random square of `size` in which no class has a larger share than `most`, if one is found in ten tries."""
    place = middle(label, size)
    for _ in range(TRIES):
        top, left = (int(draw.integers(max(side - size, 0) + 1)) for side in label.shape)
        place = slice(top, top + size), slice(left, left + size)
        counts = np.bincount(label[place].ravel(), minlength=IGNORED_LABEL + 1)[:IGNORED_LABEL]
        if np.count_nonzero(counts) > 1 and counts.max() < most * counts.sum():
            break
    return place


def aimed_place(label: UInt8, size: int, draw: np.random.Generator) -> Place:
    """A square of `size` that shows a class other than the first, rare ones as often as frequent ones.

    nnU-Net's oversampling (Isensee et al., Nature Methods 2021): a class of the image by lot, one of its pixels by lot,
    and that pixel anywhere in the square.
    """
    shown = [name for name in np.unique(label) if name not in (0, IGNORED_LABEL)]
    if not shown:
        return varied_place(label, size, 1.0, draw)
    pixels = np.argwhere(label == shown[draw.integers(len(shown))])
    row, column = pixels[draw.integers(len(pixels))]
    top, left = (
        min(max(int(at) - int(draw.integers(size)), 0), max(side - size, 0))
        for at, side in zip((row, column), label.shape, strict=True)
    )
    return slice(top, top + size), slice(left, left + size)


def distorted(image: UInt8, draw: np.random.Generator) -> UInt8:
    """Brightness, contrast (before or after the colours), saturation and hue changed, each with chance 1/2; 8 bits."""
    contrast_first, *chosen = draw.random(5) < 0.5
    brightness, contrast, saturation, hue = (
        draw.uniform(-BRIGHTNESS, BRIGHTNESS),
        draw.uniform(*CONTRAST),
        draw.uniform(*SATURATION),
        draw.uniform(-HUE, HUE),
    )
    if chosen[0]:
        image = _levels(image, 1.0, brightness)
    if chosen[1] and contrast_first:
        image = _levels(image, contrast, 0.0)
    if chosen[2] or chosen[3]:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        if chosen[2]:
            hsv[..., 1] = _levels(hsv[..., 1], saturation, 0.0)
        if chosen[3]:
            hsv[..., 0] = (hsv[..., 0].astype(np.int16) + round(hue)) % 180
        image = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
    if chosen[1] and not contrast_first:
        image = _levels(image, contrast, 0.0)
    return image


def _levels(values: NDArray[Any], factor: float, shift: float) -> UInt8:
    changed: UInt8 = np.clip(values.astype(np.float32) * np.float32(factor) + np.float32(shift), 0, 255).astype(
        np.uint8
    )
    return changed
