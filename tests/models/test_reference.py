"""Training-free fusers on images whose fusion is known."""

import pytest
import torch

from decofuse.models.reference import Average, Laplacian


def noise(h, w, seed=0):
    return torch.rand(1, 1, h, w, generator=torch.Generator().manual_seed(seed))


def test_average():
    a, b = noise(5, 7), noise(5, 7, seed=1)
    assert torch.equal(Average().fuse(a, b), (a + b) / 2)


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (61, 83), (64, 200)])
@pytest.mark.parametrize("levels", [1, 4, 9])
def test_laplacian_of_identical_images_is_the_image(size, levels):
    image = noise(*size)
    torch.testing.assert_close(Laplacian(levels).fuse(image, image), image, atol=1e-6, rtol=0)


def test_laplacian_of_constants_is_their_mean():
    fused = Laplacian().fuse(torch.full((1, 1, 37, 21), 0.2), torch.full((1, 1, 37, 21), 0.6))
    torch.testing.assert_close(fused, torch.full((1, 1, 37, 21), 0.4))


def test_laplacian_keeps_the_detail_of_both():
    """Stripes on the left of one source and on the right of the other are both whole in the result."""
    stripes = (torch.arange(64) % 2).float().expand(1, 1, 32, 64)
    left = torch.where(torch.arange(64) < 32, stripes, 0.5)
    right = torch.where(torch.arange(64) < 32, 0.5, stripes)
    fused = Laplacian().fuse(left, right)
    torch.testing.assert_close(fused[..., :24], stripes[..., :24], atol=0.02, rtol=0)
    torch.testing.assert_close(fused[..., 40:], stripes[..., 40:], atol=0.02, rtol=0)
    assert Average().fuse(left, right).amax() == 0.75


def test_laplacian_has_no_parameters_and_saves_nothing():
    assert not list(Laplacian().parameters())
    assert not Laplacian().state_dict()


def test_laplacian_needs_a_level():
    with pytest.raises(ValueError, match="at least 1, found 0"):
        Laplacian(0)
