"""Segmentation metrics, all from one confusion matrix that may be added up over images.

Classes that occur in neither labels nor predictions have no score (NaN) and are left out of means.
"""

import torch
from torch import Tensor

from decofuse.data.dataset import IGNORED_LABEL


def confusion_matrix(prediction: Tensor, label: Tensor, classes: int) -> Tensor:
    """Pixels by label and prediction, classes×classes int64: row = label, column = prediction.

    Pixels whose label is ignored (255) or no class count nowhere.

    Args:
        prediction: class indices below `classes`, any shape, any integer type.
        label: class indices, same shape.
        classes: number of classes.
    """
    counted = (label >= 0) & (label < classes) & (label != IGNORED_LABEL)
    pairs = label[counted].long() * classes + prediction[counted].long()
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def intersection_over_union(confusion: Tensor) -> Tensor:
    """K_cc / (Σⱼ K_cj + Σᵢ K_ic − K_cc) of each class, float64; NaN for a class that occurs nowhere."""
    counts = confusion.double()
    hits = counts.diagonal()
    return hits / (counts.sum(dim=1) + counts.sum(dim=0) - hits)


def mean_intersection_over_union(confusion: Tensor) -> Tensor:
    """Mean IoU over the classes that occur in labels or predictions (mIoU, background included); a scalar."""
    return intersection_over_union(confusion).nanmean()


def pixel_accuracy(confusion: Tensor) -> Tensor:
    """Share of pixels whose prediction is right, ΣK_cc / ΣK; a float64 scalar."""
    counts = confusion.double()
    return counts.trace() / counts.sum()


def mean_accuracy(confusion: Tensor) -> Tensor:
    """Mean over the labelled classes of their share of right pixels (recall), K_cc / Σⱼ K_cj; a float64 scalar."""
    counts = confusion.double()
    return (counts.diagonal() / counts.sum(dim=1)).nanmean()
