"""Segmentation losses where no published value says what is right."""

import pytest
import torch

from decofuse.losses.segmentation import hard_pixel_loss, pixel_losses, two_class_loss


def test_hard_pixels():
    losses = torch.tensor([[0.1, 0.2, 0.4], [3.0, 0.0, 2.0]])
    assert hard_pixel_loss(losses, 0.75, 2).item() == pytest.approx(1.8)  # three lie above 0.288
    assert hard_pixel_loss(losses, 0.75, 3).item() == pytest.approx(1.8)
    assert hard_pixel_loss(losses, 0.75, 4).item() == pytest.approx(5.6 / 4)
    assert hard_pixel_loss(losses, 0.75, 100).item() == pytest.approx(5.7 / 6)
    assert hard_pixel_loss(losses[:0], 0.75, 100).item() == 0


def test_ignored_pixels_have_no_loss_and_no_gradient():
    logits = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    losses = pixel_losses(logits, torch.tensor([[[255, 1], [2, 255]]]))
    losses.sum().backward()
    assert (losses == 0).tolist() == [[[True, False], [False, True]]]
    assert (logits.grad == 0).all(dim=1).tolist() == [[[True, False], [False, True]]]


def test_class_weights_count_on_positive_pixels_of_their_channel_only():
    logits, label = torch.zeros(1, 2, 2, 2), torch.tensor([[[1, 0], [0, 0]]])
    equal = two_class_loss(logits, label)
    assert equal.item() == pytest.approx(0.693147, abs=1e-6)
    assert two_class_loss(logits, label, (1.0, 5.0)).item() == pytest.approx(equal.item() * (8 + 4) / 8)
    assert two_class_loss(logits, label, (5.0, 1.0)).item() == pytest.approx(equal.item() * (8 + 3 * 4) / 8)
