"""PSFusion's encoder of one source: a full-resolution stem, then the four stages of a ResNet.

Sources: Tang et al., PSFusion, Information Fusion 99 (2023) 101870; He et al., ResNet, CVPR 2016 (basic blocks, named
as torchvision names them); Ma et al., Funnel Activation, ECCV 2020 (FReLU). All maps are N×C×H×W.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Upstream's name segments -> ours, without the prefix of the source.
UPSTREAM_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "conv1.SFEB1": "shallow",
        "conv1.SFEB2": "reduce",
        "bn1": "norm",
        "layer3": "stages.0",
        "layer4": "stages.1",
        "layer5": "stages.2",
        "layer6": "stages.3",
    }
)


class FunnelReLU(nn.Module):
    """max(x, BN(3×3 depthwise convolution of x)), the activation of the stem."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Activate N×C×H×W."""
        return torch.maximum(features, self.norm(self.local(features)))


class BasicBlock(nn.Module):
    """ResNet's basic block: two 3×3 convolutions beside an identity or, where the shape changes, a 1×1 convolution."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != channels:
            convolution = nn.Conv2d(inputs, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def forward(self, features: Tensor) -> Tensor:
        """N×inputs×H×W → N×channels×⌈H / stride⌉×⌈W / stride⌉."""
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(features)))))
        return F.relu(inner + self.downsample(features))


class Pyramid(NamedTuple):
    """Features of six levels, finest first; C is the encoder's width.

    level1 N×C/2×H×W, level2 N×C×H/2×W/2, level3 N×C×H/4×W/4, level4 N×2C×H/8×W/8, level5 N×4C×H/16×W/16,
    level6 N×8C×H/32×W/32.
    """

    level1: Tensor
    level2: Tensor
    level3: Tensor
    level4: Tensor
    level5: Tensor
    level6: Tensor


class Encoder(nn.Module):
    """Image → six levels of features.

    Args:
        inputs: channels of the image.
        channels: width C of the second and third level; even.
        blocks: basic blocks of the four stages.
    """

    def __init__(self, inputs: int, channels: int, blocks: Sequence[int]) -> None:
        super().__init__()
        narrow = channels // 2
        self.shallow = nn.Sequential(
            nn.Conv2d(inputs, narrow, 7, padding=3),
            nn.BatchNorm2d(narrow),
            FunnelReLU(narrow),
            nn.Conv2d(narrow, narrow, 3, padding=1),
            nn.BatchNorm2d(narrow),
            FunnelReLU(narrow),
        )
        self.reduce = nn.Sequential(
            nn.Conv2d(narrow, channels, 3, stride=2, padding=1),
            nn.BatchNorm2d(channels),
            FunnelReLU(channels),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.norm = nn.BatchNorm2d(channels)
        widths = [channels, *(channels * 2**stage for stage in range(4))]
        self.stages = nn.ModuleList(
            _stage(before, width, count, stride=2 if stage else 1)
            for stage, (before, width, count) in enumerate(zip(widths[:-1], widths[1:], blocks, strict=True))
        )

    def forward(self, image: Tensor) -> Pyramid:
        """Encode N×inputs×H×W in [0, 1], not normalised; H and W multiples of 32."""
        shallow = self.shallow(image)
        features = F.relu(self.norm(self.reduce(shallow)))
        levels = [shallow, features]
        features = F.max_pool2d(features, 3, stride=2, padding=1)
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        return Pyramid(*levels)


def _stage(inputs: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))
