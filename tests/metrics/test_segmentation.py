"""Segmentation metrics: what counts, what is left out, and counts that float32 would lose."""

import pytest
import torch

from decofuse.metrics.segmentation import (
    class_accuracy,
    confusion_matrix,
    frequency_weighted_intersection_over_union,
    intersection_over_union,
    mean_accuracy,
    mean_intersection_over_union,
    pixel_accuracy,
    without_background,
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


def test_absent_classes_are_left_out_or_zero():
    confusion = torch.tensor([[3, 1, 0], [0, 0, 0], [0, 0, 0]])  # 1 predicted only, 2 nowhere
    assert intersection_over_union(confusion, "zero").tolist() == [0.75, 0, 0]
    assert class_accuracy(confusion, "nan").tolist() == pytest.approx([0.75, float("nan"), float("nan")], nan_ok=True)
    assert mean_intersection_over_union(confusion).item() == pytest.approx(0.75 / 2)
    assert mean_intersection_over_union(confusion, "zero").item() == pytest.approx(0.75 / 3)
    assert mean_accuracy(confusion, "zero").item() == pytest.approx(0.75 / 3)
    assert frequency_weighted_intersection_over_union(confusion).item() == 0.75
    with pytest.raises(ValueError, match="nan, zero"):
        mean_accuracy(confusion, "skip")


def test_without_background_forgives_what_is_taken_for_it():
    confusion = torch.tensor([[5, 2], [3, 4]])
    assert without_background(confusion).tolist() == [[4]]


def test_predictions_on_ignored_pixels_never_count_and_wrong_ones_elsewhere_are_refused():
    label = torch.tensor([0, 255, 1], dtype=torch.uint8)
    assert confusion_matrix(torch.tensor([0, 99, 1]), label, classes=2).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(ValueError, match="predictions from 0 to 1, found 0 to 2"):
        confusion_matrix(torch.tensor([0, 0, 2]), label, classes=2)
    with pytest.raises(ValueError, match="found -1 to 1"):
        confusion_matrix(torch.tensor([-1, 0, 1]), label, classes=2)
    with pytest.raises(ValueError, match="shape"):
        confusion_matrix(torch.tensor([0, 1]), label, classes=2)
