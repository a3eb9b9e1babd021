"""Misregistered pairs are told, and registered ones never called so."""

import zipfile
from pathlib import PurePath

import numpy as np
import pytest

from decofuse.data.images import read_pixels
from decofuse.data.scenes import generate_scene
from decofuse.fusing.registration import CLEAR, DOMINANCE, SPREAD, displacement

SHIFTS = (0.05, 0.1, 0.2)  # shares of the width
CDDFUSE, BENCHMARKS = "Zhaozixiang1228/MMIF-CDDFuse/archive/refs/heads/main", "xingchenzhang/{}/archive/refs/heads/"
SETS = {  # archive, how the paths of the first and of the second source differ, every how many pairs are taken
    "roadscene": ("hanna-xu/RoadScene/archive/refs/heads/master", ("/crop_LR_visible/", "/cropinfrared/"), 22),
    "tno": (CDDFUSE, ("/TNO/vi/", "/TNO/ir/"), 3),
    "mri_ct": (CDDFUSE, ("/MRI_CT/MRI/", "/MRI_CT/CT/"), 3),
    "mri_pet": (CDDFUSE, ("/MRI_PET/MRI/", "/MRI_PET/PET/"), 5),
    "mri_spect": (CDDFUSE, ("/MRI_SPECT/MRI/", "/MRI_SPECT/SPECT/"), 8),
    "mefb": (BENCHMARKS.format("MEFB") + "main", ("_A.", "_B."), 3),
    "mffb": (BENCHMARKS.format("MFIFB") + "master", ("_A.", "_B."), 12),
}


DISPLACED = "savic_10"  # a pair of MFFB that is off by 7 pixels of 210


def pairs(mirror, folder, name, scene=""):
    """Every so many pairs of a set in the order of their names, without the displaced one; or one scene alone."""
    archive, (first, second), step = SETS[name]
    with zipfile.ZipFile(mirror / "github.com" / f"{archive}.zip") as packed:
        members = {str(PurePath(member).with_suffix("")): member for member in packed.namelist()}
        stems = sorted(stem for stem, member in members.items() if first in member and not member.endswith("/"))
        chosen = [stem for stem in stems if scene in stem][:1] if scene else stems[::step]
        for stem in (stem for stem in chosen if scene or DISPLACED not in stem):
            other = (stem + ".").replace(first, second).removesuffix(".")
            if other in members:
                yield tuple(read_pixels(folder / packed.extract(members[part], folder)) for part in (stem, other))


def shifted(source_a, source_b, x, y):
    """The parts of a pair that are left if the second is displaced by (x, y) against the first."""

    def part(source, x, y):
        height, width = source.shape[:2]
        return source[max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)]

    return part(source_a, x, y), part(source_b, -x, -y)


def placed(source_a, source_b, share, angle):
    """Whether a shift by a share of the width is found where it is: True, False, or None where none is found."""
    width = source_a.shape[1]
    x, y = round(share * width * np.cos(angle)), round(share * width * np.sin(angle))
    found = displacement(*shifted(source_a, source_b, x, y))
    return found and np.hypot(found.dx - x, found.dy - y) < SPREAD * width


def scene(index, height=240, width=320):
    made = generate_scene(3, "test", index, height, width)
    return made.visible, made.infrared


@pytest.mark.parametrize("name", SETS)
def test_registered_pairs_are_not_called_displaced(mirror, tmp_path, name):
    sample = list(pairs(mirror, tmp_path, name))
    assert len(sample) >= 5
    for source_a, source_b in sample:
        height, width = source_a.shape[:2]
        corner = slice(height // 4, None), slice(width // 3, None)
        assert displacement(source_a, source_b) is None
        assert displacement(source_a[corner], source_b[corner]) is None


@pytest.mark.parametrize(("name", "least"), [("roadscene", 0.9), ("tno", 0.8), ("mefb", 0.9), ("mffb", 0.8)])
def test_displaced_pairs_are_told_and_placed(mirror, tmp_path, name, least):
    sample = list(pairs(mirror, tmp_path, name))
    found = [placed(*pair, share, 2 * i) for i, pair in enumerate(sample) for share in SHIFTS[:2]]
    assert False not in found
    assert found.count(True) >= least * len(found)


def test_the_displaced_pair_among_the_public_ones_is_told(mirror, tmp_path):
    ((first, second),) = pairs(mirror, tmp_path, "mffb", DISPLACED)
    found = displacement(first, second)
    assert found
    assert (found.dx, found.dy) == (pytest.approx(2, abs=1.5), pytest.approx(-6, abs=1.5))


@pytest.mark.parametrize("share", SHIFTS)
@pytest.mark.parametrize("index", range(4))
def test_displaced_scenes_are_told_and_placed(index, share):
    assert placed(*scene(index), share, 2 * index)


@pytest.mark.parametrize("index", range(12))
def test_registered_scenes_are_not_called_displaced(index):
    assert displacement(*scene(index)) is None


def test_direction_and_units():
    """Pixels of the full image: what lies at (x, y) in the first lies at (x + dx, y + dy) in the second."""
    visible, infrared = scene(0, 480, 640)
    found = displacement(visible[60:, :560], infrared[:420, 80:])
    assert found
    assert (found.dx, found.dy) == (pytest.approx(-80, abs=4), pytest.approx(60, abs=4))
    assert found.dominance >= DOMINANCE


def test_the_order_turns_the_direction():
    first, second = shifted(*scene(1), 30, -20)
    there, back = displacement(first, second), displacement(second, first)
    assert there
    assert back
    assert (back.dx, back.dy) == (-there.dx, -there.dy)


def test_depth_range_and_polarity_do_not_matter():
    first, second = shifted(*scene(2), 40, 10)
    expected = displacement(first, second)
    dim = (255 - second).astype(np.uint16) * 4 + 500
    found = displacement(first.astype(np.uint16) * 257, dim)
    assert expected
    assert found
    assert (found.dx, found.dy) == (expected.dx, expected.dy)


def test_a_shift_that_does_not_matter():
    x = int(CLEAR * 320) - 2
    assert displacement(*shifted(*scene(0), x, 0)) is None


def test_an_image_against_itself():
    visible, _ = scene(0)
    assert displacement(visible, visible) is None


@pytest.mark.parametrize("seed", range(20))
def test_noise(seed):
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (2, 50 + 20 * seed, 300), np.uint8)
    assert displacement(*noise) is None


def test_constant_images():
    flat, (visible, _) = np.full((240, 320), 90, np.uint8), scene(0)
    assert displacement(flat, flat) is None
    assert displacement(visible, flat) is None
    assert displacement(flat, visible) is None


@pytest.mark.parametrize("width", range(250, 270))
def test_rounding_is_no_structure(width):
    first, second = (np.full((width - 13, width, 3), colour, np.uint8) for colour in ((7, 91, 203), (41, 3, 77)))
    assert displacement(first, second) is None


@pytest.mark.parametrize("shape", [(31, 200), (200, 31), (1, 1), (40, 4000)])
def test_images_too_small_to_tell(shape):
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert displacement(noise, np.roll(noise, 7, axis=1)) is None


def test_images_of_two_sizes():
    with pytest.raises(ValueError, match="one size"):
        displacement(np.zeros((40, 50), np.uint8), np.zeros((50, 40), np.uint8))
