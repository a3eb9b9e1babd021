"""SegNeXt's block: attention between pixels by depthwise strip convolutions of several sizes.

Guo et al., SegNeXt, NeurIPS 2022, arXiv 2209.08575. All maps are N×C×H×W; the block keeps their size.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYER_SCALE = 0.01  # initial weight of a branch
STRIPS = (7, 11, 21)  # lengths of the strip convolutions [pixels]

# mmsegmentation's name segments -> ours, for decofuse.models.method.Upstream.
MSCA_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "layer_scale_1": "scale1",
        "layer_scale_2": "scale2",
        "attn.proj_1": "attention.enter",
        "attn.proj_2": "attention.leave",
        "attn.spatial_gating_unit": "attention.gate",
        "gate.conv0": "gate.local",
        **{f"gate.conv{i}_{j + 1}": f"gate.strips.{i}.{j}" for i in range(len(STRIPS)) for j in range(2)},
        "gate.conv3": "gate.mix",
        "mlp.fc1": "feed_forward.expand",
        "mlp.dwconv": "feed_forward.local",
        "mlp.fc2": "feed_forward.project",
    }
)


class DropPath(nn.Module):
    """Stochastic depth: in training, a sample's branch is 0 with a probability, and else divided by 1 − probability.

    Huang et al., ECCV 2016, arXiv 1603.09382. Draws come from torch's default generator; in evaluation, and with
    probability 0, nothing is drawn and nothing changes.

    Raises:
        ValueError: the probability is not in [0, 1).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise ValueError(f"drop path: expected a probability in [0, 1), found {probability}")
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """Map N×… to N×…; one draw a sample."""
        if not self.training or not self.probability:
            return branch
        keep = 1 - self.probability
        kept = branch.new_empty(branch.shape[:1] + (1,) * (branch.dim() - 1)).bernoulli_(keep)
        return branch * (kept / keep)

    def extra_repr(self) -> str:
        """The probability, for printing."""
        return f"{self.probability:g}"


class StripGate(nn.Module):
    """A weight for each value: depthwise 5×5, strips of three lengths added to it, a 1×1; times the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.strips = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, (1, length), padding=(0, length // 2), groups=channels),
                nn.Conv2d(channels, channels, (length, 1), padding=(length // 2, 0), groups=channels),
            )
            for length in STRIPS
        )
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W."""
        local = self.local(features)
        gate: Tensor = self.mix(sum((strip(local) for strip in self.strips), start=local))
        return gate * features


class StripAttention(nn.Module):
    """The strip gate between two 1×1 convolutions and a GELU (the exact one), plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, channels, 1)
        self.gate = StripGate(channels)
        self.leave = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W."""
        attended: Tensor = self.leave(self.gate(F.gelu(self.enter(features))))
        return attended + features


class ConvFeedForward(nn.Sequential):
    """1×1 to `ratio` · C, depthwise 3×3, GELU (the exact one), 1×1 to C; all with bias."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        wide = ratio * channels
        self.expand = nn.Conv2d(channels, wide, 1)
        self.local = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.activation = nn.GELU()
        self.project = nn.Conv2d(wide, channels, 1)


class MSCABlock(nn.Module):
    """x ← x + λ₁ · attention(norm₁(x)); x ← x + λ₂ · feed_forward(norm₂(x)); batch norms, each λ a weight a channel.

    The attention has a shortcut of its own, from its normalised input, as in mmsegmentation.

    Args:
        channels: C.
        ratio: expansion of the feed-forward.
        drop_path: probability that a sample's branch is left out in training, see `DropPath`.

    Raises:
        ValueError: `drop_path` is not in [0, 1).
    """

    def __init__(self, channels: int, ratio: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.attention = StripAttention(channels)
        self.scale1 = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.norm2 = nn.BatchNorm2d(channels)
        self.feed_forward = ConvFeedForward(channels, ratio)
        self.scale2 = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.drop_path = DropPath(drop_path)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W."""
        attended = self.scale1[:, None, None] * self.attention(self.norm1(features))
        features = features + self.drop_path(attended)
        fed = self.scale2[:, None, None] * self.feed_forward(self.norm2(features))
        result: Tensor = features + self.drop_path(fed)
        return result
