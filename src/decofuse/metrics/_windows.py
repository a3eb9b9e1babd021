"""Small windows over stacks of images: separable means and sums, Sobel derivatives.

On a CPU they are OpenCV's filters, run image by image, which are several times as fast as torch's convolutions in
float64; elsewhere they are sums of shifted images. Both give the same values but for rounding.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

Border = Literal["constant", "replicate", "reflect"]  # zeros; the frame repeated; mirrored without repeating the frame

_STRIP_PIXELS = 48 * 1024
_BORDERS = {"constant": cv2.BORDER_CONSTANT, "replicate": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT_101}


def gaussian(size: int, sigma: float) -> list[float]:
    """Weights exp(-i²/2σ²) of one direction of a window of odd `size`, with sum 1."""
    weights = [math.exp(-((i - size // 2) ** 2) / (2 * sigma**2)) for i in range(size)]
    total = sum(weights)
    return [weight / total for weight in weights]


def window_sums(images: Tensor, weights: Sequence[float], step: int = 1) -> Tensor:
    """Weighted sums over the k×k windows that lie inside the images ("valid"), with weights w_i·w_j, symmetric.

    Args:
        images: …×H×W.
        weights: the k weights of one direction, k odd.
        step: keep every `step`-th row and column, starting with the first.

    Returns:
        …×⌈(H-k+1)/step⌉×⌈(W-k+1)/step⌉.
    """
    if images.device.type != "cpu":
        return shifted_sums(images, weights, step)
    line, margin = np.array(weights), len(weights) // 2
    sums = _each(images, lambda image, out: cv2.sepFilter2D(image, -1, line, line, out))
    return sums[..., margin:-margin:step, margin:-margin:step]


def box_sums(images: Tensor, side: int) -> Tensor:
    """Sums over the side×side windows that lie inside the images …×H×W, side odd."""
    if images.device.type != "cpu":
        return shifted_sums(images, [1.0] * side)
    sums = _each(images, lambda image, out: cv2.boxFilter(image, -1, (side, side), out, normalize=False))
    margin = side // 2
    return sums[..., margin:-margin, margin:-margin]


def sobel(images: Tensor, border: Border) -> tuple[Tensor, Tensor]:
    """Derivatives along x and y by [1 2 1] · [-1 0 1] without a factor (correlations); …×H×W each."""
    if images.device.type != "cpu":
        return shifted_sobel(images, border)
    kind = _BORDERS[border]
    x = _each(images, lambda image, out: cv2.Sobel(image, -1, 1, 0, out, borderType=kind))
    return x, _each(images, lambda image, out: cv2.Sobel(image, -1, 0, 1, out, borderType=kind))


def strip_sums(function: Callable[[Tensor], Tensor], stack: Tensor, side: int) -> Tensor:
    """Σ function(strip) over strips of rows …×h×W that overlap so that each window of `side` rows lies in just one.

    On a CPU a strip and all that a metric derives from it stay in the cache, and memory is used again instead of being
    handed out anew by the system, which saves a third of the time; elsewhere there is one strip. Strips do not depend
    on the number of images, so neither do the sums.
    """
    height, width = stack.shape[-2:]
    windows = height - side + 1
    rows = max(side, _STRIP_PIXELS // width) if stack.device.type == "cpu" else windows
    strips = [stack[..., row : min(row + rows, windows) + side - 1, :] for row in range(0, windows, rows)]
    return torch.stack([function(strip) for strip in strips]).sum(dim=0)


def shifted_sums(images: Tensor, weights: Sequence[float], step: int = 1) -> Tensor:
    """`window_sums` in torch alone."""
    for _ in range(2):  # along rows, then along columns
        span = images.shape[-1] - len(weights) + 1
        total = images[..., :span:step] * weights[0]
        for shift, weight in enumerate(weights[1:], start=1):
            total.add_(images[..., shift : shift + span : step], alpha=weight)
        images = total.transpose(-1, -2)
    return images


def shifted_sobel(images: Tensor, border: Border) -> tuple[Tensor, Tensor]:
    """`sobel` in torch alone."""
    padded = pad(images.flatten(0, -3)[:, None], (1, 1, 1, 1), mode=border)
    padded = padded.view(*images.shape[:-2], *padded.shape[-2:])
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    columns = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return rows[..., 2:] - rows[..., :-2], columns[..., 2:, :] - columns[..., :-2, :]


def _each(images: Tensor, run: Callable[[Any, Any], object]) -> Tensor:
    """`run(image, out)` for every H×W image of …×H×W."""
    result = torch.empty_like(images)
    for image, out in zip(images.flatten(0, -3).numpy(), result.flatten(0, -3).numpy(), strict=True):
        run(image, out)
    return result
