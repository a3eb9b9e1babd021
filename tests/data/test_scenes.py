"""The embedded street scenes: deterministic, registered, scalable, and worth fusing."""

import csv
import re
from concurrent.futures.process import BrokenProcessPool

import cv2
import numpy as np
import pytest
from PIL import Image

from decofuse.data.classes import MSRS, ClassTable
from decofuse.data.images import luma, read_image, read_label
from decofuse.data.labels import colourise, write_label
from decofuse.data.manifest import SPLITS
from decofuse.data.scenes import Scene, generate_scene, write_scenes
from decofuse.data.scenes.markings import road_paint
from decofuse.data.scenes.scene import frame_view, plan_scene
from decofuse.data.scenes.view import rows_of_ground
from decofuse.errors import UserError
from decofuse.settings import ScenesSettings

HEIGHT, WIDTH = 120, 160
MANY = 40
PERSON = MSRS.index("person")


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [generate_scene(0, "train", index, HEIGHT, WIDTH) for index in range(MANY)]


def same(one: Scene, other: Scene) -> bool:
    images = ((one.visible, other.visible), (one.infrared, other.infrared), (one.label, other.label))
    return one.night == other.night and all(np.array_equal(a, b) for a, b in images)


def contrast(image: np.ndarray, mask: np.ndarray, reach: int = 5) -> float:
    """Difference between the means inside a mask and in a ring around it."""
    ring = cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)).astype(bool) & ~mask
    return abs(float(image[mask].mean()) - float(image[ring].mean()))


def test_format(scenes):
    for scene in scenes:
        assert scene.visible.shape == (HEIGHT, WIDTH, 3)
        assert scene.infrared.shape == scene.label.shape == (HEIGHT, WIDTH)
        assert scene.visible.dtype == scene.infrared.dtype == scene.label.dtype == np.uint8
        assert scene.label.max() <= 8
        assert scene.visible.std() > 5
        assert scene.infrared.std() > 5
        assert not np.array_equal(scene.visible[..., 0], scene.visible[..., 1])


def test_a_scene_depends_on_its_key_alone(scenes):
    assert same(generate_scene(0, "train", 3, HEIGHT, WIDTH), scenes[3])
    others = [(1, "train", 3), (0, "val", 3), (0, "test", 3), (0, "train", 5)]
    for seed, split, index in others:
        assert not np.array_equal(generate_scene(seed, split, index, HEIGHT, WIDTH).infrared, scenes[3].infrared)


def test_bits_do_not_depend_on_opencv_threads(scenes):
    before = cv2.getNumThreads()
    try:
        for threads in (1, 3):
            cv2.setNumThreads(threads)
            assert all(same(generate_scene(0, "train", i, HEIGHT, WIDTH), scenes[i]) for i in (0, 1))
    finally:
        cv2.setNumThreads(before)


def test_global_randomness_is_neither_read_nor_moved(scenes):
    np.random.seed(5)  # noqa: NPY002
    assert same(generate_scene(0, "train", 2, HEIGHT, WIDTH), scenes[2])
    drawn = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    assert drawn == np.random.random()  # noqa: NPY002


def test_half_the_scenes_are_night_scenes(scenes):
    nights = [scene.night for scene in scenes]
    assert all(first != second for first, second in zip(nights[::2], nights[1::2], strict=True))
    assert 0 < sum(nights[::2]) < MANY / 2  # day and night do not simply alternate
    brightness = {night: np.mean([luma(s.visible).mean() for s in scenes if s.night == night]) for night in (0, 1)}
    assert brightness[1] < 0.6 * brightness[0]


def test_every_class_occurs(scenes):
    shares = np.array([np.bincount(scene.label.ravel(), minlength=9) for scene in scenes]) / (HEIGHT * WIDTH)
    occurs = (shares > 3e-4).mean(axis=0)
    assert occurs[MSRS.index("car")] > 0.9
    assert occurs[PERSON] > 0.9
    for name in MSRS.names:
        assert occurs[MSRS.index(name)] > 0.25, name
        assert shares[:, MSRS.index(name)].mean() > 7e-4, name
    assert 0.8 < shares[:, 0].mean() < 0.95


def test_night_persons_show_in_infrared_not_in_visible(scenes):
    gains = []
    for scene in scenes:
        mask = scene.label == PERSON
        if scene.night and mask.sum() > 60:
            gains.append((contrast(255 * luma(scene.visible), mask), contrast(scene.infrared.astype(float), mask)))
    visible, infrared = np.array(gains).T
    assert len(gains) >= 12
    assert np.mean(infrared > visible) > 0.8
    assert infrared.mean() > 3 * visible.mean()


def test_by_day_neither_source_is_always_better(scenes):
    better = []
    for scene in scenes:
        mask = scene.label == PERSON
        if not scene.night and mask.sum() > 60:
            visible = contrast(255 * luma(scene.visible), mask)
            better.append(contrast(scene.infrared.astype(float), mask) > visible)
    assert 0.2 < np.mean(better) < 0.9


def test_cones_and_stops_show_in_visible(scenes):
    for name in ("color_cone", "car_stop"):
        visible, infrared = [], []
        for scene in scenes:
            mask = scene.label == MSRS.index(name)
            if not scene.night and mask.sum() > 25:
                colour = scene.visible.astype(float)
                visible.append(max(contrast(colour[..., channel], mask) for channel in range(3)))
                infrared.append(contrast(scene.infrared.astype(float), mask))
        assert len(visible) >= 4, name
        assert np.mean(visible) > 1.5 * np.mean(infrared), name


def test_road_markings_show_in_visible_not_in_infrared(scenes):
    visible, infrared = [], []
    for index, scene in enumerate(scenes):
        weather, layout = plan_scene(0, "train", index)
        view = frame_view(layout, HEIGHT, WIDTH)
        first, distance = rows_of_ground(view)
        ahead = distance[:, None]
        wide = ahead / np.float32(view.focal)
        columns = np.arange(WIDTH, dtype=np.float32) - np.float32(view.centre)
        across = columns * wide - np.float32(view.bend) * ahead**2
        white, _ = road_paint(layout.street, across, ahead, wide, ahead * wide / np.float32(view.eye))
        on_road = (across > layout.street.left) & (across < layout.street.right)
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[first:] = (white > 0.7) & (ahead < 12) & on_road
        mask &= scene.label == 0
        if mask.sum() > 25:
            assert weather.night == scene.night
            visible.append(contrast(255 * luma(scene.visible), mask, 2))
            infrared.append(contrast(scene.infrared.astype(float), mask, 2))
    assert len(visible) > 20
    assert np.mean(visible) > 4 * np.mean(infrared)


def test_sources_and_label_are_registered(scenes):
    """Where the label says person, it is warm; a shifted label fits worse in every direction."""
    fits = {}
    for shift in ((0, 0), (3, 0), (-3, 0), (0, 3), (0, -3)):
        levels = [
            float(scene.infrared[np.roll(scene.label, shift, axis=(0, 1)) == PERSON].mean())
            for scene in scenes
            if scene.night and (scene.label == PERSON).any()
        ]
        fits[shift] = np.mean(levels)
    best = fits.pop((0, 0))
    assert all(best > other + 5 for other in fits.values())


def test_another_size_shows_the_same_street(scenes):
    for index in range(4):
        large = generate_scene(0, "train", index, 2 * HEIGHT, 2 * WIDTH)
        assert np.mean(large.label[::2, ::2] == scenes[index].label) > 0.97
        small = cv2.resize(large.visible, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        assert np.corrcoef(luma(small).ravel(), luma(scenes[index].visible).ravel())[0, 1] > 0.8


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 128), (97, 131), (64, 300), (300, 64)])
def test_any_size(height, width):
    for index in range(3):
        scene = generate_scene(4, "test", index, height, width)
        assert scene.visible.shape == (height, width, 3)
        assert scene.infrared.shape == scene.label.shape == (height, width)
        assert scene.label.any()


def test_bad_arguments():
    with pytest.raises(ValueError, match="at least 64 pixels, got 63×640"):
        generate_scene(0, "train", 0, 63, 640)
    with pytest.raises(ValueError):
        generate_scene(0, "training", 0, 64, 64)
    with pytest.raises(ValueError):
        generate_scene(-1, "train", 0, 64, 64)


def test_written_dataset(tmp_path):
    settings = ScenesSettings(train=3, val=0, test=2, height=64, width=80, seed=7)
    write_scenes(settings, tmp_path / "one", workers=1)
    with (tmp_path / "one" / "splits.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["split", "stem"]
    assert [split for split, _ in rows[1:]] == ["train"] * 3 + ["test"] * 2
    assert all(re.fullmatch(r"0000[1-5][DN]", stem) for _, stem in rows[1:])
    assert len({stem for _, stem in rows[1:]}) == 5
    assert {split for split, _ in rows[1:]} <= set(SPLITS)
    for number, (split, stem) in enumerate(rows[1:]):
        scene = generate_scene(7, split, number - 3 * (split == "test"), 64, 80)
        assert stem.endswith("N" if scene.night else "D")
        assert np.array_equal(read_image(tmp_path / "one" / "visible" / f"{stem}.png"), scene.visible)
        assert np.array_equal(read_image(tmp_path / "one" / "infrared" / f"{stem}.png"), scene.infrared)
        assert np.array_equal(read_label(tmp_path / "one" / "labels" / f"{stem}.png"), scene.label)


def test_files_do_not_depend_on_workers(tmp_path):
    settings = ScenesSettings(train=2, val=1, test=1, height=64, width=64, seed=1)
    contents = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        write_scenes(settings, folder, workers)
        contents.append({p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert len(contents[0]) == 3 * 4 + 1
    assert contents[0] == contents[1]


def test_no_workers(tmp_path):
    with pytest.raises(UserError, match="workers: expected at least 1, found 0; set the number of processes to use"):
        write_scenes(ScenesSettings(train=1, val=0, test=1, height=64, width=64), tmp_path / "none", 0)
    assert not (tmp_path / "none").exists()


def test_killed_worker(tmp_path, monkeypatch):
    def broken(*args: object) -> None:
        raise BrokenProcessPool("terminated abruptly")

    monkeypatch.setattr("decofuse.data.scenes.write.ProcessPoolExecutor", broken)
    with pytest.raises(UserError, match="expected 2 processes to write scenes, found one of them killed"):
        write_scenes(ScenesSettings(train=1, val=0, test=1, height=64, width=64), tmp_path, 2)
    assert not (tmp_path / "splits.csv").exists()


def test_class_table():
    assert len(MSRS) == 9
    assert MSRS.names[MSRS.index("curve")] == "curve"
    label = np.array([[0, 1], [7, 8]], np.uint8)
    assert colourise(label, MSRS).tolist() == [[[0, 0, 0], [64, 0, 128]], [[192, 128, 128], [192, 64, 0]]]
    with pytest.raises(ValueError, match="2 names, 1 colours"):
        ClassTable(("a", "b"), ((0, 0, 0),))


def test_label_file_is_a_palette_of_class_indices(tmp_path):
    label = np.arange(9, dtype=np.uint8).reshape(3, 3)
    write_label(tmp_path / "label.png", label, MSRS)
    assert np.array_equal(read_label(tmp_path / "label.png"), label)
    with Image.open(tmp_path / "label.png") as image:
        assert image.mode == "P"
        assert np.array_equal(np.array(image.convert("RGB")), colourise(label, MSRS))
    with pytest.raises(ValueError, match="label 9 in a map of 9 classes"):
        write_label(tmp_path / "wrong.png", label + np.uint8(1), MSRS)
    assert not (tmp_path / "wrong.png").exists()
