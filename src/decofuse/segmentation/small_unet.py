"""A narrow U-Net for small images, few of them, and processors: it learns from nothing in a few hundred steps.

Ronneberger et al., MICCAI 2015, arXiv 1505.04597, with strided convolutions, batch norm, sums of few channels, and
logits at half the size; parameters start as PyTorch initialises them.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from decofuse.segmentation.network import SegmentationNetwork

LEVELS = 5  # strides 2, 4, 8, 16, 32


class SmallUNet(SegmentationNetwork):
    """Encoder and decoder of 3×3 convolutions; 340,457 parameters by default with 9 classes, 187,920 in the backbone.

    Args:
        classes: number of classes.
        widths: channels at strides 2, 4, 8, 16 and 32.

    Raises:
        ValueError: an argument is out of range.
    """

    undecayed = (".norm.",)

    def __init__(self, classes: int, *, widths: Sequence[int] = (16, 32, 48, 64, 64)) -> None:
        super().__init__()
        if len(widths) != LEVELS or min(classes, *widths) < 1:
            raise ValueError(
                f"small_unet: expected widths of {LEVELS} levels and classes, at least 1 each, found {tuple(widths)} "
                f"and {classes}"
            )
        self.channels = tuple(widths[1:])
        self.backbone = _Encoder(widths)
        self.head = _Decoder(widths, classes)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """The encoder's maps, see the base class."""
        return tuple(self.backbone(image)[1:])

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the decoder, see the base class."""
        logits = self.head(self.backbone(image))
        return F.interpolate(logits, scale_factor=2, mode="bilinear")

    def given_name(self, name: str) -> str | None:
        """The name itself: a file of this network's own tensors; see the base class."""
        return None if name.startswith("head.") else name


class _Convolution(nn.Module):
    """3×3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.convolve = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.norm(self.convolve(features)))


class _Encoder(nn.Module):
    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        first = _Convolution(3, widths[0], stride=2)
        deeper = (nn.Sequential(_Convolution(a, b, stride=2), _Convolution(b, b)) for a, b in pairwise(widths))
        self.levels = nn.ModuleList([first, *deeper])

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps at strides 2 to 32, finest first."""
        maps = [image]
        for level in self.levels:
            maps.append(level(maps[-1]))
        return maps[1:]


class _Decoder(nn.Module):
    def __init__(self, widths: Sequence[int], classes: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_Convolution(a + b, a) for a, b in pairwise(widths))
        self.classify = nn.Conv2d(widths[0], classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits at stride 2 of the encoder's maps."""
        *finer, features = maps
        for level, skipped in zip(reversed(self.levels), reversed(finer), strict=True):
            larger = F.interpolate(features, scale_factor=2, mode="nearest")
            features = level(torch.cat((larger, skipped), dim=1))
        logits: Tensor = self.classify(features)
        return logits
