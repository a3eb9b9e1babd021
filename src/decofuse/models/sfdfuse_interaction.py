"""The blocks of SFDFuse that split a map by frequency or join two maps.

All maps are N×C×H×W and keep their size unless stated; convolutions have stride 1 and no bias unless stated. The
published workflow calls `FrequencyBranch` LW, `FeatureInteraction` CSFF and `GuidedFusion` GLF.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from decofuse.models.restormer import ChannelNorm

Wavelet = Literal["fixed", "learned"]


def haar_filters() -> Tensor:
    """The filters ll, lh, hl and hh of a one-level Haar transform, 4×2×2; analysis and synthesis filters are equal.

    Their entries are ±0.49999997, the float32 square of 1/√2 that upstream computes, not ±½.
    """
    low, high = torch.tensor([1.0, 1.0]), torch.tensor([1.0, -1.0])
    entry = torch.tensor(2**-0.5, dtype=torch.float32).square()
    return entry * torch.stack([torch.outer(rows, columns) for columns in (low, high) for rows in (low, high)])


class FrequencyBranch(nn.Module):
    """A one-level Haar transform of each channel, brought back to full size: low and high frequencies.

    The filters are tensors of the network, so that weights bring theirs.

    Args:
        channels: C.
        wavelet: `fixed` keeps the filters as they are, as upstream; `learned` trains them.
    """

    filters: Tensor  # 4C×1×2×2

    def __init__(self, channels: int, wavelet: Wavelet) -> None:
        super().__init__()
        filters = haar_filters().repeat(channels, 1, 1)[:, None]
        if wavelet == "learned":
            self.filters = nn.Parameter(filters)
        else:
            self.register_buffer("filters", filters)
        self.enlarge = nn.ConvTranspose2d(3 * channels, channels, 2, stride=2)

    def bands(self, features: Tensor) -> tuple[Tensor, ...]:
        """The sub-bands ll, lh, hl and hh of N×C×H×W, H and W even; each N×C×H/2×W/2."""
        bands = F.conv2d(features, self.filters, stride=2, groups=features.shape[1])
        return tuple(bands[:, band::4] for band in range(4))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Low and high frequencies of N×C×H×W, H and W even; each N×C×H×W."""
        lowest, *others = self.bands(features)
        low = F.interpolate(lowest, size=features.shape[-2:], mode="bilinear", align_corners=False)
        return low, F.leaky_relu(self.enlarge(torch.cat(others, dim=1)), 0.01)


class CrossAttention(nn.Module):
    """Attention between the channels of two maps, in both directions and with the same weights.

    The query that is added to each result is the normalised one, whose entries shrink as 1/√(HW): as upstream.

    Args:
        channels: C, a multiple of `heads`.
        heads: groups of C / heads channels.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.expand = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.local = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Join two maps N×C×H×W into one; symmetric in them."""
        query1, key1, value1 = self._mixed(first)
        query2, key2, value2 = self._mixed(second)
        from_first = self._weights(query2, key1) @ value1 + query2
        from_second = self._weights(query1, key2) @ value2 + query1
        projected: Tensor = self.project((from_first + from_second).reshape(first.shape))
        return projected + first + second

    def _mixed(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, N × heads × C/heads × HW; the first two have norm 1 along the pixels."""
        n, c, h, w = features.shape
        mixed = self.local(self.expand(features)).reshape(n, 3, self.heads, c // self.heads, h * w)
        query, key, value = mixed.unbind(1)
        return F.normalize(query, dim=-1), F.normalize(key, dim=-1), value

    def _weights(self, query: Tensor, key: Tensor) -> Tensor:
        return (query @ key.transpose(-2, -1)).mul(self.temperature).softmax(dim=-1)


class FeatureInteraction(nn.Module):
    """u = attention(norm₁(x), norm₁(y)); u + feed_forward(norm₂(u)). No residual of the raw maps, as upstream.

    Args:
        channels: C, even and a multiple of `heads`.
        heads: attention heads.
        feed_forward: maps N×C×H×W to the same shape.
    """

    recomputable: ClassVar[bool] = True

    def __init__(self, channels: int, heads: int, feed_forward: nn.Module) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.attention = CrossAttention(channels, heads)
        self.norm2 = ChannelNorm(channels)
        self.feed_forward = feed_forward

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Join two maps N×C×H×W into one; symmetric in them."""
        joined = self.attention(self.norm1(first), self.norm1(second))
        result: Tensor = joined + self.feed_forward(self.norm2(joined))
        return result


class GuidedFusion(nn.Module):
    """Two maps into one, guided by attention to channels, places and pixels of their concatenation z.

    project(z · GELU(sigmoid(g)) + z), g from z and the sum of a weight a channel and a weight a place. After the
    content-guided attention of Chen et al., DEA-Net, IEEE TIP 2024; the GELU after the sigmoid, which keeps the gate
    below 0.85, is upstream's. H and W must be at least 4 (reflected border).

    Args:
        channels: C of each map, a multiple of 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        both, few = 2 * channels, channels // 4
        self.channel = nn.Sequential(nn.Conv2d(both, few, 1), nn.ReLU(), nn.Conv2d(few, both, 1))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, padding_mode="reflect")
        self.pixel = nn.Conv2d(2 * both, both, 7, padding=3, padding_mode="reflect", groups=both)
        self.project = nn.Conv2d(both, channels, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Join two maps N×C×H×W into one."""
        both = torch.cat((first, second), dim=1)
        of_channels = self.channel(both.mean(dim=(2, 3), keepdim=True))
        extremes = torch.cat((both.mean(dim=1, keepdim=True), both.amax(dim=1, keepdim=True)), dim=1)
        coarse = self.spatial(extremes) + of_channels
        gate = F.gelu(torch.sigmoid(self.pixel(torch.stack((both, coarse), dim=2).flatten(1, 2))))
        projected: Tensor = self.project(both * gate + both)
        return projected
