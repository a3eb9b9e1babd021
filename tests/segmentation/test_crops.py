"""Crops of labelled images."""

import cv2
import numpy as np
import pytest

from decofuse.errors import UserError
from decofuse.segmentation.crops import SegmentationCrops, aimed_place, distorted, fitted, middle, varied_place
from decofuse.segmentation.images import LabelledImages
from decofuse.segmentation.settings import SegmentationSampling

CLASSES = ("nothing", "left", "right")


def crops(manifest, *, source="visible", seed=0, fixed=False, split="train", **settings):
    return SegmentationCrops(
        source,
        CLASSES,
        manifest,
        split=split,
        settings=SegmentationSampling(**{"fit": (64, 48), "size": 32, **settings}),
        seed=seed,
        fixed=fixed,
    )


def test_image_and_label_stay_together(tmp_path, labelled):
    samples = crops(labelled(tmp_path), photometric=False)
    batch = samples.batch(np.array([0, 1, 0, 1]), step=5)
    assert batch["image"].shape == (4, 3, 32, 32) and batch["label"].shape == (4, 32, 32)
    for image, label in zip(batch["image"], batch["label"], strict=True):
        inside = cv2.erode((label == 1).astype(np.uint8), np.ones((5, 5))) > 0
        assert (image[0][inside] > 0.75).all() and (image[2][inside] == 0).all()


def test_the_middle_of_a_grey_source_is_fixed(tmp_path, labelled):
    samples = crops(labelled(tmp_path), source="infrared", fixed=True, split="val")
    first, second = samples.batch(np.array([0]), 1), samples.batch(np.array([0]), 2)
    assert np.array_equal(first["image"], second["image"])
    assert np.array_equal(first["image"][0, 0], first["image"][0, 2])


def test_randomness_depends_on_seed_step_and_position_alone(tmp_path, labelled):
    manifest = labelled(tmp_path)
    batch = crops(manifest).batch(np.array([0, 1]), 3)
    again = crops(manifest).batch(np.array([0, 1]), 3)
    assert np.array_equal(batch["image"], again["image"])
    assert not np.array_equal(batch["image"], crops(manifest, seed=1).batch(np.array([0, 1]), 3)["image"])
    assert not np.array_equal(batch["image"], crops(manifest).batch(np.array([0, 1]), 4)["image"])


def test_beside_a_small_image_lies_the_mean_and_nothing_to_learn(tmp_path, labelled):
    samples = crops(labelled(tmp_path), ratio=(0.25, 0.25), photometric=False)
    samples.pad_with(np.array([51.0, 102.0, 153.0]))
    batch = samples.batch(np.array([0]), 0)
    assert np.allclose(batch["image"][0, :, -1, -1], [0.2, 0.4, 0.6])
    assert (batch["label"][0, 12:] == 255).all() and (batch["label"][0, :12, :16] < 3).all()


def test_scaling_fits_into_both_sides():
    image, label = np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8)
    assert fitted(image, (2048, 512), 0.5).shape == (256, 341, 3)
    assert fitted(label, (80, 512), 1.0).shape == (80, 107)
    assert fitted(image, (64, 48), 1.0) is image


def test_an_aimed_crop_shows_a_rare_class_as_often_as_a_frequent_one():
    label = np.zeros((200, 300), np.uint8)
    label[:100, :150], label[180:184, 290:], label[150:, :20] = 1, 2, 255
    draws = [label[aimed_place(label, 32, np.random.default_rng(seed))] for seed in range(300)]
    assert all(crop.shape == (32, 32) and np.isin(crop, (1, 2)).any() for crop in draws)
    assert 100 < sum((crop == 2).any() for crop in draws) < 200
    nothing = np.zeros((20, 40), np.uint8)
    assert nothing[aimed_place(nothing, 32, np.random.default_rng(0))].shape == (20, 32)


def test_crops_that_are_not_aimed_stay_as_they_were(tmp_path, labelled):
    manifest, indices = labelled(tmp_path), np.array([0, 1])
    plain, none, all_ = (crops(manifest, **more).batch(indices, 3) for more in ({}, {"aimed": 0.0}, {"aimed": 1.0}))
    assert np.array_equal(plain["image"], none["image"]) and not np.array_equal(plain["image"], all_["image"])


def test_a_crop_that_one_class_fills_is_drawn_again():
    label = np.zeros((200, 200), np.uint8)
    label[:100, :100] = 1
    draws = [varied_place(label, 64, 0.75, np.random.default_rng(seed)) for seed in range(200)]
    shares = [max(np.bincount(label[place].ravel())) / 64**2 for place in draws]
    plain = [varied_place(label, 64, 1.0, np.random.default_rng(seed)) for seed in range(200)]
    assert np.mean(np.array(shares) < 0.75) > 0.8
    assert np.mean([max(np.bincount(label[place].ravel())) < 0.75 * 64**2 for place in plain]) < 0.5
    assert middle(label, 64) == (slice(68, 132), slice(68, 132))


def test_colours_change_within_their_bounds():
    grey = np.full((4, 4, 3), 100, np.uint8)
    levels = np.concatenate([distorted(grey, np.random.default_rng(seed)).ravel() for seed in range(300)])
    assert levels.min() >= (100 - 32) * 0.5 - 1 and levels.max() <= (100 + 32) * 1.5 + 1
    assert len(np.unique(levels)) > 50
    assert np.mean([np.array_equal(distorted(grey, np.random.default_rng(s)), grey) for s in range(300)]) > 0.15


def test_statistics_are_those_of_all_pixels(tmp_path, labelled):
    images = LabelledImages(labelled(tmp_path), None, "train", "visible", CLASSES)
    mean, std = images.moments()
    pixels = np.concatenate([images.rgb(i).reshape(-1, 3) for i in range(2)]).astype(float)
    assert np.allclose(mean, pixels.mean(0)) and np.allclose(std, pixels.std(0))
    assert images.class_pixels().tolist() == [2 * (48 * 64 - 300 - 400), 600, 800]


def test_a_label_that_is_no_class_is_refused(tmp_path, labelled):
    images = LabelledImages(labelled(tmp_path, label=7), None, "train", "visible", CLASSES)
    with pytest.raises(UserError, match=r"1-label\.png: expected class indices below 3, or 255 .*, found 7"):
        images.label(0)


def test_a_label_of_another_size_is_refused(tmp_path, labelled):
    images = LabelledImages(labelled(tmp_path, label_size=(40, 60)), None, "train", "visible", CLASSES)
    with pytest.raises(UserError, match=r"expected a label map of 64x48 pixels as its image, found 60x40"):
        images.label(0)
