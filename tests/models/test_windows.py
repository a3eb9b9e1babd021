"""Windows: seamless, at any size, and nothing else than the function where it works pixel by pixel."""

import pytest
import torch

from decofuse.models.windows import in_windows


@pytest.mark.parametrize("size", [(8, 8), (9, 30), (3, 5), (64, 41)])
def test_a_function_of_single_pixels_gives_the_same(size):
    a, b = torch.rand(2, 2, 3, *size, dtype=torch.float64)
    fused = in_windows(lambda x, y: (x - 2 * y)[:, :1], a, b, 8)
    torch.testing.assert_close(fused, (a - 2 * b)[:, :1], atol=1e-12, rtol=0)


def test_a_window_counts_less_towards_its_border():
    """Windows of alternating levels blend into a ramp without a step."""
    levels = iter([0.0, 1.0, 0.0])

    def level(x, y):
        return torch.stack([torch.full_like(window[:1], next(levels)) for window in x])

    row = in_windows(level, *torch.zeros(2, 1, 1, 8, 16), 8)[0, 0, 0]
    assert row[:4].max() == 0
    assert (row[4:8].diff() > 0).all()
    assert (row[8:12].diff() < 0).all()
    assert row.diff().abs().max() < 0.3


def test_every_sample_keeps_its_windows():
    a = torch.rand(3, 1, 20, 20)
    together = in_windows(lambda x, y: x * x.mean(dim=(2, 3), keepdim=True), a, a, 8)
    alone = in_windows(lambda x, y: x * x.mean(dim=(2, 3), keepdim=True), a[1:2], a[1:2], 8)
    torch.testing.assert_close(together[1:2], alone)
