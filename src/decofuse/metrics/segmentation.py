"""Segmentation metrics, all from one confusion matrix that may be added up over images.

Scores are of the matrix of a whole data set, which is not the mean over its images. Conventions are arguments: `absent`
says what a class without a score counts as ("nan": it has none and is left out of means, as RTFNet's evaluation of MSRS
and mmsegmentation; "zero": 0), and `without_background` leaves class 0 out of a matrix (MSRS papers count it).
"""

from typing import Literal

import torch
from torch import Tensor

from decofuse.data.dataset import IGNORED_LABEL
from decofuse.metrics._names import check_known

Absent = Literal["nan", "zero"]


def confusion_matrix(prediction: Tensor, label: Tensor, classes: int) -> Tensor:
    """Pixels by label and prediction, classes×classes int64: row = label, column = prediction.

    Pixels whose label is ignored (255) or no class count nowhere, whatever is predicted there.

    Args:
        prediction: class indices, any shape, any integer type.
        label: class indices, same shape.
        classes: number of classes.

    Raises:
        ValueError: the shapes differ, or a prediction that counts is no class.
    """
    if prediction.shape != label.shape:
        raise ValueError(f"expected labels of shape {tuple(prediction.shape)}, found {tuple(label.shape)}")
    counted = (label >= 0) & (label < classes) & (label != IGNORED_LABEL)
    rows, columns = label[counted].long(), prediction[counted].long()
    if columns.numel() and not (columns.min() >= 0 and columns.max() < classes):
        raise ValueError(f"expected predictions from 0 to {classes - 1}, found {columns.min()} to {columns.max()}")
    return torch.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes)


def without_background(confusion: Tensor) -> Tensor:
    """The matrix without row and column 0: pixels that are or are taken for background then count nowhere."""
    return confusion[1:, 1:]


def intersection_over_union(confusion: Tensor, absent: Absent = "nan") -> Tensor:
    """K_cc / (Σⱼ K_cj + Σᵢ K_ic − K_cc) of each class, float64; a class that occurs nowhere is absent.

    Args:
        confusion: classes×classes, row = label.
        absent: what a class without a score gets, NaN or 0.

    Raises:
        ValueError: an unknown rule.
    """
    counts = confusion.double()
    hits = counts.diagonal()
    return _ratio(hits, counts.sum(dim=1) + counts.sum(dim=0) - hits, absent)


def class_accuracy(confusion: Tensor, absent: Absent = "nan") -> Tensor:
    """K_cc / Σⱼ K_cj (recall) of each class, float64; a class without labels is absent.

    Arguments and errors as of `intersection_over_union`.
    """
    counts = confusion.double()
    return _ratio(counts.diagonal(), counts.sum(dim=1), absent)


def mean_intersection_over_union(confusion: Tensor, absent: Absent = "nan") -> Tensor:
    """Mean IoU over the classes that occur in labels or predictions (mIoU); a float64 scalar.

    Arguments and errors as of `intersection_over_union`.
    """
    return intersection_over_union(confusion, absent).nanmean()


def mean_accuracy(confusion: Tensor, absent: Absent = "nan") -> Tensor:
    """Mean over the labelled classes of their share of right pixels; a float64 scalar.

    Arguments and errors as of `intersection_over_union`.
    """
    return class_accuracy(confusion, absent).nanmean()


def frequency_weighted_intersection_over_union(confusion: Tensor) -> Tensor:
    """Σ_c (Σⱼ K_cj / ΣK) IoU_c, a float64 scalar; classes that occur nowhere weigh nothing."""
    counts = confusion.double()
    return (counts.sum(dim=1) / counts.sum() * intersection_over_union(confusion, "zero")).sum()


def pixel_accuracy(confusion: Tensor) -> Tensor:
    """Share of pixels whose prediction is right, ΣK_cc / ΣK; a float64 scalar."""
    counts = confusion.double()
    return counts.trace() / counts.sum()


def _ratio(hits: Tensor, of: Tensor, absent: Absent) -> Tensor:
    check_known("rule for absent classes", absent, ("nan", "zero"))
    ratio = hits / of
    return ratio.nan_to_num(nan=0.0) if absent == "zero" else ratio
