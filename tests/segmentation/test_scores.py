"""Scores of segmentation as a file."""

import json

import pytest
import torch

from decofuse.errors import UserError
from decofuse.segmentation.scores import Scores, read_scores, write_scores

CLASSES = ("unlabelled", "car", "never")
FILE = """{"dataset": "scenes", "input": "average", "classes": ["a", "b"], "images": 1,
"trainings": {"0": {"confusion": %s}}}"""


def scores(*hits, name="average"):
    """Trainings that find `hits` of 10 pixels of a car, and all of 90 others."""
    confusions = {n: torch.tensor([[90, 0, 0], [10 - hit, hit, 0], [0, 0, 0]]) for n, hit in enumerate(hits)}
    return Scores(name, "scenes", CLASSES, 2, confusions)


def test_mean_and_deviation_over_the_trainings():
    found = scores(10, 5)
    first, second = found.values.values()
    assert first.IoU == (1.0, 1.0, None) and first.mIoU == 1.0
    assert second.IoU == (pytest.approx(90 / 95), 0.5, None)
    assert found.mean.mIoU == pytest.approx((1 + (90 / 95 + 0.5) / 2) / 2)
    assert found.std.IoU[1] == pytest.approx(0.25) and found.mean.IoU[2] is None
    assert found.mean.pixel_accuracy == pytest.approx(0.975) and found.mean.accuracy[1] == 0.75


def test_a_class_without_a_score_in_one_training_has_the_mean_of_the_others():
    confusions = {0: torch.tensor([[5, 1], [0, 0]]), 1: torch.tensor([[6, 0], [0, 0]])}
    found = Scores("average", "scenes", ("a", "b"), 1, confusions)
    assert found.mean.IoU == (pytest.approx((5 / 6 + 1) / 2), 0.0)


def test_one_training_has_no_spread():
    found = scores(5)
    assert found.mean == found.values[0] and found.std.mIoU == 0.0 and found.std.IoU == (0.0, 0.0, None)


def test_they_are_made_of_confusion_matrices():
    expected = scores(10, 5)
    found = Scores.of("average", "scenes", list(CLASSES), dict(expected.confusions), 2)
    assert found.values == expected.values and (found.classes, found.images) == (CLASSES, 2)
    with pytest.raises(ValueError, match="found none"):
        Scores.of("average", "scenes", CLASSES, {}, 2)
    with pytest.raises(ValueError, match=r"expected 3×3 counts in int64, found \(3, 3\) torch.float32"):
        Scores.of("average", "scenes", CLASSES, {0: torch.ones(3, 3)}, 2)
    with pytest.raises(UserError, match="average on scenes: expected labelled pixels, found none"):
        Scores.of("average", "scenes", CLASSES, {0: torch.zeros(3, 3, dtype=torch.int64)}, 2)


def test_a_file_gives_the_scores_again_and_is_plain_json(tmp_path):
    path = tmp_path / "scores.json"
    write_scores(path, scores(10, 5))
    again = read_scores(path)
    assert again.values == scores(10, 5).values and again.classes == CLASSES and again.input == "average"
    content = json.loads(path.read_text())
    assert content["mean"]["IoU"] == {"unlabelled": pytest.approx((1 + 90 / 95) / 2), "car": 0.75, "never": None}
    assert content["trainings"]["1"]["confusion"][1] == [5, 5, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected segmentation scores, found No such file or directory; run the predict stage"),
        ("{", "expected segmentation scores, found another file"),
        ('{"mean": {}}', "expected segmentation scores, found another file"),
        ("[1]", "expected segmentation scores, found another file"),
        (FILE % "[[1, 2], [3]]", "expected segmentation scores, found another file"),
        (FILE % "[[1, 2], [3, -4]]", "expected segmentation scores, found another file"),
        (FILE % "[[1, 2], [3, 4.5]]", "expected segmentation scores, found another file"),
        (FILE % f"[[1, 2], [3, {2**70}]]", "expected segmentation scores, found another file"),
        (FILE % "[[0, 0], [0, 0]]", "average on scenes: expected labelled pixels, found none; choose another split"),
        ("[" * 100_000, "expected segmentation scores, found another file"),
    ],
)
def test_another_file_is_refused(tmp_path, text, message):
    path = tmp_path / "scores.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_scores(path)


def test_a_matrix_that_does_not_fit_the_classes_is_refused(tmp_path):
    path = tmp_path / "scores.json"
    write_scores(path, scores(10))
    path.write_text(path.read_text().replace('"never"\n', '"never", "more"\n', 1))
    with pytest.raises(UserError, match="found another file"):
        read_scores(path)
