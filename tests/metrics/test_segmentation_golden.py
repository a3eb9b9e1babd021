"""Every reference value of segmentation, in each convention.

Origin: upstream-style accumulation over two synthetic pairs of label maps with ignored pixels, one class absent
everywhere and one only predicted (see the file's own notes).
"""

import json
from pathlib import Path

import numpy as np
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

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"


@pytest.fixture(scope="module")
def reference():
    if not (GOLDEN / "metrics.json").is_file():
        pytest.skip("the reference values lie in ../shared/golden, which is absent")
    return json.loads((GOLDEN / "metrics.json").read_text())["segmentation"]


@pytest.fixture(scope="module")
def matrices(reference):
    with np.load(GOLDEN / "metrics.npz") as arrays:
        maps = [[torch.from_numpy(arrays[f"seg/{i}/{kind}"]) for kind in ("pred", "gt")] for i in range(2)]
    return [confusion_matrix(*pair, classes=reference["num_classes"]) for pair in maps]


def test_the_confusion_matrices_of_both_images_and_their_sum(reference, matrices):
    assert [matrix.tolist() for matrix in matrices] == reference["confusion_per_image"]
    assert sum(matrices).tolist() == reference["confusion"]


@pytest.mark.parametrize("background", ["with", "without"])
@pytest.mark.parametrize("absent", ["nan", "zero"])
def test_scores_of_the_data_set(reference, matrices, background, absent):
    expected = reference[f"{background}_class0_absent_{absent}"]
    matrix = sum(matrices) if background == "with" else without_background(sum(matrices))
    for measure, name in ((intersection_over_union, "iou_per_class"), (class_accuracy, "acc_per_class")):
        values = [float("nan") if value is None else value for value in expected[name]]
        assert measure(matrix, absent).tolist() == pytest.approx(values, rel=1e-12, nan_ok=True)
    assert mean_intersection_over_union(matrix, absent).item() == pytest.approx(expected["mIoU"], rel=1e-12)
    assert mean_accuracy(matrix, absent).item() == pytest.approx(expected["mAcc"], rel=1e-12)
    assert pixel_accuracy(matrix).item() == pytest.approx(expected["pixel_acc"], rel=1e-12)
    weighted = frequency_weighted_intersection_over_union(matrix)
    assert weighted.item() == pytest.approx(expected["fw_iou"], rel=1e-12)


def test_the_mean_over_images_is_another_number(reference, matrices):
    each = [mean_intersection_over_union(matrix).item() for matrix in matrices]
    assert each == pytest.approx(reference["per_image_mIoU_absent_nan"], rel=1e-12)
    assert np.mean(each) == pytest.approx(reference["mean_of_per_image_mIoU_absent_nan"], rel=1e-12)
    assert np.mean(each) != pytest.approx(reference["with_class0_absent_nan"]["mIoU"], rel=1e-2)
