"""Fusers without training, to compare trained methods with."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from decofuse.models.method import Fuser


class Average(Fuser):
    """Mean of the two sources."""

    def fuse(self, source_a: Tensor, source_b: Tensor) -> Tensor:
        """Fuse N×1×H×W images in [0, 1]; the order of the sources does not matter."""
        return (source_a + source_b) / 2


class Laplacian(Fuser):
    """Laplacian pyramid: at each level the detail of larger magnitude, at the top the mean.

    Burt and Adelson, IEEE Transactions on Communications 1983, kernel [1, 4, 6, 4, 1] / 16 (their a = 0.375); the
    choice by magnitude after Burt and Kolczynski, ICCV 1993. Borders are reflected when reducing, replicated when
    expanding. Odd sizes are rounded up at each level.

    Args:
        levels: most detail levels; a level is added while both sides have at least 8 pixels.
    """

    smallest: ClassVar[int] = 8

    kernel: Tensor

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"laplacian: levels must be at least 1, found {levels}")
        self.levels = levels
        taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
        self.register_buffer("kernel", torch.outer(taps, taps)[None, None], persistent=False)

    def fuse(self, source_a: Tensor, source_b: Tensor) -> Tensor:
        """Fuse N×1×H×W images in [0, 1], H and W at least 8; where details are equally strong, the first wins."""
        *details_a, top_a = self._pyramid(source_a)
        *details_b, top_b = self._pyramid(source_b)
        fused = (top_a + top_b) / 2
        for a, b in zip(reversed(details_a), reversed(details_b), strict=True):
            fused = self._expand(fused, a) + torch.where(a.abs() >= b.abs(), a, b)
        return fused.clamp(0, 1)

    def _pyramid(self, image: Tensor) -> list[Tensor]:
        """Details from fine to coarse, then what remains."""
        pyramid: list[Tensor] = []
        while len(pyramid) < self.levels and min(image.shape[-2:]) >= 8:
            smaller = self._reduce(image)
            pyramid.append(image - self._expand(smaller, image))
            image = smaller
        return [*pyramid, image]

    def _reduce(self, image: Tensor) -> Tensor:
        return F.conv2d(F.pad(image, (2, 2, 2, 2), mode="reflect"), self.kernel.to(image.dtype), stride=2)

    def _expand(self, image: Tensor, like: Tensor) -> Tensor:
        """Double `image` to the size of `like`: zeros put between the samples, then blurred, four times as bright."""
        height, width = like.shape[-2:]
        padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
        doubled = F.conv_transpose2d(padded, 4 * self.kernel.to(image.dtype), stride=2)
        return doubled[..., 4 : 4 + height, 4 : 4 + width]
