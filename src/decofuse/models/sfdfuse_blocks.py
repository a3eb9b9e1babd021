"""The blocks of SFDFuse that work on one map: feed-forwards, ConvFormer, detail-enhanced convolution.

All maps are N×C×H×W and keep their size; convolutions have stride 1 and no bias unless stated.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from decofuse.models.msca import DropPath
from decofuse.models.restormer import ChannelNorm

LAYER_SCALE = 1e-5  # initial weight of a ConvFormer's branches


class ShuffledFeedForward(nn.Module):
    """Gated feed-forward at twice the resolution: the half with a depthwise convolution times GELU of the other.

    Args:
        channels: C, even.
        kernel: side of the depthwise convolution, odd.
    """

    def __init__(self, channels: int, kernel: int = 7) -> None:
        super().__init__()
        half = channels // 2
        self.expand = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.local = nn.Conv2d(half, half, kernel, padding=kernel // 2, groups=half, bias=False)
        self.project = nn.Conv2d(2 * channels, channels, 1, bias=False)

    def gated(self, content: Tensor, gate: Tensor) -> Tensor:
        """Join the two halves, N×C/2×2H×2W each."""
        joined: Tensor = self.local(content) * F.gelu(gate)
        return joined

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W."""
        content, gate = F.pixel_shuffle(self.expand(features), 2).chunk(2, dim=1)
        projected: Tensor = self.project(F.pixel_unshuffle(self.gated(content, gate), 2))
        return projected


class DualFeedForward(ShuffledFeedForward):
    """The same with both halves convolved: depthwise 5×5, times Mish of a depthwise 3×3 of dilation 2.

    Args:
        channels: C, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, kernel=5)
        half = channels // 2
        self.dilated = nn.Conv2d(half, half, 3, padding=2, dilation=2, groups=half, bias=False)

    def gated(self, content: Tensor, gate: Tensor) -> Tensor:
        """Join the two halves, N×C/2×2H×2W each."""
        joined: Tensor = self.local(content) * F.mish(self.dilated(gate))
        return joined


class StarReLU(nn.Module):
    """gain · max(x, 0)² + bias with one learned gain and bias (Yu et al., MetaFormer Baselines, arXiv 2210.13452)."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        """Map each value."""
        return self.gain * F.relu(features).square() + self.bias


class SeparableMixer(nn.Module):
    """x + 1×1 to C of depthwise 7×7 of StarReLU of 1×1 to 2C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.expand = nn.Conv2d(channels, wide, 1, bias=False)
        self.activation = StarReLU()
        self.local = nn.Conv2d(wide, wide, 7, padding=3, groups=wide, bias=False)
        self.project = nn.Conv2d(wide, channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W."""
        mixed: Tensor = self.project(self.local(self.activation(self.expand(features))))
        return features + mixed


class NormedFeedForward(nn.Module):
    """1×1 to C of a norm of max(·, 0)² of 1×1 to 4C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.norm = ChannelNorm(4 * channels)
        self.project = nn.Conv2d(4 * channels, channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W."""
        projected: Tensor = self.project(self.norm(F.relu(self.expand(features)).square()))
        return projected


class ConvFormer(nn.Module):
    """x ← x + DP(s₁ · mixer(norm₁(x))); x ← x + DP(s₂ · feed_forward(norm₂(x))), DP being drop path.

    The channel scales s₁ and s₂ start at 1e-5, so that a new block is nearly the identity, as upstream.

    Args:
        channels: C.
        drop_path: probability that a sample's branch is left out in training.

    Raises:
        ValueError: `drop_path` is not in [0, 1).
    """

    recomputable: ClassVar[bool] = True

    def __init__(self, channels: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.mixer = SeparableMixer(channels)
        self.scale1 = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.norm2 = ChannelNorm(channels)
        self.feed_forward = NormedFeedForward(channels)
        self.scale2 = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.drop_path = DropPath(drop_path)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W."""
        mixed = self.scale1[:, None, None] * self.mixer(self.norm1(features))
        features = features + self.drop_path(mixed)
        fed = self.scale2[:, None, None] * self.feed_forward(self.norm2(features))
        result: Tensor = features + self.drop_path(fed)
        return result


class DetailConv(nn.Module):
    """A 3×3 convolution whose kernel is the sum of an unconstrained one and four of differences between neighbours.

    Chen et al., DEA-Net, IEEE TIP 2024, arXiv 2301.04805: central, horizontal, vertical and angular differences. As
    all five see the same input they are one convolution of the summed kernel and bias, with a border of zeros; the
    layers below only hold weights.

    Args:
        channels: channels of input and output.
    """

    angular_neighbours: ClassVar[tuple[int, ...]] = (3, 0, 1, 6, 4, 2, 7, 8, 5)  # each position's, row by row

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.central = nn.Conv2d(channels, channels, 3)
        self.horizontal = nn.Conv1d(channels, channels, 3)
        self.vertical = nn.Conv1d(channels, channels, 3)
        self.angular = nn.Conv2d(channels, channels, 3)
        self.plain = nn.Conv2d(channels, channels, 3)

    def kernel(self) -> Tensor:
        """The summed kernel, C×C×3×3; gradients flow to all five weights."""
        left, top = self.horizontal.weight, self.vertical.weight
        central, angular = self.central.weight, self.angular.weight
        rotated = angular.flatten(2)[..., list(self.angular_neighbours)].reshape(angular.shape)
        return (
            (central - F.pad(central.sum(dim=(2, 3), keepdim=True), (1, 1, 1, 1)))
            + torch.stack((left, torch.zeros_like(left), -left), dim=3)
            + torch.stack((top, torch.zeros_like(top), -top), dim=2)
            + (angular - rotated)
            + self.plain.weight
        )

    def bias(self) -> Tensor:
        """The summed bias, C."""
        layers = (self.central, self.horizontal, self.vertical, self.angular, self.plain)
        return torch.stack([layer.bias for layer in layers if layer.bias is not None]).sum(dim=0)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W."""
        return F.conv2d(features, self.kernel(), self.bias(), padding=1)


class DetailResidual(nn.Sequential):
    """Bottleneck of the detail branch: 1×1 to 2C, ReLU6, detail-enhanced 3×3, ReLU6, 1×1 to C; no skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.clip1 = nn.ReLU6()
        self.local = DetailConv(2 * channels)
        self.clip2 = nn.ReLU6()
        self.project = nn.Conv2d(2 * channels, channels, 1, bias=False)
