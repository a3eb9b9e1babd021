"""Label maps by palette: colours to indices, and what pairing and the dataset stage make of them."""

import json

import numpy as np
import pytest
from PIL import Image

from decofuse.data.classes import CAMVID, FMB, MSRS, PST900
from decofuse.data.dataset import Dataset
from decofuse.data.images import read_label
from decofuse.data.labels import colourise, indices_of, read_colour_map, write_label
from decofuse.data.pairing import pair
from decofuse.data.prepare import prepare
from decofuse.errors import UserError

LABEL = np.array([[0, 1, 2], [3, 4, 4]], np.uint8)


def dataset(table):
    files = {"image": "image/{stem}", "label": "labels/{stem}"}
    return Dataset("d", "single", files, classes=table.names, colours=table.colours)


def save(folder, label, name="a.png"):
    """One image with the label map given as pixels or as a Pillow image."""
    for role in ("image", "labels"):
        (folder / role).mkdir(parents=True, exist_ok=True)
    label = label if isinstance(label, Image.Image) else Image.fromarray(label)
    label.save(folder / "labels" / name)
    pixels = np.random.default_rng(0).integers(0, 255, (label.height, label.width, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "image/a.png")
    return folder


@pytest.mark.parametrize("table", [MSRS, FMB, PST900, CAMVID])
def test_indices_come_back_from_colours(table):
    label = np.random.default_rng(0).integers(0, len(table), (7, 9), np.uint8)
    found = indices_of(colourise(label, table), table)
    assert found.dtype == np.uint8
    assert np.array_equal(found, label)


def test_an_unknown_colour_is_named():
    rgb = colourise(LABEL, PST900)
    rgb[0, 0] = 1, 2, 3
    with pytest.raises(ValueError, match=r"^colour 1,2,3$"):
        indices_of(rgb, PST900)


@pytest.mark.parametrize("table", [FMB, PST900])
def test_a_colour_map_becomes_a_palette_map_of_indices(tmp_path, table):
    manifest, _ = pair(save(tmp_path, colourise(LABEL, table)), dataset(table))
    path = manifest.pairs[0].path("label")  # with the checksum of the new file
    assert manifest.pairs[0].files["label"].channels == 1
    assert np.array_equal(read_label(path), LABEL)
    assert read_colour_map(path) is None


def test_a_colour_map_whose_colours_are_grey_is_none_of_indices(tmp_path):
    """PST900 has black and white: an image of these two in three channels."""
    label = np.array([[0, 4], [4, 0]], np.uint8)
    manifest, _ = pair(save(tmp_path, colourise(label, PST900)), dataset(PST900))
    assert np.array_equal(read_label(manifest.pairs[0].path("label")), label)


@pytest.mark.parametrize("name", ["a.bmp", "a.tif"])
def test_a_colour_map_of_another_format_becomes_png(tmp_path, name):
    manifest, _ = pair(save(tmp_path, colourise(LABEL, FMB), name), dataset(FMB))
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["a.png"]
    assert np.array_equal(read_label(manifest.pairs[0].path("label")), LABEL)


def test_alpha_is_dropped(tmp_path):
    colours = Image.fromarray(colourise(LABEL, FMB)).convert("RGBA")
    manifest, _ = pair(save(tmp_path, colours), dataset(FMB))
    assert np.array_equal(read_label(manifest.pairs[0].path("label")), LABEL)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_map_of_indices_is_kept_as_it_is(tmp_path, mode):
    label = Image.fromarray(LABEL)
    if mode == "P":
        label.putpalette([9, 9, 9] * 5)
    before = (save(tmp_path, label) / "labels/a.png").read_bytes()
    pair(tmp_path, dataset(FMB))
    assert (tmp_path / "labels/a.png").read_bytes() == before


def test_a_colour_that_is_no_class_is_refused_in_one_line(tmp_path):
    rgb = colourise(LABEL, PST900)
    rgb[1, 2] = 255, 254, 253
    with pytest.raises(UserError) as caught:
        pair(save(tmp_path, rgb), dataset(PST900))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(
        f"{tmp_path}/labels/a.png: expected class indices, or only the colours of d (background 0"
    )
    assert "backpack 0,255,0" in message
    assert "found colour 255,254,253; save class indices" in message


def test_an_index_that_is_no_class_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"labels/a\.png: expected class indices 0-4 or 255, found 5"):
        pair(save(tmp_path, LABEL + np.uint8(1)), dataset(PST900))


def test_the_lock_is_of_the_files_as_they_came(tmp_path):
    lock, folder = tmp_path / "lock.json", save(tmp_path / "source", colourise(LABEL, FMB), "a.bmp")
    for out in ("first", "second"):
        prepare(dataset(FMB), folder, tmp_path / out, lock=lock)
        assert np.array_equal(read_label(tmp_path / out / "images/labels/a.png"), LABEL)
    assert sorted(json.loads(lock.read_text())) == ["image/a.png", "labels/a.bmp"]


def test_no_lock_of_data_that_are_refused(tmp_path):
    lock, folder = tmp_path / "locks/d.json", save(tmp_path / "source", LABEL + np.uint8(1))
    with pytest.raises(UserError):
        prepare(dataset(PST900), folder, tmp_path / "out", lock=lock)
    assert list(lock.parent.iterdir()) == []


@pytest.mark.parametrize("table", [PST900, CAMVID, MSRS])
def test_pixels_of_no_class_survive_whatever_the_number_of_classes(tmp_path, table):
    """With 16 colours or fewer a PNG has 4 bits a pixel, unless the palette is longer."""
    label = np.array([[0, 255], [len(table) - 1, 1]], np.uint8)
    write_label(tmp_path / "a.png", label, table)
    assert np.array_equal(read_label(tmp_path / "a.png"), label)
    with Image.open(tmp_path / "a.png") as image:
        shown = np.array(image.convert("RGB"))
    assert shown[0, 1].tolist() == [0, 0, 0]
    assert tuple(shown[1, 0].tolist()) == table.colours[-1]
