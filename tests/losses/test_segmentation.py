"""Segmentation losses where no published value says what is right."""

import pytest
import torch

from decofuse.losses.segmentation import (
    hard_pixel_loss,
    lovasz_softmax_loss,
    pixel_losses,
    two_class_loss,
)


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


def jaccard_by_hand(errors, truth):
    """Σ mᵢ (Δ(S_i) - Δ(S_{i-1})), S_i the i largest errors, Δ(S) = |S| / |truth ∪ S| (Berman et al., eq. 8)."""
    order = sorted(range(len(errors)), key=lambda i: -errors[i])
    total, before, wrong = 0.0, 0.0, set()
    for i in order:
        wrong.add(i)
        union = {j for j, is_member in enumerate(truth) if is_member} | wrong
        jaccard = len(wrong) / len(union)
        total, before = total + errors[i] * (jaccard - before), jaccard
    return total


def test_lovasz_softmax_is_the_mean_of_the_extended_jaccard_losses():
    torch.manual_seed(0)
    logits, label = torch.randn(2, 3, 2, 3, dtype=torch.float64), torch.tensor([[[0, 1, 1], [255, 0, 1]]] * 2)
    probabilities = logits.softmax(dim=1).movedim(1, -1)[label != 255]
    kept = label[label != 255]
    expected = []
    for name in (0, 1):  # class 2 is not present
        truth = (kept == name).tolist()
        errors = [
            float(1 - p[name] if is_member else p[name]) for p, is_member in zip(probabilities, truth, strict=True)
        ]
        expected.append(jaccard_by_hand(errors, truth))
    assert lovasz_softmax_loss(logits, label).item() == pytest.approx(sum(expected) / 2, rel=1e-12)


def test_lovasz_softmax_sorts_single_precision_as_double():
    torch.manual_seed(0)
    logits, label = torch.randn(2, 3, 16, 16).round(), torch.randint(3, (2, 16, 16))
    expected = lovasz_softmax_loss(logits.double(), label).item()
    assert lovasz_softmax_loss(logits, label).item() == pytest.approx(expected, rel=1e-6)


def test_a_perfect_prediction_has_no_lovasz_loss():
    label = torch.tensor([[[0, 1], [1, 0]]])
    logits = 1000.0 * torch.nn.functional.one_hot(label, 2).movedim(-1, 1)
    assert lovasz_softmax_loss(logits, label).item() == pytest.approx(0, abs=1e-6)


def test_weights_multiply_the_losses_of_their_class():
    logits, label = torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]])
    losses = pixel_losses(logits, label, torch.tensor([1.0, 3.0]))
    assert torch.allclose(losses, torch.log(torch.tensor(2.0)) * torch.tensor([[[1.0, 3.0]]]))
