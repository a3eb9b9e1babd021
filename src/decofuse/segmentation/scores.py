"""Scores of segmentation on one input: a confusion matrix a training, and what follows from them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor

from decofuse.errors import UserError
from decofuse.files import write_json
from decofuse.metrics.segmentation import (
    class_accuracy,
    intersection_over_union,
    mean_accuracy,
    mean_intersection_over_union,
    pixel_accuracy,
)


@dataclass(frozen=True)
class Values:
    """Of one training, or mean or deviation over several; shares in [0, 1], None where a class has no score.

    Attributes:
        mIoU: mean over the classes that occur in labels or predictions.
        mean_accuracy: mean over the labelled classes of their share of right pixels.
        pixel_accuracy: share of right pixels.
        IoU: of each class, in their order.
        accuracy: of each class.
    """

    mIoU: float
    mean_accuracy: float
    pixel_accuracy: float
    IoU: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]

    @classmethod
    def of(cls, confusion: Tensor) -> "Values":
        """Of a confusion matrix C×C, row = label."""
        return cls(
            mean_intersection_over_union(confusion).item(),
            mean_accuracy(confusion).item(),
            pixel_accuracy(confusion).item(),
            tuple(map(_known, intersection_over_union(confusion).tolist())),
            tuple(map(_known, class_accuracy(confusion).tolist())),
        )


@dataclass(frozen=True)
class Scores:
    """Scores of one input on one dataset.

    Attributes:
        input: visible, infrared, source_a, source_b, a method, `<method>-round<r>` or `<method>-head`.
        dataset: name of the dataset.
        classes: names of the classes.
        images: how many images were scored.
        confusions: of each training by its number, C×C int64, row = label.

    Raises:
        ValueError: no matrix, or one that is no C×C matrix of counts.
        UserError: a matrix without pixels.
    """

    input: str
    dataset: str
    classes: tuple[str, ...]
    images: int
    confusions: Mapping[int, Tensor]

    def __post_init__(self) -> None:
        size = len(self.classes)
        if not self.confusions:
            raise ValueError("expected a confusion matrix, found none")
        for matrix in self.confusions.values():
            if matrix.shape != (size, size) or matrix.dtype != torch.int64 or (matrix < 0).any():
                raise ValueError(f"expected {size}×{size} counts in int64, found {tuple(matrix.shape)} {matrix.dtype}")
            if not matrix.any():
                raise UserError(
                    f"{self.input} on {self.dataset}: expected labelled pixels, found none; choose another split"
                )

    @classmethod
    def of(
        cls, name: str, dataset: str, classes: Sequence[str], confusions: Mapping[int, Tensor], images: int
    ) -> "Scores":
        """From confusion matrices.

        Args:
            name: of the input.
            dataset: name of the dataset.
            classes: names of the classes.
            confusions: of each training by its number, C×C int64, row = label, on any device.
            images: how many images were scored.

        Raises:
            ValueError: see the class.
            UserError: see the class.
        """
        return cls(name, dataset, tuple(classes), images, {number: its.cpu() for number, its in confusions.items()})

    @property
    def values(self) -> dict[int, Values]:
        """Of each training by its number."""
        return {number: Values.of(confusion) for number, confusion in self.confusions.items()}

    @property
    def mean(self) -> Values:
        """Over the trainings that have a value."""
        return self._over(fmean)

    @property
    def std(self) -> Values:
        """Population standard deviation over the trainings that have a value."""
        return self._over(pstdev)

    def _over(self, average: Any) -> Values:
        each = list(self.values.values())

        def by_class(name: str) -> tuple[float | None, ...]:
            columns = zip(*(getattr(values, name) for values in each), strict=True)
            known = ([value for value in column if value is not None] for column in columns)
            return tuple(average(column) if column else None for column in known)

        return Values(
            average([values.mIoU for values in each]),
            average([values.mean_accuracy for values in each]),
            average([values.pixel_accuracy for values in each]),
            by_class("IoU"),
            by_class("accuracy"),
        )


def write_scores(path: Path, scores: Scores) -> None:
    """Write scores as JSON, atomically; `read_scores` needs the confusion matrices alone, people the rest."""
    trainings = {
        str(number): {"confusion": confusion.tolist(), **_plain(scores.values[number], scores.classes)}
        for number, confusion in scores.confusions.items()
    }
    about = {"dataset": scores.dataset, "input": scores.input, "classes": list(scores.classes), "images": scores.images}
    averages = {"mean": _plain(scores.mean, scores.classes), "std": _plain(scores.std, scores.classes)}
    write_json(path, {**about, "trainings": trainings, **averages})


def read_scores(path: Path) -> Scores:
    """Read a file of `write_scores`.

    Raises:
        UserError: the file is missing, or is another one; or see `Scores`.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        confusions = {int(number): torch.tensor(its["confusion"]) for number, its in value["trainings"].items()}
        classes = tuple(map(str, value["classes"]))
        return Scores.of(str(value["input"]), str(value["dataset"]), classes, confusions, int(value["images"]))
    except OSError as error:
        raise UserError(
            f"{path}: expected segmentation scores, found {error.strerror}; run the predict stage"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{path}: expected segmentation scores, found another file; delete it and run the predict stage"
        ) from error


def _plain(values: Values, classes: Sequence[str]) -> dict[str, Any]:
    whole = {name: getattr(values, name) for name in ("mIoU", "mean_accuracy", "pixel_accuracy")}
    return whole | {name: dict(zip(classes, getattr(values, name), strict=True)) for name in ("IoU", "accuracy")}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
