"""Losses of segmentation heads."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from decofuse.data.dataset import IGNORED_LABEL


def pixel_losses(logits: Tensor, label: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross entropy of each pixel, 0 where the label is ignored.

    Args:
        logits: N×C×H×W.
        label: class indices below C, or 255 where ignored; N×H×W int64.
        weights: of the pixels of each class, C; all 1 if none are given.

    Returns:
        N×H×W.
    """
    return F.cross_entropy(logits, label, weight=weights, ignore_index=IGNORED_LABEL, reduction="none")


def lovasz_softmax_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Lovász-softmax (Berman et al., CVPR 2018): a surrogate of 1 - IoU, the mean over the classes that are present.

    For each class, the errors |1(label = c) - p_c| of the labelled pixels of the whole batch are sorted, and weighted
    by the increments of the Jaccard loss along that order.

    Args:
        logits: N×C×H×W.
        label: class indices below C, or 255 where ignored; N×H×W int64.

    Returns:
        A scalar; 0 if nothing is labelled.
    """
    counted = label != IGNORED_LABEL
    probabilities = logits.softmax(dim=1).movedim(1, -1)[counted]
    label = label[counted]
    losses = []
    for name in label.unique():  # type: ignore[no-untyped-call]
        member = (label == name).to(logits.dtype)
        errors, order = (member - probabilities[:, name]).abs().sort(descending=True)
        truth = member[order]
        intersection = truth.sum() - truth.cumsum(0)
        union = truth.sum() + (1 - truth).cumsum(0)
        jaccard = 1 - intersection / union
        losses.append(errors @ torch.cat((jaccard[:1], jaccard.diff())))
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def hard_pixel_loss(losses: Tensor, threshold: float, pixels: int) -> Tensor:
    """Online hard example mining: the mean over pixels whose class has a probability below `threshold`; a scalar.

    If there are not more than `pixels` of them, the mean over the `pixels` largest losses instead; over all, if there
    are no more (where published code fails); 0, if there are none.

    Args:
        losses: loss of each pixel of the batch, any shape; zeros of ignored pixels count, unless left out before.
        threshold: probability in (0, 1).
        pixels: number of pixels that count at least.
    """
    flat = losses.flatten()
    hard = flat[flat > -math.log(threshold)]
    if len(hard) > pixels:
        return hard.mean()
    return flat.topk(min(pixels, len(flat)), sorted=False).values.mean() if len(flat) else flat.sum()


def two_class_loss(logits: Tensor, label: Tensor, weights: Sequence[float] = (1.0, 1.0)) -> Tensor:
    """Binary cross entropy of two channels against the one-hot label, a scalar.

    The mean of −[w_c t ln σ(x) + (1 − t) ln(1 − σ(x))] over pixels and both channels c: two independent logits, no
    softmax.

    Args:
        logits: N×2×H×W.
        label: 0 or 1, N×H×W int64.
        weights: w of channel 0 and 1, on positive pixels.
    """
    target = torch.stack((1 - label, label), dim=1).to(logits.dtype)
    positive = torch.tensor(list(weights), dtype=logits.dtype, device=logits.device)
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=positive[:, None, None])
