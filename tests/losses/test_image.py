"""Losses between an image and its target, where they can be told by hand."""

import pytest
import torch

from decofuse.losses.image import gradient_loss, image_loss
from decofuse.losses.ssim import ssim_map


def test_an_image_is_its_own_target():
    image = torch.rand(2, 1, 8, 9, generator=torch.Generator().manual_seed(0))
    assert image_loss(image, image) == gradient_loss(image, image) == 0


def test_a_single_pixel_has_no_gradient():
    found, target = torch.full((1, 1, 1, 1), 0.7), torch.full((1, 1, 1, 1), 0.2)
    assert gradient_loss(found, target) == 0
    assert image_loss(found, target).item() == pytest.approx(0.9 * (0.5 + 0.25))


def test_the_gradient_loss_of_a_step():
    step = torch.zeros(1, 1, 5, 6)
    step[..., 3:] = 0.5
    difference = gradient_loss(step, torch.zeros_like(step))
    # Beside the border of zeros, rows 0 and 4 have three quarters of the horizontal response, and a vertical one.
    outer = 3 * 1.5 + (0.5 + 1.5 + 2.0 + 1.5)
    inner = 3 * 2.0
    assert difference.item() == pytest.approx((2 * outer + 3 * inner) / 30, rel=1e-6)


@pytest.mark.parametrize(("radius", "reaches"), [(3, False), (5, True)])
def test_a_smaller_window_sees_less(radius, reaches):
    first = torch.rand(1, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    second = first.clone()
    second[0, 0, 8, 8] += 0.3
    assert (ssim_map(first, second, radius=radius)[0, 0, 8, 12].item() < 1 - 1e-9) is reaches
