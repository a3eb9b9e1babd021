"""What people see of the segmentation comparison."""

import csv
import json

import numpy as np
import pytest
import torch

from decofuse.data.images import read_image, write_image
from decofuse.reports.segmentation import title_of, verdict, write_segmentation
from decofuse.segmentation.scores import Scores

CLASSES = ("unlabelled", "car", "a|b<c>")


def scores(name, *hits):
    confusions = {n: torch.tensor([[90, 0, 0], [10 - hit, hit, 0], [1, 0, 1]]) for n, hit in enumerate(hits)}
    return Scores(name, "scenes", CLASSES, 2, confusions)


@pytest.fixture
def files(tmp_path):
    names = {"csv": "s.csv", "json": "s.json", "markdown": "s.md", "html": "s.html", "chart": "s.png"}
    return {f"{key}_out": tmp_path / name for key, name in names.items()}


def test_names_of_inputs():
    assert title_of("visible") == "Visible only" and title_of("source_a") == "Source a only"
    assert title_of("ssdfusion-round2") == "SSDFusion, round 2"
    assert title_of("psfusion-head") == "PSFusion, own head" and title_of("average") == "Average"


def test_the_verdict_compares_training_by_training():
    first, *rest = verdict("scenes", [scores("visible", 4, 4), scores("infrared", 2, 2), scores("average", 5, 7)])
    assert "the best fused input is Average" in first and "the best single source Visible only" in first
    assert "points better in the mean of 2 trainings, more than their spread" in first and not rest


def test_a_loss_is_said_to_be_one():
    (sentence,) = verdict("scenes", [scores("visible", 8, 8, 8), scores("average", 5, 5, 9)])
    assert "points worse in the mean of 3 trainings, within their spread" in sentence


def test_rounds_are_compared_with_the_one_before():
    names = ("ssdfusion", "ssdfusion-round1", "ssdfusion-round2")
    found = verdict("scenes", [scores(name, hits) for name, hits in zip(names, (4, 6, 5), strict=True)])
    assert found[0].startswith("SSDFusion, round 1 against SSDFusion on scenes:") and "better" in found[0]
    assert found[1].startswith("SSDFusion, round 2 against SSDFusion, round 1 on scenes:") and "worse" in found[1]


def test_all_forms_are_written(tmp_path, files):
    write_image(tmp_path / "overlays-scenes.png", np.zeros((8, 8, 3), np.uint8))
    given = [scores("visible", 4, 5), scores("average", 6, 7), scores("psfusion-head", 3)]
    write_segmentation(given, {"scenes": tmp_path / "overlays-scenes.png"}, "demo", **files)
    rows = list(csv.DictReader(files["csv_out"].open()))
    value = next(r for r in rows if (r["input"], r["training"], r["class"]) == ("average", "1", "car"))
    assert float(value["value"]) == pytest.approx(0.7)
    assert json.loads(files["json_out"].read_text())["scenes"]["average"] == given[1].mean.mIoU
    page = files["markdown_out"].read_text()
    row = next(line for line in page.splitlines() if line.startswith("| Average"))
    assert "| **65.00 ± 5.00** |" in row and "](overlays-scenes.png)" in page
    assert r"a\|b" in page
    html = files["html_out"].read_text()
    assert html.count("data:image/png;base64,") == 2 and "<c>" not in html and "&lt;c&gt;" in html
    assert "http" not in html
    assert read_image(files["chart_out"]).shape[1] > 1200


def test_the_chart_has_the_same_bytes_again(tmp_path, files):
    given = [scores(name, 4, 5) for name in ("visible", "infrared", "average")]
    write_segmentation(given, {}, "demo", **files)
    first = files["chart_out"].read_bytes()
    write_segmentation(given, {}, "demo", **files)
    assert files["chart_out"].read_bytes() == first
