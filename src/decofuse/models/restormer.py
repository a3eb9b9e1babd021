"""The blocks that CDDFuse and its relatives are made of: Restormer's, and a base and a detail branch.

All maps are N×C×H×W and keep their size; convolutions have stride 1 and no bias unless stated.

Sources: Zamir et al., Restormer, CVPR 2022, arXiv 2111.09881 (attention between channels, gated feed-forward);
Zhao et al., CDDFuse, CVPR 2023, arXiv 2211.14461 (base branch after Lite Transformer, invertible detail branch).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from decofuse.models.channel_attention import channel_attention, gelu_gate

# Upstream's name segments -> ours, for decofuse.models.method.Upstream; the first entries must see theirs before
# the shorter ones do.
UPSTREAM_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "patch_embed.proj": "embed",
        "encoder_level1": "blocks",
        "encoder_level2": "blocks",
        "baseFeature": "base",
        "detailFeature": "detail",
        "reduce_channel": "reduce",
        "body": "",
        "attn": "attention",
        "scale": "temperature",
        "ffn": "feed_forward",
        "mlp": "feed_forward",
        "qkv": "expand",
        "qkv1": "expand",
        "project_in": "expand",
        "qkv_dwconv": "local",
        "qkv2": "local",
        "dwconv": "local",
        "project_out": "project",
        "proj": "project",
        "net": "",
        "theta_phi": "phi",
        "theta_rho": "rho",
        "theta_eta": "eta",
        "bottleneckBlock.0": "expand",
        "bottleneckBlock.3": "local",
        "bottleneckBlock.5": "project",
        "shffleconv": "mix",
    }
)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel: biased variance, ε = 1e-5, a weight and a bias a channel."""

    def forward(self, features: Tensor) -> Tensor:
        """Normalise N×C×H×W."""
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


Norm = Callable[[int], nn.Module]


class ChannelAttention(nn.Module):
    """Attention between channels (Restormer's MDTA): its cost grows linearly with the number of pixels.

    Args:
        channels: C, a multiple of `heads`.
        heads: groups of C / heads channels that attend among themselves.
        groups: groups of the 3×3 convolution: 3C is MDTA's depthwise one, 1 the base branch's full one.
    """

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.expand = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.local = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=groups, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return softmax(t · cos(q, k)) v, projected; cosines are taken along the pixels."""
        mixed = self.local(self.expand(features))
        return channel_attention(mixed, self.temperature, self.project.weight)


class GatedFeedForward(nn.Module):
    """Gated feed-forward (Restormer's GDFN): GELU(x₁) · x₂ of two halves after a 1×1 and a 3×3 convolution.

    Args:
        channels: C.
        hidden: channels of each half.
        groups: groups of the 3×3 convolution; 2 · hidden is GDFN's depthwise one.
    """

    def __init__(self, channels: int, hidden: int, groups: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.local = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=groups, bias=False)
        self.project = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W; GELU is the exact one."""
        projected: Tensor = self.project(gelu_gate(self.local(self.expand(features))))
        return projected


class TransformerBlock(nn.Module):
    """x ← x + attention(norm₁(x)); x ← x + feed_forward(norm₂(x)).

    Args:
        channels: C.
        attention: maps N×C×H×W to the same shape.
        feed_forward: the same.
        norm: builds norm₁ and norm₂ from C.
    """

    recomputable = True

    def __init__(self, channels: int, attention: nn.Module, feed_forward: nn.Module, norm: Norm = ChannelNorm) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.attention = attention
        self.norm2 = norm(channels)
        self.feed_forward = feed_forward

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W."""
        features = features + self.attention(self.norm1(features))
        result: Tensor = features + self.feed_forward(self.norm2(features))
        return result


def restormer_block(channels: int, heads: int, norm: Norm = ChannelNorm) -> TransformerBlock:
    """Restormer's block: depthwise attention and a feed-forward of expansion 2."""
    return TransformerBlock(
        channels,
        ChannelAttention(channels, heads, groups=3 * channels),
        GatedFeedForward(channels, hidden=2 * channels, groups=4 * channels),
        norm,
    )


def base_block(channels: int, heads: int, norm: Norm = ChannelNorm) -> TransformerBlock:
    """CDDFuse's base branch: full 3×3 convolution in the attention, feed-forward of expansion 1.

    The feed-forward's 3×3 convolution has C groups of two channels, half as many as a depthwise one: as upstream.
    """
    return TransformerBlock(
        channels,
        ChannelAttention(channels, heads, groups=1),
        GatedFeedForward(channels, hidden=channels, groups=channels),
        norm,
    )


class InvertedResidual(nn.Sequential):
    """Bottleneck of the detail branch: 1×1 to 2C, ReLU6, depthwise 3×3 (reflected border), ReLU6, 1×1 to C.

    It has no skip connection and no norm, as upstream. H and W must be at least 2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.expand = nn.Conv2d(channels, wide, 1, bias=False)
        self.clip1 = nn.ReLU6()
        self.local = nn.Conv2d(wide, wide, 3, padding=1, padding_mode="reflect", groups=wide, bias=False)
        self.clip2 = nn.ReLU6()
        self.project = nn.Conv2d(wide, channels, 1, bias=False)


class DetailNode(nn.Module):
    """Invertible affine coupling of the two channel halves: z₂ ← z₂ + φ(z₁); z₁ ← z₁ · exp(ρ(z₂)) + η(z₂).

    A 1×1 convolution with bias mixes all channels first. exp is not bounded, as upstream.

    Args:
        channels: C, even.
        transform: builds φ, ρ and η from the channels of a half.
    """

    recomputable = True

    def __init__(self, channels: int, transform: Callable[[int], nn.Module] = InvertedResidual) -> None:
        super().__init__()
        self.phi = transform(channels // 2)
        self.rho = transform(channels // 2)
        self.eta = transform(channels // 2)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W."""
        first, second = self.mix(features).chunk(2, dim=1)
        second = second + self.phi(first)
        first = first * self.rho(second).exp() + self.eta(second)
        return torch.cat((first, second), dim=1)


def detail_branch(channels: int, nodes: int, transform: Callable[[int], nn.Module] = InvertedResidual) -> nn.Sequential:
    """CDDFuse's detail branch: a chain of `nodes` detail nodes."""
    return nn.Sequential(*(DetailNode(channels, transform) for _ in range(nodes)))
