"""The stage that predicts: label maps of one input's images, and their scores over several trainings."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from decofuse.data.classes import ClassTable
from decofuse.data.image_store import ImageStore
from decofuse.data.images import UInt8, read_image, read_label
from decofuse.data.labels import write_label
from decofuse.data.manifest import LABEL, Manifest
from decofuse.errors import UserError
from decofuse.files import atomic_folder
from decofuse.fusing.index import FusedIndex
from decofuse.metrics.segmentation import confusion_matrix
from decofuse.progress import progress
from decofuse.segmentation.images import LabelledImages
from decofuse.segmentation.scores import Scores, write_scores

LABELS = "labels"
SCORES = "scores.json"
Prediction = Mapping[int, UInt8]  # label map of an image by the number of the training


def score_predictions(
    images: LabelledImages, predictions: Iterator[Prediction], names: tuple[str, str], classes: ClassTable, out: Path
) -> Scores:
    """Write `out/labels/<stem>.png`, the first training's predictions in class colours, and last `out/scores.json`.

    Args:
        images: the split, with labels.
        predictions: of every image, in order.
        names: of the input and of the dataset.
        classes: names and colours.
        out: folder of the results.

    Raises:
        UserError: no images, or a label map does not fit.
    """
    if not len(images):
        raise UserError(f"{images.path}: expected images to predict, found none in this split; choose another split")
    confusions: dict[int, Tensor] = {}
    with atomic_folder(out / LABELS) as folder:
        bar = progress(enumerate(predictions), "predict", total=len(images), unit="image")
        for index, prediction in bar:
            label = torch.from_numpy(images.label(index))
            for number, predicted in prediction.items():
                found = confusion_matrix(torch.from_numpy(predicted), label, len(classes))
                confusions[number] = confusions.get(number, torch.zeros_like(found)) + found
            write_label(folder / f"{images.pairs[index].stem}.png", prediction[min(prediction)], classes)
        (out / SCORES).unlink(missing_ok=True)  # it tells of the labels that are now replaced
    scores = Scores(*names, classes.names, len(images), confusions)
    write_scores(out / SCORES, scores)
    return scores


class Shown:
    """Images of a split with label maps, for a picture: the labels over the first source, then every prediction.

    Each prediction lies over the image that it was made from, that of a network's own head over the first source.
    """

    def __init__(self, manifest: Path, split: str, inputs: Mapping[str, Path], indices: Mapping[str, Path]) -> None:
        """Read manifest and indices.

        Args:
            manifest: manifest of the dataset.
            split: split of which the images are.
            inputs: by name of the input, the folder with its `labels`.
            indices: by name of a fused input, its index of images.
        """
        self._store = ImageStore(manifest, split, (LABEL,), cache_bytes=0)
        self._first = Manifest.read(manifest).sources[0]
        self._inputs = inputs
        self._indices = {name: FusedIndex.read(path) for name, path in indices.items()}

    def __len__(self) -> int:
        """Number of images."""
        return len(self._store)

    def row(self, position: int) -> tuple[str, list[tuple[UInt8, UInt8]]]:
        """Stem, and image and label map of each column.

        Raises:
            UserError: a file is gone or altered.
        """
        stem = self._store.pairs[position].stem
        first = self._store.image(position, self._first)
        cells = [(first, self._store.image(position, LABEL))]
        for name, folder in self._inputs.items():
            path = folder / LABELS / f"{stem}.png"
            if not path.is_file():
                raise UserError(
                    f"{path}: expected predicted labels, found none; delete {folder / SCORES} and run again"
                )
            cells.append((self._image(name, position, stem, first), read_label(path)))
        return stem, cells

    def _image(self, name: str, position: int, stem: str, first: UInt8) -> UInt8:
        if name in self._indices:
            return read_image(self._indices[name].image(stem).fused_path())
        return self._store.image(position, name) if name in self._store.pairs[position].files else first
