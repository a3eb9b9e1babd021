"""What every metric does first and often: check its images, and filter them with small separable windows."""

from collections.abc import Sequence

import torch
from torch import Tensor


def grey_batches(*images: Tensor, minimum_side: int = 1) -> tuple[Tensor, ...]:
    """Check grey images and return each as N×H×W in float32 or float64 (half precision is widened).

    Args:
        images: N×H×W or N×1×H×W floating tensors of grey levels [0, 255], all of one size.
        minimum_side: the smallest height and width that the metric is defined for [pixels].

    Raises:
        ValueError: no floating tensors, not grey batches, sizes differ, too small, or not grey levels (NaN included).
    """
    batches = tuple(_grey_batch(image) for image in images)
    if len({batch.shape for batch in batches}) > 1:
        raise ValueError(f"expected images of one size, found {[tuple(batch.shape) for batch in batches]}")
    height, width = batches[0].shape[-2:]
    if batches[0].numel() == 0 or min(height, width) < minimum_side:
        raise ValueError(f"expected at least {minimum_side}x{minimum_side} pixels, found {height}x{width}")
    for batch in batches:
        low, high = (bound.item() for bound in batch.aminmax())
        if not (low >= -0.5 and high < 255.5):
            raise ValueError(f"expected grey levels in [0, 255], found values from {low} to {high}")
    return batches


def window_sums(images: Tensor, weights: Sequence[float], step: int = 1) -> Tensor:
    """Weighted sums over the k×k windows that lie inside the images ("valid"), with weights w_i·w_j.

    Args:
        images: …×H×W.
        weights: the k weights of one direction.
        step: keep every `step`-th row and column, starting with the first.

    Returns:
        …×⌈(H-k+1)/step⌉×⌈(W-k+1)/step⌉.
    """
    for _ in range(2):  # along rows, then along columns; shifted in-place sums are the fastest form on a CPU
        span = images.shape[-1] - len(weights) + 1
        total = images[..., :span:step] * weights[0]
        for shift, weight in enumerate(weights[1:], start=1):
            total.add_(images[..., shift : shift + span : step], alpha=weight)
        images = total.transpose(-1, -2)
    return images


def _grey_batch(image: Tensor) -> Tensor:
    if not image.is_floating_point():
        raise ValueError(f"expected a floating tensor (integers would wrap), found {image.dtype}")
    if image.ndim == 4 and image.shape[1] == 1:
        image = image.squeeze(1)
    if image.ndim != 3:
        raise ValueError(f"expected grey images as NxHxW or Nx1xHxW, found {tuple(image.shape)}")
    return image if image.dtype in (torch.float32, torch.float64) else image.float()
