"""The Restormer family's blocks in their plain form, as published code has them: what the fast form is held against.

`plain(network)` swaps the blocks of a network for these, with the same parameters: every pixel's norm is computed on a
copy with the channels last, by separate operations; queries, keys and values are copied into one contiguous map each,
and the normalised queries and keys are computed as maps.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from decofuse.models.restormer import ChannelAttention, ChannelNorm


class PlainNorm(nn.Module):
    """Layer norm over channels by way of N×HW×C."""

    def __init__(self, norm: ChannelNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, features: Tensor) -> Tensor:
        n, c, h, w = features.shape
        tokens = features.permute(0, 2, 3, 1).reshape(n, h * w, c).contiguous()
        mean = tokens.mean(-1, keepdim=True)
        variance = tokens.var(-1, keepdim=True, unbiased=False)
        tokens = (tokens - mean) / torch.sqrt(variance + 1e-5) * self.weight + self.bias
        return tokens.reshape(n, h, w, c).permute(0, 3, 1, 2).contiguous()


class PlainAttention(nn.Module):
    """Attention between channels with normalised maps."""

    def __init__(self, attention: ChannelAttention) -> None:
        super().__init__()
        self.heads, self.temperature = attention.heads, attention.temperature
        self.expand, self.local, self.project = attention.expand, attention.local, attention.project

    def forward(self, features: Tensor) -> Tensor:
        n, c, h, w = features.shape
        shape = (n, self.heads, c // self.heads, h * w)
        query, key, value = (part.reshape(shape).contiguous() for part in self.local(self.expand(features)).chunk(3, 1))
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        attention = ((query @ key.transpose(-2, -1)) * self.temperature).softmax(dim=-1)
        joined: Tensor = self.project((attention @ value).reshape(n, c, h, w))
        return joined


def plain(network: nn.Module) -> nn.Module:
    """Swap the blocks of `network` in place."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ChannelNorm):
                setattr(parent, name, PlainNorm(child))
            elif isinstance(child, ChannelAttention):
                setattr(parent, name, PlainAttention(child))
    return network
