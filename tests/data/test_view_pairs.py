"""Crops of pairs: the same part of both sources, and what decides the random draws."""

import cv2
import numpy as np
import pytest

from decofuse.data.dataset import local
from decofuse.data.prepare import prepare
from decofuse.data.view_pairs import Pairs, ViewsAndPairs
from decofuse.errors import UserError
from decofuse.settings import PairSampling, ViewSampling

EVERY = np.arange(4)


def dataset(folder, task="infrared-visible", sources=("visible", "infrared")):
    """Four training pairs whose infrared image is the red channel of the visible one, and a grey fifth for val."""
    rng = np.random.default_rng(0)
    for stem in "abcde":
        red, green, blue = cv2.resize(rng.integers(0, 256, (7, 9, 3), np.uint8), (72, 56)).transpose(2, 0, 1)
        pair = (red if stem == "e" else np.stack((blue, green, red), axis=-1), red)
        for source, pixels in zip(sources, pair, strict=True):
            path = folder / "in" / source / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels)
    (folder / "in" / "splits.csv").write_text("split,stem\ntrain,a\ntrain,b\ntrain,c\ntrain,d\nval,e\n")
    prepare(local("own", task), folder / "in", folder / "out")
    return folder / "out" / "manifest.csv"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return dataset(tmp_path_factory.mktemp("pairs"))


def pairs(manifest, seed=0, fixed=False, size=24):
    return Pairs(manifest, "train", PairSampling(size=size), seed, fixed)


def same(first, second):
    return all(np.array_equal(first[key], second[key]) for key in first)


def test_form(manifest):
    samples = pairs(manifest)
    batch = samples.batch(EVERY, 0)
    samples.close()
    assert len(samples) == 4
    assert {key: (value.shape, value.dtype) for key, value in batch.items()} == dict.fromkeys(
        ("visible", "infrared"), ((4, 3, 24, 24), np.float32)
    )
    assert all(0 <= value.min() < value.max() <= 1 for value in batch.values())


def test_both_sources_show_the_same_part(manifest):
    batch = pairs(manifest).batch(EVERY, 0)
    assert np.array_equal(batch["visible"][:, 0], batch["infrared"][:, 0])
    assert np.array_equal(batch["infrared"][:, 0], batch["infrared"][:, 2])
    assert not np.array_equal(batch["visible"][:, 1], batch["infrared"][:, 1])


def test_a_grey_visible_image_is_repeated(manifest):
    batch = Pairs(manifest, "val", PairSampling(size=24), 0, True).batch(np.arange(1), 0)
    assert np.array_equal(batch["visible"], batch["infrared"])


def test_half_of_the_crops_are_flipped(manifest, monkeypatch):
    """With the whole image as part, a crop is the image or its mirror image."""
    monkeypatch.setattr("decofuse.data.view_pairs.draw_window", lambda rng, height, width: (0, 0, height, width))
    samples = pairs(manifest)
    crops = [samples.batch(np.zeros(1, np.int64), step)["visible"][0] for step in range(60)]
    flipped = [np.array_equal(crop, crops[0][..., ::-1]) for crop in crops]
    assert 15 < sum(flipped) < 45
    assert all(flip or np.array_equal(crop, crops[0]) for flip, crop in zip(flipped, crops, strict=True))


def test_draws_depend_on_seed_step_and_position(manifest):
    samples, twice = pairs(manifest), np.zeros(2, np.int64)
    batch = samples.batch(EVERY, 3)
    assert same(batch, pairs(manifest).batch(EVERY, 3))
    assert not same(batch, samples.batch(EVERY, 4))
    assert not same(batch, pairs(manifest, seed=1).batch(EVERY, 3))
    first, second = samples.batch(twice, 3)["visible"]
    assert not np.array_equal(first, second)


def test_fixed_draws_depend_on_the_pair_alone(manifest):
    samples = pairs(manifest, fixed=True)
    assert same(samples.batch(EVERY, 3), samples.batch(EVERY, 4))
    assert np.array_equal(samples.batch(EVERY[2:], 0)["visible"], samples.batch(EVERY, 0)["visible"][2:])


@pytest.mark.parametrize("fixed", [False, True])
def test_views_and_pairs(manifest, fixed):
    samples = ViewsAndPairs(manifest, "train", ViewSampling(size=24, cells=3), 0, fixed)
    batch, again = samples.batch(EVERY, 5), samples.batch(EVERY, 6)
    samples.close()
    assert len(samples) == 4
    assert {key: value.shape for key, value in batch.items()} == {
        **dict.fromkeys(("view_a", "view_b", "image", "visible", "infrared"), (4, 3, 24, 24)),
        **dict.fromkeys(("mask_a", "mask_b"), (4, 1, 24, 24)),
        "step": (),
    }
    assert all(np.array_equal(batch[key], again[key]) == fixed for key in ("view_a", "visible"))


def test_other_tasks_are_refused(tmp_path):
    path = dataset(tmp_path, "multi-focus", ("source_a", "source_b"))
    with pytest.raises(UserError, match="expected a dataset with the source visible, found none for a"):
        pairs(path)
