"""Fixed filters on every channel of every image."""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F


def filtered(images: Tensor, kernels: Tensor, border: Literal["constant", "replicate", "reflect"]) -> Tensor:
    """Correlate each plane with each kernel, at the size of the image.

    Args:
        images: N×C×H×W.
        kernels: K×S×S, S odd, in the dtype and on the device of `images`.
        border: how S // 2 pixels are added around: `constant` zeros, or the nearest or the reflected pixels.

    Returns:
        N×C×K×H×W.
    """
    n, c, h, w = images.shape
    count, side = kernels.shape[0], kernels.shape[-1]
    planes = F.pad(images.reshape(1, n * c, h, w), [side // 2] * 4, mode=border)
    # A group a plane: with a sample a plane, the backward pass takes tens of times as long on a CPU.
    responses = F.conv2d(planes, kernels[:, None].repeat(n * c, 1, 1, 1), groups=n * c)
    return responses.reshape(n, c, count, h, w)
