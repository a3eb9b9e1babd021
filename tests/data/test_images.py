"""Reading and writing at both depths."""

import numpy as np
import pytest

from decofuse.data.images import full_scale, grey_levels, luma, read_image, read_pixels, write_image
from decofuse.errors import UserError


def deep(*shape):
    return np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_sixteen_bits_come_back_as_they_were_written(tmp_path, suffix, shape):
    image = deep(*shape)
    write_image(tmp_path / f"deep{suffix}", image)
    found = read_pixels(tmp_path / f"deep{suffix}")
    assert found.dtype == np.uint16
    assert np.array_equal(found, image)
    assert np.array_equal(read_image(tmp_path / f"deep{suffix}"), np.rint(image / 257).astype(np.uint8))


def test_eight_bits_stay_eight_bits(tmp_path):
    write_image(tmp_path / "plain.png", np.arange(12, dtype=np.uint8).reshape(3, 4))
    assert read_pixels(tmp_path / "plain.png").dtype == np.uint8


def test_a_format_of_eight_bits_is_refused_for_sixteen(tmp_path):
    with pytest.raises(UserError, match=r"image.jpg: expected a format with 16 bits \(.png"):
        write_image(tmp_path / "image.jpg", deep(5, 7))
    assert not list(tmp_path.iterdir())


def test_luma_and_grey_levels_are_those_of_the_depth():
    image = deep(5, 7, 3)
    exact = image @ np.array([0.299, 0.587, 0.114])
    assert full_scale(image) == 65535
    assert np.abs(luma(image) - exact / 65535).max() < 1e-6
    assert grey_levels(image).dtype == np.uint16
    assert np.abs(grey_levels(image) - exact).max() < 0.51
