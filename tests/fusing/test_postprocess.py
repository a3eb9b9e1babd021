"""Stretch, rounding and colour."""

import numpy as np
import pytest

from decofuse.data.images import grey_levels
from decofuse.fusing.postprocess import quantise, recolour, recolour_clamped, stretch, to_rgb, to_ycbcr


def colours(seed=0, shape=(40, 50, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_stretch_reaches_both_ends():
    assert stretch(np.array([[0.2, 0.3], [0.4, 0.25]])).ravel() == pytest.approx([0, 0.5, 1, 0.25])


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_a_constant_image_is_not_stretched(level):
    assert (stretch(np.full((3, 4), level, np.float32)) == np.float32(level)).all()


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ("half_down", [0, 127, 128, 128, 129, 255]),
        ("nearest", [0, 128, 128, 128, 130, 255]),
        ("truncate", [0, 127, 127, 128, 129, 255]),
    ],
)
def test_rounding(rounding, expected):
    levels = np.array([0, 127.5, 127.6, 128.4, 129.5, 255]) / 255
    assert quantise(levels, rounding).tolist() == expected


@pytest.mark.parametrize("rounding", ["half_down", "nearest", "truncate"])
def test_every_grey_level_survives_8_bits(rounding):
    levels = np.arange(256)
    exact = levels / 255 + (1e-9 if rounding == "truncate" else 0)
    assert quantise(exact, rounding).tolist() == levels.tolist()
    assert quantise((levels / 255).astype(np.float32), "nearest").tolist() == levels.tolist()


def test_levels_outside_are_clipped():
    assert quantise(np.array([-0.3, 1.2]), "nearest").tolist() == [0, 255]


def test_ycbcr_of_known_colours():
    rgb = np.array([[[255, 255, 255], [255, 0, 0], [0, 0, 255], [9, 9, 9]]], np.uint8)
    expected = [
        [255, 0, 0],
        [76.245, -0.564 * 76.245, 0.713 * 178.755],
        [29.07, 0.564 * 225.93, -0.713 * 29.07],
        [9, 0, 0],
    ]
    np.testing.assert_allclose(to_ycbcr(rgb)[0], expected, atol=1e-4)


def test_ycbcr_can_be_inverted():
    assert np.array_equal(to_rgb(to_ycbcr(colours())), colours())


def test_grey_sources_give_a_grey_image():
    luma = colours()[..., 0]
    assert recolour(luma, luma, luma) is luma


@pytest.mark.parametrize("colour_first", [True, False])
def test_chroma_of_the_colour_source_is_put_back(colour_first):
    colour = colours().clip(60, 190)
    grey = colours(1)[..., 0]
    luma = grey_levels(colour) + np.uint8(20)
    fused = recolour(luma, *((colour, grey) if colour_first else (grey, colour)))
    assert fused.shape == colour.shape
    difference = fused.astype(int) - colour
    assert set(np.unique(difference)) <= {19, 20, 21}
    np.testing.assert_allclose(to_ycbcr(fused)[..., 1:], to_ycbcr(colour)[..., 1:], atol=1)


def test_colours_outside_of_rgb_are_clipped():
    red = np.array([[[255, 0, 0]]], np.uint8)
    assert recolour(np.array([[255]], np.uint8), red, red).tolist() == [[[255, 179, 179]]]


def clamped(luma, source_a, source_b):
    return recolour_clamped(luma.astype(np.float32) / 255, source_a, source_b, "nearest", np.uint8)


both_ways = pytest.mark.parametrize("recolour", [recolour, clamped])


@both_ways
def test_two_colour_sources_are_weighed_by_saturation(recolour):
    same = colours()
    luma = grey_levels(same)
    assert np.abs(recolour(luma, same, same).astype(int) - same).max() <= 1
    y = np.full((1, 1, 1), 128, np.float32)
    strong, weak = (to_rgb(np.concatenate((y, np.full((1, 1, 2), c, np.float32)), axis=-1)) for c in (30, 10))
    chroma = to_ycbcr(recolour(np.array([[128]], np.uint8), strong, weak))[..., 1:]
    np.testing.assert_allclose(chroma, (30 * 30 + 10 * 10) / 40, atol=1)


@both_ways
def test_two_colour_sources_without_chroma_at_a_pixel(recolour):
    grey = np.full((2, 2, 3), 90, np.uint8)
    luma = np.full((2, 2), 70, np.uint8)
    assert (recolour(luma, grey, grey) == 70).all()
