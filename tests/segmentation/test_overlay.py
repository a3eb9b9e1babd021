"""Label maps over images."""

import numpy as np
import pytest

from decofuse.data.classes import CAMVID, MSRS, ClassTable
from decofuse.data.images import read_image, write_image
from decofuse.data.labels import write_label
from decofuse.errors import UserError
from decofuse.grid import MAX_WIDTH
from decofuse.segmentation.overlay import draw_overlays, overlay
from decofuse.segmentation.scoring import LABELS, Shown


def test_colours_are_mixed_where_there_is_a_class():
    image = np.full((2, 2), 100, np.uint8)
    label = np.array([[0, 1], [255, 2]], np.uint8)
    mixed = overlay(image, label, MSRS, opacity=0.5)
    assert mixed.shape == (2, 2, 3)
    assert mixed[0, 0].tolist() == mixed[1, 0].tolist() == [100, 100, 100]
    expected = [np.rint((100 + np.array(MSRS.colours[index])) / 2).tolist() for index in (1, 2)]
    assert [mixed[0, 1].tolist(), mixed[1, 1].tolist()] == expected


def test_a_first_class_that_is_one_is_coloured():
    """CamVid's class 0 is the sky."""
    image, label = np.zeros((1, 2, 3), np.uint8), np.array([[0, 255]], np.uint8)
    assert overlay(image, label, CAMVID, 1.0).tolist() == [[list(CAMVID.colours[0]), [0, 0, 0]]]


def test_the_picture_has_a_row_a_pair_a_column_a_title_and_a_legend(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(2)]
    label = np.zeros((60, 80), np.uint8)
    label[10:50, 10:70] = 2
    rows = [(f"stem{row}", [(image, label) for image in images]) for row in range(3)]
    draw_overlays(rows, ["labels", "Average"], MSRS, tmp_path / "a.png")
    draw_overlays(rows, ["labels", "Average"], MSRS, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    picture = read_image(tmp_path / "a.png")
    assert (picture == np.array(MSRS.colours[2])).all(axis=2).any()  # in the legend, not mixed with an image
    assert not (picture == np.array(MSRS.colours[3])).all(axis=2).any()
    assert picture.shape[0] > 3 * 300


def test_a_legend_of_many_classes_with_long_names_stays_inside(tmp_path):
    table = ClassTable(
        tuple(f"a class with a name that is much too long {i}" for i in range(15)),
        tuple((10 * i, 255 - 10 * i, 99) for i in range(15)),
    )
    label = np.arange(15, dtype=np.uint8).repeat(8)[None].repeat(40, axis=0)
    cells = [(np.zeros(label.shape, np.uint8), label)] * 16
    draw_overlays([("stem", cells)], ["title"] * 16, table, tmp_path / "a.png")
    picture = read_image(tmp_path / "a.png")
    assert picture.shape[1] <= MAX_WIDTH
    assert (picture[:, -1] == 255).all() and (picture[:, 0] == 255).all() and (picture[-1] == 255).all()
    for colour in table.colours:
        assert (picture == np.array(colour)).all(axis=2).any(), "every class has a box"


def test_label_maps_that_do_not_fit_are_refused(tmp_path):
    image = np.zeros((4, 6, 3), np.uint8)
    out = tmp_path / "a.png"
    for label, message in (
        (np.zeros((4, 5), np.uint8), r"s1, labels: expected a label map of \(4, 6\) pixels, found \(4, 5\)"),
        (np.full((4, 6), 9, np.uint8), "s1, labels: expected classes below 9, found 9"),
    ):
        with pytest.raises(UserError, match=message):
            draw_overlays([("s1", [(image, label)])], ["labels"], MSRS, out)
    with pytest.raises(UserError, match="expected pairs to show, found none"):
        draw_overlays([], ["labels"], MSRS, out)
    assert not out.exists()


def test_predictions_lie_over_what_they_were_made_from(tmp_path, labelled):
    manifest = labelled(tmp_path, count=2)
    predicted = np.full((48, 64), 1, np.uint8)
    for name in ("infrared", "psfusion-head"):
        (tmp_path / name / LABELS).mkdir(parents=True)
        write_label(tmp_path / name / LABELS / "s1.png", predicted, MSRS)
    inputs = {name: tmp_path / name for name in ("infrared", "psfusion-head")}
    shown = Shown(manifest, "train", inputs, {})
    stem, cells = shown.row(0)
    assert stem == "s1" and len(shown) == 1 and len(cells) == 3
    assert cells[0][0].ndim == 3 and cells[1][0].ndim == 2 and cells[2][0].ndim == 3
    assert np.array_equal(cells[1][1], predicted) and set(np.unique(cells[0][1])) == {0, 1, 2}


def test_a_prediction_that_is_missing_is_named(tmp_path, labelled):
    manifest = labelled(tmp_path, count=2)
    write_image(tmp_path / "x.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(
        UserError, match=r"labels/s1\.png: expected predicted labels, found none; delete .*scores\.json"
    ):
        Shown(manifest, "train", {"infrared": tmp_path}, {}).row(0)
