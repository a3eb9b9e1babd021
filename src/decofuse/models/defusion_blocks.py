"""Blocks of DeFusion: bottlenecks with split attention, without any normalisation.

The split attention is ResNeSt's (Zhang et al., arXiv 2004.08955) with radix 2 and one group; encoder and decoders are
runs of such bottlenecks.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EXPANSION = 4  # channels that leave a bottleneck, over those inside


class SplitAttention(nn.Module):
    """Two 3×3 convolutions, each of one half of the input, mixed channel by channel; N×w×H×W → N×w×H×W.

    Args:
        channels: w, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 2, 32)
        self.branches = nn.Conv2d(channels, 2 * channels, 3, padding=1, groups=2, bias=False)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Mix by weights that a softmax over the two branches gives, from the mean of their sum."""
        first, second = F.relu(self.branches(x)).chunk(2, dim=1)
        context = F.relu(self.squeeze((first + second).mean(dim=(2, 3), keepdim=True)))
        for_first, for_second = self.excite(context).chunk(2, dim=1)
        return torch.lerp(second, first, torch.sigmoid(for_first - for_second))


class Bottleneck(nn.Module):
    """1×1 convolution, split attention, 1×1 convolution, and a shortcut; N×c×H×W → N×4w×H'×W'.

    Args:
        inputs: c.
        channels: w.
        stride: of the average pooling, in the shortcut and, if `blur`, in the branch.
        blur: 3×3 average pooling after the attention; its border of zeros is counted.
    """

    recomputable: ClassVar[bool] = True

    def __init__(self, inputs: int, channels: int, stride: int = 1, blur: bool = False) -> None:
        super().__init__()
        outputs = EXPANSION * channels
        self.stride = stride
        self.reduce = nn.Conv2d(inputs, channels, 1, bias=False)
        self.attention = SplitAttention(channels)
        self.blur = nn.AvgPool2d(3, stride, padding=1) if blur else nn.Identity()
        self.expand = nn.Conv2d(channels, outputs, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False) if stride != 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Sides are divided by the stride, rounded up."""
        branch = self.expand(self.blur(self.attention(F.relu(self.reduce(x)))))
        if self.stride != 1:
            x = F.avg_pool2d(x, self.stride, ceil_mode=True, count_include_pad=False)
        return F.relu(branch + self.shortcut(x))


def stage(inputs: int, channels: int, blocks: int, stride: int = 1, blur: bool = False) -> nn.Sequential:
    """A run of bottlenecks; only the first one has the stride and the blur."""
    first = Bottleneck(inputs, channels, stride, blur)
    return nn.Sequential(first, *(Bottleneck(EXPANSION * channels, channels) for _ in range(blocks - 1)))


class Encoder(nn.Module):
    """Image N×3×H×W → features at ½, ¼ and ⅛ of its sides, with 4, 8 and 16 times `width` channels.

    Features at full size feed the next stage and nothing else. The first stage blurs although its stride is 1.
    """

    def __init__(self, width: int, blocks: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.stages = nn.ModuleList(
            (
                stage(width, width // 2, blocks[0], blur=True),
                stage(2 * width, width, blocks[1]),
                stage(4 * width, 2 * width, blocks[2], stride=2, blur=True),
                stage(8 * width, 4 * width, blocks[3], stride=2, blur=True),
            )
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode; odd sides are rounded up at each halving."""
        full, half, quarter, eighth = self.stages
        fine = half(F.max_pool2d(full(F.relu(self.stem(image))), 3, stride=2, padding=1))
        medium = quarter(fine)
        return fine, medium, eighth(medium)


class Decoder(nn.Module):
    """Joint features and those of one or both images → an embedding N×width×H×W.

    Args:
        width: channels of the embedding.
        inputs: channels that enter each of the four stages, from coarse to fine.
        channels: w of their bottlenecks.
        blocks: their numbers of bottlenecks.
    """

    def __init__(self, width: int, inputs: Sequence[int], channels: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stage(*sizes) for sizes in zip(inputs, channels, blocks, strict=True))

    def forward(self, joint: Tensor, skips: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Decode.

        Args:
            joint: features of both images, at ⅛.
            skips: features of the encoder, at ½, ¼ and ⅛.
            size: H and W.
        """
        fine, medium, coarse = skips
        x: Tensor = self.stages[0](torch.cat((joint, coarse), dim=1))
        for decode, skip in zip(self.stages[1:3], (medium, fine), strict=True):
            x = decode(torch.cat((_doubled(x, skip.shape[-2:]), skip), dim=1))
        embedding: Tensor = self.stages[3](_doubled(x, size))
        return embedding


def _doubled(x: Tensor, size: Sequence[int]) -> Tensor:
    """Twice the size, bilinear; then a row or column less where `size` is odd, nearest."""
    doubled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return doubled if doubled.shape[-2:] == torch.Size(size) else F.interpolate(doubled, tuple(size), mode="nearest")
