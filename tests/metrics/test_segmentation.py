"""Segmentation metrics: what counts, what is left out, and counts that float32 would lose."""

import pytest
import torch

from decofuse.metrics.segmentation import (
    confusion_matrix,
    intersection_over_union,
    mean_accuracy,
    mean_intersection_over_union,
    pixel_accuracy,
)


def test_rows_are_labels_and_columns_predictions():
    prediction = torch.tensor([[0, 1, 1], [2, 2, 0]], dtype=torch.uint8)
    label = torch.tensor([[0, 0, 1], [255, 3, 2]], dtype=torch.uint8)  # 255 is ignored, 3 no class
    confusion = confusion_matrix(prediction, label, classes=3)
    assert confusion.dtype == torch.int64
    assert confusion.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_scores_leave_out_what_occurs_nowhere():
    confusion = torch.tensor([[6, 2, 0, 1], [0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])  # 2 nowhere, 3 predicted only
    assert intersection_over_union(confusion).tolist() == pytest.approx([6 / 9, 4 / 6, float("nan"), 0], nan_ok=True)
    assert mean_intersection_over_union(confusion).item() == pytest.approx((6 / 9 + 4 / 6) / 3)
    assert pixel_accuracy(confusion).item() == pytest.approx(10 / 13)
    assert mean_accuracy(confusion).item() == pytest.approx((6 / 9 + 1) / 2)


def test_255_is_ignored_even_if_there_were_as_many_classes():
    label = torch.tensor([255, 254])
    assert confusion_matrix(label, label, classes=256).sum() == 1


def test_large_counts_stay_exact():
    confusion = torch.tensor([[2**31 + 1, 0], [1, 0]])
    assert 1 - pixel_accuracy(confusion).item() == pytest.approx(1 / (2**31 + 2))
