"""Degraded views: the statistics of the published construction, and what decides the random draws."""

import math

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from decofuse.data.dataset import local
from decofuse.data.degraded_views import (
    DegradedViews,
    Grids,
    colour_matrix,
    degrade,
    draw_window,
    extra_cells,
    keep_probability,
    masks,
)
from decofuse.data.prepare import prepare
from decofuse.errors import UserError
from decofuse.settings import ViewSampling

SETTINGS = ViewSampling(size=64, cells=7)
KEYS = {"view_a": 3, "view_b": 3, "image": 3, "mask_a": 1, "mask_b": 1}


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def dataset(folder, sources, task):
    """A local dataset of three images a source, all in the training split."""
    rng = np.random.default_rng(0)
    for source, channels in sources.items():
        for stem in "abc":
            colours = channels[ord(stem) - ord("a")]
            shape = (50, 70) if colours == 1 else (50, 70, 3)
            write(folder / "in" / source / f"{stem}.png", rng.integers(0, 256, shape, np.uint8))
    (folder / "in" / "splits.csv").write_text("split,stem\ntrain,a\ntrain,b\ntrain,c\n")
    prepare(local("own", task), folder / "in", folder / "out")
    return folder / "out" / "manifest.csv"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return dataset(tmp_path_factory.mktemp("pairs"), {"visible": (3, 1, 3), "infrared": (1, 1, 1)}, "infrared-visible")


def views(manifest, seed=0, fixed=False, settings=SETTINGS):
    return DegradedViews(manifest, "train", settings, seed, fixed)


def grids(rng):
    chance = keep_probability(rng.random())
    cells = (13, 26 + rng.integers(2), 26 + rng.integers(2))
    extra = extra_cells(rng.random(), cells)
    return Grids(*(rng.random((g, g)) < chance for g in (cells[0], cells[1], cells[0], cells[1], extra)))


def test_masks_cover_the_image_and_overlap_as_published():
    """Both views show 21.7 % of the area, each of them 60.9 %, on average over the keep probability."""
    rng = np.random.default_rng(1)
    pairs = [masks(grids(rng), rng.random(), 128) for _ in range(2000)]
    assert all((first | second).all() for first, second in pairs)
    assert np.mean([(first & second).mean() for first, second in pairs]) == pytest.approx(0.217, abs=0.015)
    for number in (0, 1):
        assert np.mean([pair[number].mean() for pair in pairs]) == pytest.approx(0.609, abs=0.015)


def test_a_draw_from_one_half_on_exchanges_the_views():
    some = grids(np.random.default_rng(2))
    kept, exchanged = masks(some, 0.499, 64), masks(some, 0.5, 64)
    assert not np.array_equal(*kept)
    assert all(np.array_equal(*pair) for pair in zip(kept, reversed(exchanged), strict=True))


def test_what_no_view_keeps_is_shared_out_by_the_extra_grid():
    nothing = np.zeros((2, 2), bool)
    extra = np.array([[True, False, False], [False, True, False], [False, False, True]])
    first, second = masks(Grids(nothing, nothing, nothing, nothing, extra), 0.0, 7)
    cell = np.array([0, 0, 0, 1, 1, 2, 2])  # floor(3 i / 7)
    assert np.array_equal(first, extra[np.ix_(cell, cell)])
    assert np.array_equal(second, ~first)


@pytest.mark.parametrize(("uniform", "cells"), [(0.0, 13), (0.329, 13), (0.331, 26), (0.659, 26), (0.661, 27)])
def test_extra_cells(uniform, cells):
    assert extra_cells(uniform, (13, 26, 27)) == cells


def test_hidden_parts_show_clipped_half_normal_noise():
    normal = np.random.default_rng(3).standard_normal((3, 256, 256), np.float32)
    mask = np.zeros((256, 256), bool)
    mask[:100] = True
    image = np.full((3, 256, 256), 0.25, np.float32)
    view = degrade(image, mask, normal)
    assert view.dtype == np.float32
    assert (view[:, :100] == 0.25).all()
    noise = view[:, 100:]
    assert noise.min() >= 0
    assert noise.mean() == pytest.approx(0.631, abs=0.005)
    assert (noise == 1).mean() == pytest.approx(0.317, abs=0.005)


def test_colours_are_changed_one_after_the_other():
    """Against the definition, step by step on all pixels."""
    rng = np.random.default_rng(4)
    image, factors, order = rng.random((20, 30, 3)), (0.7, 0.3, 0.45), (2, 0, 1)
    expected = image
    for kind in order:
        grey = expected @ [0.2989, 0.587, 0.114]
        other = (0.0, grey.mean(), grey[..., None])[kind]
        expected = factors[kind] * expected + (1 - factors[kind]) * other
    matrix = colour_matrix(image.mean(axis=(0, 1)), factors, order)
    np.testing.assert_allclose(image @ matrix[:, :3].T + matrix[:, 3], expected, atol=1e-12)
    np.testing.assert_allclose(colour_matrix(np.full(3, 0.5), (1, 1, 1), order), np.eye(3, 4), atol=1e-15)


def test_windows_have_the_published_area_and_aspect():
    rng = np.random.default_rng(5)
    windows = [draw_window(rng, 300, 400) for _ in range(3000)]
    assert all(0 <= w.top <= 300 - w.height and 0 <= w.left <= 400 - w.width for w in windows)
    areas = np.array([w.height * w.width / 120_000 for w in windows])
    aspects = np.array([math.log(w.width / w.height) for w in windows])
    assert 0.075 < areas.min() < 0.1 and areas.max() > 0.95
    assert np.abs(aspects).max() < math.log(4 / 3) + 0.03
    assert {w.top for w in windows} >= {0, 1} and {w.left for w in windows} >= {0, 1}


def test_a_very_wide_image_gives_its_centre():
    assert draw_window(np.random.default_rng(6), 10, 4000) == (0, (4000 - 13) // 2, 10, 13)


def test_a_batch(manifest):
    samples = views(manifest)
    assert len(samples) == 3
    batch = samples.batch(np.array([2, 0, 1]), 7)
    assert set(batch) == {*KEYS, "step"}
    assert batch["step"].shape == () and batch["step"].dtype == np.int64 and batch["step"] == 7
    for key, channels in KEYS.items():
        assert batch[key].shape == (3, channels, 64, 64)
        assert batch[key].dtype == np.float32
        assert 0 <= batch[key].min() <= batch[key].max() <= 1
    assert set(np.unique(batch["mask_a"])) == {0, 1}
    assert (np.maximum(batch["mask_a"], batch["mask_b"]) == 1).all()
    for view, mask in (("view_a", "mask_a"), ("view_b", "mask_b")):
        shown = np.broadcast_to(batch[mask] == 1, batch[view].shape)
        assert np.array_equal(batch[view][shown], batch["image"][shown])


def test_draws_depend_on_seed_step_and_position(manifest):
    first = views(manifest).batch(np.array([0, 0]), 3)
    again = views(manifest).batch(np.array([0, 0]), 3)
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not np.array_equal(first["image"][0], first["image"][1])
    assert not np.array_equal(first["mask_a"][0], first["mask_a"][1])
    for other in (views(manifest).batch(np.array([0]), 4), views(manifest, seed=1).batch(np.array([0]), 3)):
        assert not np.array_equal(first["view_a"][:1], other["view_a"])


def test_fixed_draws_depend_on_the_index_alone(manifest):
    samples = views(manifest, fixed=True)
    first, later = samples.batch(np.array([0, 2]), 0), samples.batch(np.array([2]), 9)
    assert all(np.array_equal(first[key][1:], later[key]) for key in KEYS)
    assert not np.array_equal(first["mask_a"][0], first["mask_a"][1])
    assert later["step"] == 9


def test_a_grey_image_among_colour_ones_is_repeated(manifest):
    batch = views(manifest, settings=ViewSampling(size=64, cells=7, jitter=0.8)).batch(np.array([1, 0]), 0)
    red, green, blue = batch["image"][0]
    np.testing.assert_allclose(red, green, atol=1e-6)
    np.testing.assert_allclose(red, blue, atol=1e-6)
    assert np.abs(batch["image"][1][0] - batch["image"][1][1]).max() > 0.01


@pytest.mark.parametrize(
    ("sources", "task", "role"),
    [
        ({"image": (3, 3, 3)}, "single", "image"),
        ({"source_a": (3, 3, 3), "source_b": (3, 3, 3)}, "multi-focus", "source_a"),
    ],
)
def test_the_source_trained_on(tmp_path, sources, task, role):
    samples = views(dataset(tmp_path, sources, task))
    assert samples.role == role
    assert samples.batch(np.array([0]), 0)["image"].shape == (1, 3, 64, 64)


def test_a_dataset_without_colour_is_refused(tmp_path):
    grey = dataset(tmp_path, {"visible": (1, 1, 1), "infrared": (1, 1, 1)}, "infrared-visible")
    with pytest.raises(UserError, match=r"manifest.csv: expected RGB images to train on, found grey ones; "):
        views(grey)
    assert views(grey, fixed=True).batch(np.array([0]), 0)["image"].shape == (1, 3, 64, 64)


def test_an_empty_split_is_allowed(manifest):
    assert len(DegradedViews(manifest, "val", SETTINGS, 0, True)) == 0


def test_cells_must_fit_into_a_view():
    with pytest.raises(ValidationError, match="2 x 13 \\+ 1 cells do not fit into size 26"):
        ViewSampling(size=26)
