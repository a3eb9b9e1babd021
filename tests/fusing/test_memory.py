"""What fusing needs, and the tiles that keep within a limit."""

import time

import pytest
import torch

from decofuse.errors import UserError
from decofuse.fusing.memory import Need, check_available, measure, tiles_within
from decofuse.fusing.tiling import smallest_tiles
from decofuse.models.method import Fuser
from decofuse.settings import Views

CPU = torch.device("cpu")
GREY = Views(source_a="grey", source_b="grey", fused="luma")
SMALLEST = smallest_tiles(None)
GIB = 2**30


class Hungry(Fuser):
    """Needs 400 bytes a pixel for a while."""

    def fuse(self, source_a, source_b):
        features = source_a.repeat(1, 100, 1, 1)
        time.sleep(0.05)
        return features[:, :1] + source_b


def test_what_a_network_needs_is_measured():
    measured = [measure(Hungry(), GREY, CPU).network for _ in range(3)]
    assert 380 < min(measured) < 600


def test_an_image_that_fits_stays_whole():
    assert tiles_within(64 * GIB, Need(400, 24), CPU, (1, 480, 640), SMALLEST) is None


def test_less_memory_makes_smaller_tiles_and_too_little_is_refused():
    size, need = (1, 8000, 12000), Need(1000, 0)
    sides = [tiles_within(gib * GIB, need, CPU, size, SMALLEST).side for gib in (16, 8, 4)]
    assert sides == sorted(sides, reverse=True)
    assert all(
        side % 32 == 0 and need.network * side**2 < gib * GIB for side, gib in zip(sides, (16, 8, 4), strict=True)
    )
    assert tiles_within(8 * GIB, need, CPU, (4, *size[1:]), SMALLEST).side < sides[1]
    with pytest.raises(
        UserError, match=r"--max-memory: expected at least \S+ [GM]iB for 12000x8000 pixels, found 102 MiB"
    ):
        tiles_within(GIB // 10, need, CPU, size, SMALLEST)


def test_the_named_minimum_is_enough():
    size, need = (1, 8000, 12000), Need(50_000, 24)
    with pytest.raises(UserError) as caught:
        tiles_within(GIB, need, CPU, size, SMALLEST)
    enough = float(str(caught.value).split("at least ")[1].split(" GiB")[0]) + 0.1
    assert tiles_within(int(enough * GIB), need, CPU, size, SMALLEST).side >= SMALLEST.side


def test_an_image_larger_than_memory_is_refused_before_it_is_fused():
    with pytest.raises(UserError, match=r"of free memory for 90000x90000 pixels .* found .* GiB; .* --max-memory"):
        check_available(Need(10_000, 24), (1, 90_000, 90_000))
    check_available(Need(1, 1), (1, 100, 100))
