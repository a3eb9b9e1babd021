import hashlib
import logging

import numpy as np
import pytest
from PIL import Image

from decofuse.data.dataset import Dataset, local
from decofuse.data.pairing import pair, read_splits
from decofuse.data.registry import get
from decofuse.errors import UserError

LABELLED = local("mine", classes=("road", "car", "person"))


def save(path, shape=(20, 30), value=100, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(shape, value, dtype=np.uint8)
    if len(shape) == 3:
        pixels[..., 0] = 0  # in colour, so not grey
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)


@pytest.fixture
def images(tmp_path):
    """Three pairs, with labels."""
    for stem in ("b", "a", "c"):
        save(tmp_path / f"visible/{stem}.png", (20, 30, 3))
        save(tmp_path / f"infrared/{stem}.png")
        save(tmp_path / f"labels/{stem}.png", value=2)
    return tmp_path


@pytest.fixture
def splits(tmp_path):
    def write(*rows):
        path = tmp_path.parent / f"{tmp_path.name}.csv"
        path.write_text("\n".join(["split,stem", *rows]))
        return path

    return write


def test_pairs_by_stem(images):
    manifest, report = pair(images, LABELLED)
    assert manifest.sources == ("visible", "infrared")
    assert [(p.split, p.stem, p.height, p.width) for p in manifest.pairs] == [("test", s, 20, 30) for s in "abc"]
    first = manifest.pairs[0]
    assert {role: file.channels for role, file in first.files.items()} == {"visible": 3, "infrared": 1, "label": 1}
    assert first.files["infrared"].path == images / "infrared/a.png"
    assert first.files["infrared"].sha256 == hashlib.sha256((images / "infrared/a.png").read_bytes()).hexdigest()
    assert manifest.labelled
    assert (report.orphans, report.unlisted, report.absent) == ((), (), ())


@pytest.mark.parametrize("threads", [1, 3])
def test_order_does_not_depend_on_threads(images, splits, threads):
    path = splits("val,a", "train,c", "train,b")
    manifest, _ = pair(images, LABELLED, path, threads)
    assert [(p.split, p.stem) for p in manifest.pairs] == [("train", "b"), ("train", "c"), ("val", "a")]


def test_split_folders(tmp_path):
    for split in ("val", "train"):
        save(tmp_path / f"image/{split}/1.png", (8, 8, 3))
        save(tmp_path / f"labels/{split}/1.png", (8, 8), value=11)
    manifest, _ = pair(tmp_path, get("camvid"))
    assert [(p.split, p.stem) for p in manifest.pairs] == [("train", "1"), ("val", "1")]


def test_split_folders_and_a_split_file_do_not_mix(tmp_path, splits):
    save(tmp_path / "image/val/1.png")
    save(tmp_path / "labels/val/1.png", value=1)
    with pytest.raises(UserError, match="camvid brings its own splits as folders; do not give a split file"):
        pair(tmp_path, get("camvid"), splits("test,1"))


def test_orphans_are_named_and_skipped(images, caplog):
    (images / "infrared/a.png").rename(images / "infrared/A.png")  # case matters
    (images / "labels/c.png").unlink()
    manifest, report = pair(images, LABELLED)
    assert [p.stem for p in manifest.pairs] == ["b"]
    orphans = ("infrared/A.png", "infrared/c.png", "labels/a.png", "visible/a.png", "visible/c.png")
    assert report.orphans == orphans
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert ", ".join(orphans) in caplog.text


def test_split_file_and_data_that_differ(images, splits, caplog):
    manifest, report = pair(images, LABELLED, splits("train,a", "test,b", "test,missing"))
    assert [p.stem for p in manifest.pairs] == ["a", "b"]
    assert (report.unlisted, report.absent) == (("c",), ("missing",))
    assert len(caplog.records) == 2


def test_long_lists_are_cut_in_the_log_alone(images, splits, caplog):
    _, report = pair(images, LABELLED, splits("test,a", *(f"test,x{i:02}" for i in range(30))))
    assert len(report.absent) == 30
    assert "x09 and 20 more" in caplog.text
    assert "x10" not in caplog.text


def test_split_without_any_pair(images, splits):
    with pytest.raises(
        UserError, match=r"\.csv: expected pairs for the split val, found none in mine; check the stems"
    ):
        pair(images, LABELLED, splits("test,a", "val,missing"))


def test_no_pair_at_all(tmp_path):
    save(tmp_path / "visible/a.png")
    save(tmp_path / "infrared/b.png")
    with pytest.raises(UserError, match="expected images of equal stem in visible, infrared, found no pair"):
        pair(tmp_path, LABELLED)


@pytest.mark.parametrize("role", ["infrared", "labels"])
def test_sizes_that_differ(images, role):
    save(images / f"{role}/b.png", (20, 31), value=1)
    with pytest.raises(
        UserError, match=rf"{role}/b\.png: expected 20x30 pixels .*visible/b\.png has, found 20x31; a pair"
    ):
        pair(images, LABELLED)


@pytest.mark.parametrize("content", [b"", b"no image", "cut"])
@pytest.mark.parametrize("role", ["visible", "labels"])
def test_unreadable_image(images, role, content):
    path = images / role / "b.png"
    path.write_bytes(path.read_bytes()[:-30] if content == "cut" else content)
    with pytest.raises(UserError, match=rf"{role}/b\.png: expected a readable image, found .*; replace the file"):
        pair(images, LABELLED)


def test_label_that_is_no_class(images):
    save(images / "labels/b.png", value=3)
    with pytest.raises(UserError, match=r"labels/b\.png: expected class indices 0-2 or 255, found 3; save class"):
        pair(images, LABELLED)


def test_label_in_colours(images):
    save(images / "labels/b.png", (20, 30, 3))
    with pytest.raises(UserError, match=r"labels/b\.png: expected a single-channel 8-bit or palette label map"):
        pair(images, LABELLED)


@pytest.mark.parametrize(
    ("dataset", "value"),
    [
        (LABELLED, 255),
        (local("mine"), 77),  # no classes given, so all values will do
        (Dataset("d", "infrared-visible", {}, classes=("a", "b"), void=2), 2),
    ],
)
def test_labels_that_belong_to_no_class(images, dataset, value):
    save(images / "labels/b.png", value=value)
    assert len(pair(images, dataset)[0].pairs) == 3


def test_palette_label(images):
    save(images / "labels/b.png", value=0, mode="P")
    assert len(pair(images, LABELLED)[0].pairs) == 3


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "expected the header split,stem, found nothing"),
        ("stem,split\na,test", "expected the header split,stem, found stem,split"),
        ("split,stem\ntest,a\ntesting,b", r"line 3: expected train\|val\|test,<stem>, found testing,b"),
        ("split,stem\ntest", "line 2: expected"),
        ("split,stem\ntest,a\ntrain,a", "line 3: the stem a stands there twice"),
    ],
)
def test_bad_split_file(tmp_path, text, match):
    path = tmp_path / "splits.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=match):
        read_splits(path)


def test_missing_or_binary_split_file(tmp_path):
    with pytest.raises(UserError, match=r"expected a CSV file of splits, found .*No such file"):
        read_splits(tmp_path / "splits.csv")
    (tmp_path / "splits.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="expected a CSV file of splits"):
        read_splits(tmp_path / "splits.csv")
