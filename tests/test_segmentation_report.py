"""What people see of the segmentation comparison."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from decofuse.data.images import read_image, write_image
from decofuse.errors import UserError
from decofuse.reports.segmentation import title_of, verdict, write_segmentation
from decofuse.reports.segmentation_chart import Bar, draw_chart
from decofuse.segmentation.scores import Scores

CLASSES = ("unlabelled", "car", "a|b<c>")
NAMES = ("Visible only", "Infrared only", "Average")


def scores(name, *hits):
    confusions = {n: torch.tensor([[90, 0, 0], [10 - hit, hit, 0], [1, 0, 1]]) for n, hit in enumerate(hits)}
    return Scores(name, "scenes", CLASSES, 2, confusions)


@pytest.fixture
def files(tmp_path):
    names = {"csv": "s.csv", "json": "s.json", "markdown": "s.md", "html": "s.html", "chart": "s.png"}
    return {f"{key}_out": tmp_path / name for key, name in names.items()}


def test_names_of_inputs():
    assert title_of("visible") == "Visible only" and title_of("source_a") == "First source only"
    assert title_of("ssdfusion-round2") == "SSDFusion, round 2"
    assert title_of("psfusion-head") == "PSFusion, own head" and title_of("average") == "Average"
    assert title_of("mine") == "mine" and title_of("mine-round1") == "mine-round1"


def test_the_verdict_compares_training_by_training():
    first, *rest = verdict("scenes", [scores("visible", 4, 4), scores("infrared", 2, 2), scores("average", 5, 7)])
    assert "the best fused input is Average" in first and not rest
    assert "better than the best single source, Visible only with" in first
    assert "(mean difference of 2 trainings, more than its spread of" in first


def test_a_loss_is_said_to_be_one():
    (sentence,) = verdict("scenes", [scores("visible", 8, 8, 8), scores("average", 5, 5, 9)])
    assert "points worse than the best single source" in sentence
    assert "(mean difference of 3 trainings, within its spread of" in sentence


def test_the_same_scores_are_neither_better_nor_worse():
    (sentence,) = verdict("scenes", [scores("visible", 5), scores("average", 5)])
    assert "as good as the best single source" in sentence
    assert sentence.endswith("(one training, so with no spread to hold it against).")


def test_trainings_are_compared_by_their_numbers():
    other = Scores("average", "scenes", CLASSES, 2, {7: scores("average", 5).confusions[0]})
    (sentence,) = verdict("scenes", [scores("visible", 5), other])
    assert "not to be compared with the best single source" in sentence


def test_rounds_are_compared_with_the_method_and_the_round_before():
    names = ("ssdfusion", "ssdfusion-round1", "ssdfusion-round2")
    found = verdict("scenes", [scores(name, hits) for name, hits in zip(names, (4, 6, 5), strict=True)])
    one, two = found
    assert re.fullmatch(r"On scenes, SSDFusion, round 1 is \d\.\d\d points better than SSDFusion \(.*\)\.", one)
    assert re.fullmatch(
        r"On scenes, SSDFusion, round 2 is \S+ points better than SSDFusion \(.*\); "
        r"\S+ points worse than SSDFusion, round 1 \(.*\)\.",
        two,
    )


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
    assert "±" not in next(line for line in page.splitlines() if line.startswith("| PSFusion, own head"))
    assert page.index("the best fused input") < page.index("| input |")
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


def test_sources_come_first_and_rounds_below_their_method(files):
    names = ["ssdfusion-round10", "ssdfusion-round2", "psfusion-head", "psfusion", "ssdfusion", "average"]
    names += ["infrared", "visible"]
    write_segmentation([scores(name, 5) for name in names], {}, "demo", **files)
    found = [line.split(" | ")[0][2:] for line in files["markdown_out"].read_text().splitlines() if line[:2] == "| "]
    assert found[2:] == [
        *("Visible only", "Infrared only", "Average", "SSDFusion", "SSDFusion, round 2", "SSDFusion, round 10"),
        *("PSFusion", "PSFusion, own head"),
    ]


def test_numbers_that_are_printed_alike_share_a_mark_and_zeros_have_none(files):
    def near(name, wrong):
        confusion = torch.tensor([[10**6 - wrong, wrong, 0], [0, 10**6, 0], [10, 0, 0]])
        return Scores(name, "scenes", CLASSES, 2, {0: confusion})

    write_segmentation([near("visible", 40), near("infrared", 41), near("average", 9000)], {}, "demo", **files)
    lines = files["markdown_out"].read_text().splitlines()
    cells = [next(line for line in lines if line.startswith(f"| {name}")).split(" | ") for name in NAMES]
    assert [row[2] for row in cells] == ["**100.0**", "**100.0**", "99.1"]
    assert [row[4] for row in cells] == ["0.00"] * 3


def test_a_class_that_occurs_nowhere_has_a_dash(files):
    def lacking(name, hits):
        confusion = torch.tensor([[90, 0, 0], [10 - hits, hits, 0], [0, 0, 0]])
        return Scores(name, "scenes", CLASSES, 1, {0: confusion})

    write_segmentation([lacking("visible", 4), lacking("average", 5)], {}, "demo", **files)
    page = files["markdown_out"].read_text()
    assert next(line for line in page.splitlines() if line.startswith("| Average")).split(" | ")[4] == "–"
    assert "A class that occurs neither in labels nor in predictions" in page and "; 1 image." in page
    rows = csv.DictReader(files["csv_out"].open())
    assert {row["value"] for row in rows if row["class"] == CLASSES[2]} == {""}


def test_many_inputs_and_classes_with_odd_names(files):
    classes = tuple(f"$c_{i}^<b>|{'x' * 60}" for i in range(15))
    rng = torch.Generator().manual_seed(0)
    names = ["visible", "infrared", *(f"<i>mine{i}</i> $x_$" for i in range(13))]
    given = [
        Scores(name, "<b>$\\frac", classes, 3, {n: torch.randint(0, 99, (15, 15), generator=rng) for n in range(3)})
        for name in names
    ]
    write_segmentation(given, {}, "demo", **files)
    html = files["html_out"].read_text()
    assert "<i>" not in html and "<b>|" not in html and html.count('<th scope="row">') == 15
    chart = read_image(files["chart_out"])
    for edge in (chart[:2], chart[-2:], chart[:, :2], chart[:, -2:]):
        assert (edge == 255).all(), "nothing is cut off"


def test_bars_and_the_table_beside_them_share_their_lines(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: figures.append(figure))
    bars = [Bar(str(i), "fused", scores("average", 5, 6)) for i in range(15)]
    draw_chart({"scenes": bars}, tmp_path / "a.png")
    left, right = figures[0].axes
    assert left.get_ylim() == right.get_ylim() == (14.5, -0.5)


def test_scores_that_do_not_belong_together_are_refused(tmp_path, files):
    with pytest.raises(UserError, match="expected segmentation scores to compare, found none"):
        write_segmentation([], {}, "demo", **files)
    with pytest.raises(UserError, match="average on scenes: expected one file of scores, found several"):
        write_segmentation([scores("average", 4), scores("average", 5)], {}, "demo", **files)
    other = Scores("average", "scenes", ("a", "b"), 2, {0: torch.eye(2, dtype=torch.int64)})
    with pytest.raises(UserError, match="average on scenes: expected scores of the classes and images of visible"):
        write_segmentation([scores("visible", 4), other], {}, "demo", **files)
    with pytest.raises(UserError, match=r"none\.png: expected a picture of label maps, found none"):
        write_segmentation([scores("visible", 4)], {"scenes": tmp_path / "none.png"}, "demo", **files)
    assert not any(path.exists() for path in files.values())
