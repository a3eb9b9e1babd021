"""Losses of segmentation heads."""

import math
from collections.abc import Sequence

import numpy as np
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
    present = label[counted].unique()  # type: ignore[no-untyped-call]
    if not len(present):
        return logits.sum() * 0
    probabilities = logits.softmax(dim=1).transpose(0, 1).flatten(1).index_select(0, present)
    members = (label.flatten() == present[:, None]).to(logits.dtype)
    # Ignored pixels come last, without error: there they change no increment of the others.
    errors = (members - probabilities).abs() * counted.flatten()
    increments = torch.stack(list(map(_jaccard_increments, errors.detach(), members)))
    loss: Tensor = (errors * increments).sum() / len(present)
    return loss


def _jaccard_increments(errors: Tensor, member: Tensor) -> Tensor:
    """By how much each pixel raises the Jaccard loss when pixels become wrong one by one, the largest error first."""
    order = _descending(errors)
    truth = member[order]
    intersection = truth.sum() - truth.cumsum(0)
    union = truth.sum() + (1 - truth).cumsum(0)
    jaccard = 1 - intersection / union
    return torch.empty_like(errors).index_copy_(0, order, torch.cat((jaccard[:1], jaccard.diff())))


def _descending(values: Tensor) -> Tensor:
    """Indices from the largest to the smallest of values that are not negative; equal ones in their order.

    On a CPU, sorting is most of the loss. The bits of floats that are not negative have the order of the floats: put
    above the index, they make one integer each, which NumPy sorts in half the time.
    """
    if values.device.type != "cpu" or values.dtype != torch.float32:
        return values.argsort(descending=True, stable=True)
    bits = values.numpy().view(np.int32).astype(np.int64)
    keys = (np.iinfo(np.int32).max - bits) << 32 | np.arange(len(bits))
    keys.sort()
    return torch.from_numpy(keys & 0xFFFFFFFF)


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
