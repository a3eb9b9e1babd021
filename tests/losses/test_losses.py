"""Losses against closed forms, and against kornia where it has the same function."""

import kornia
import pytest
import torch

from decofuse.losses.correlation import correlation, decomposition_loss
from decofuse.losses.fusion import intensity_loss, maximum_gradient_loss
from decofuse.losses.gradient import sobel_magnitude, spatial_gradient
from decofuse.losses.ssim import C1, ssim_loss, ssim_map

VERSIONS = ("kornia_0.2", "kornia_0.5")


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("version", VERSIONS)
def test_ssim_of_identical_images(version):
    image = noise(2, 3, 13, 17)
    assert ssim_loss(image, image, version).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("version", VERSIONS)
def test_ssim_of_constants(version):
    a, b = (torch.full((1, 1, 12, 12), level, dtype=torch.float64) for level in (0.2, 0.7))
    expected = (1 - (2 * 0.2 * 0.7 + C1) / (0.2**2 + 0.7**2 + C1)) / 2
    assert ssim_loss(a, b, version).item() == pytest.approx(expected, rel=1e-3)


def test_ssim_versions_differ_only_where_it_is_negative():
    image = noise(1, 1, 24, 24)
    opposite = (1 - image).requires_grad_()
    negative = ssim_map(image, opposite) < 0
    assert negative.all()
    old = ssim_loss(image, opposite, "kornia_0.2")
    assert old.item() == 0.5
    assert torch.autograd.grad(old, opposite)[0].abs().max() == 0
    new = ssim_loss(image, opposite, "kornia_0.5")
    assert new.item() > 0.8
    assert torch.autograd.grad(new, opposite)[0].abs().max() > 0
    near = (image + 0.1 * noise(1, 1, 24, 24, seed=1)).clamp(0, 1)
    assert ssim_loss(image, near, "kornia_0.2").item() == pytest.approx(ssim_loss(image, near, "kornia_0.5").item())


def test_ssim_is_that_of_kornia():
    a, b = noise(2, 1, 20, 31), noise(2, 1, 20, 31, seed=1)
    torch.testing.assert_close(ssim_loss(a, b, "kornia_0.5"), kornia.losses.SSIMLoss(11)(a, b))


def test_ssim_window_of_the_old_version_is_of_float32():
    a, b = noise(1, 1, 16, 16), noise(1, 1, 16, 16, seed=1)
    difference = (ssim_map(a, b, "kornia_0.2") - ssim_map(a, b, "kornia_0.5")).abs().max()
    assert 1e-10 < difference < 1e-5


def test_spatial_gradient_of_a_ramp():
    ramp = torch.arange(10.0).expand(1, 2, 8, 10)
    gradient = spatial_gradient(ramp)
    assert gradient.shape == (1, 2, 2, 8, 10)
    assert (gradient[:, :, 0, :, 1:-1] == 1).all()
    assert (gradient[:, :, 0, :, [0, -1]] == 0.5).all()  # replicated border
    assert (gradient[:, :, 1] == 0).all()


def test_spatial_gradient_is_that_of_kornia():
    image = noise(2, 3, 9, 7)
    torch.testing.assert_close(spatial_gradient(image), kornia.filters.spatial_gradient(image))


def test_sobel_magnitude():
    flat = torch.ones(1, 1, 5, 5)
    magnitude = sobel_magnitude(flat)
    assert (magnitude[..., 1:-1, 1:-1] == 0).all()
    assert magnitude[0, 0, 0, 2] == 4  # border of zeros
    assert magnitude[0, 0, 0, 0] == 6
    ramp = torch.arange(6.0).expand(1, 1, 6, 6)
    assert (sobel_magnitude(ramp)[..., 1:-1, 1:-1] == 8).all()
    assert (sobel_magnitude(ramp + ramp.mT)[..., 1:-1, 1:-1] == 16).all()


def test_correlation():
    a, b = noise(2, 4, 6, 5), noise(2, 4, 6, 5, seed=1)
    assert correlation(a, 3 * a + 2).item() == pytest.approx(1)
    assert correlation(a, -a).item() == pytest.approx(-1)
    assert correlation(a, torch.ones_like(a)).item() == 0
    by_hand = [
        torch.corrcoef(torch.stack((x.ravel(), y.ravel())))[0, 1]
        for x, y in zip(a.flatten(0, 1), b.flatten(0, 1), strict=True)
    ]
    assert correlation(a, b).item() == pytest.approx(torch.stack(by_hand).mean().item(), rel=1e-6)


def test_constant_features_pass_finite_gradients():
    constant = torch.ones(1, 2, 4, 4, requires_grad=True)
    correlation(constant, torch.rand(1, 2, 4, 4)).backward()
    assert constant.grad.isfinite().all()


def test_decomposition_rewards_equal_base_and_different_detail():
    a, b = noise(1, 3, 8, 8), noise(1, 3, 8, 8, seed=1)
    assert decomposition_loss(a, a, a, a).item() == pytest.approx(1 / 2.01)
    assert decomposition_loss(a, -a, a, a).item() == pytest.approx(1 / 0.01, rel=1e-4)
    assert decomposition_loss(a, a, a, b) < decomposition_loss(a, a, a, a)


def test_fusion_losses_are_zero_for_the_stronger_source():
    strong, weak = noise(1, 1, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    for loss in (intensity_loss, maximum_gradient_loss):
        assert loss(strong, weak, strong).item() == 0
        assert loss(weak, strong, strong).item() == 0
    assert intensity_loss(strong, weak, weak).item() == pytest.approx(strong.mean().item())
    assert maximum_gradient_loss(strong, weak, weak).item() == pytest.approx(sobel_magnitude(strong).mean().item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_keep_the_dtype(dtype):
    a, b = noise(1, 1, 8, 8).to(dtype), noise(1, 1, 8, 8, seed=1).to(dtype)
    losses = [ssim_loss(a, b, version) for version in VERSIONS]
    losses += [correlation(a, b), intensity_loss(a, a, b), maximum_gradient_loss(a, a, b), spatial_gradient(a).mean()]
    assert all(loss.dtype == dtype for loss in losses)


def test_gradients():
    a = noise(1, 1, 7, 7)
    b = noise(1, 1, 7, 7, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda b: ssim_loss(a, b, "kornia_0.5"), b)
    assert torch.autograd.gradcheck(lambda b: decomposition_loss(a, b, b, a), b)
    assert torch.autograd.gradcheck(lambda b: maximum_gradient_loss(a, a, b), b)
