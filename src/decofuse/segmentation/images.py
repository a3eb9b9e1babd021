"""Colour images with label maps, as segmentation networks see them: a source of the dataset, or its fused images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decofuse.data.dataset import IGNORED_LABEL
from decofuse.data.image_store import ImageStore
from decofuse.data.images import UInt8
from decofuse.data.manifest import LABEL
from decofuse.errors import UserError
from decofuse.fusing.index import FusedIndex

FUSED = "fused"


@dataclass(frozen=True)
class Input:
    """What a segmentation network is trained on, or predicts from.

    Attributes:
        manifest: manifest of a dataset with labels.
        index: index of its fused images; None for a source.
        source: name of the source; `fused` for fused images.
    """

    manifest: Path
    index: Path | None
    source: str

    @property
    def files(self) -> tuple[Path, ...]:
        """What the images are found by."""
        return (self.manifest, *([self.index] if self.index else []))


class LabelledImages(ImageStore):
    """The images of one split with random access.

    Attributes:
        classes: names of the classes.
    """

    def __init__(
        self, manifest_path: Path, index_path: Path | None, split: str, source: str, classes: Sequence[str]
    ) -> None:
        """Read the manifest, and the index of fused images.

        Args:
            manifest_path: manifest of a dataset with labels.
            index_path: index of its fused images; None for a source.
            split: train, val or test.
            source: name of the source; `fused` for fused images.
            classes: names of the classes, by index.

        Raises:
            UserError: the dataset has no labels, or not this source, or the index is none.
        """
        super().__init__(manifest_path, split, (LABEL,) if source == FUSED else (source, LABEL))
        self.classes = tuple(classes)
        self._source = source
        self._index = FusedIndex.read(index_path) if index_path else None

    def file(self, index: int, role: str) -> Path:
        """The file of an image, checked against the checksum that the manifest or the index states."""
        if role == FUSED and self._index is not None:
            return self._index.image(self.pairs[index].stem).fused_path()
        return super().file(index, role)

    def rgb(self, index: int) -> UInt8:
        """H×W×3, grey images with three equal channels.

        Raises:
            UserError: the file is gone, altered or unreadable.
        """
        pixels = self.image(index, self._source)
        return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)

    def label(self, index: int) -> UInt8:
        """Class indices H×W, 255 where ignored.

        Raises:
            UserError: the file is gone, altered or unreadable, has another size than the image, or holds an index that
                is no class.
        """
        label, image = self.image(index, LABEL), self.image(index, self._source)
        path = self.pairs[index].files[LABEL].path
        if label.shape != image.shape[:2]:
            raise UserError(
                f"{path}: expected a label map of {image.shape[1]}x{image.shape[0]} pixels as its image, "
                f"found {label.shape[1]}x{label.shape[0]}; make the dataset again"
            )
        wrong = label[(label >= len(self.classes)) & (label != IGNORED_LABEL)]
        if wrong.size:
            raise UserError(
                f"{path}: expected class indices below {len(self.classes)}, or {IGNORED_LABEL} where ignored, found "
                f"{wrong.max()}; declare the classes that the labels have"
            )
        return label

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of all pixels of the split in R, G and B, [0, 255]; 3 each."""
        total, squares, pixels = np.zeros(3), np.zeros(3), 0
        for index in range(len(self)):
            levels = self.rgb(index).reshape(-1, 3).astype(np.float64)
            total, squares, pixels = total + levels.sum(0), squares + (levels**2).sum(0), pixels + len(levels)
        mean = total / pixels
        return mean, np.sqrt(np.maximum(squares / pixels - mean**2, 0))

    def class_pixels(self) -> NDArray[np.int64]:
        """Labelled pixels of each class in the split."""
        counts = np.zeros(len(self.classes), np.int64)
        for index in range(len(self)):
            counts += np.bincount(self.label(index).ravel(), minlength=IGNORED_LABEL + 1)[: len(self.classes)]
        return counts
