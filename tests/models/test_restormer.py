"""The shared blocks against naive forms of the same formulas."""

import pytest
import torch
from torch.nn import functional as F

from decofuse.models.restormer import (
    ChannelAttention,
    ChannelNorm,
    DetailNode,
    GatedFeedForward,
    base_block,
    detail_branch,
    restormer_block,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def features(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_channel_norm():
    norm = ChannelNorm(6).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = features(2, 6, 3, 5)
    centred = x - x.mean(dim=1, keepdim=True)
    scaled = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    expected = scaled * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("groups", [24, 1])
def test_channel_attention(groups):
    attention = ChannelAttention(8, heads=2, groups=groups).double()
    torch.nn.init.normal_(attention.temperature)
    x = features(2, 8, 4, 3)
    query, key, value = attention.local(attention.expand(x)).chunk(3, dim=1)
    expected = torch.empty_like(x)
    for n in range(2):
        for head in range(2):
            channels = range(4 * head, 4 * head + 4)
            for i in channels:
                scores = torch.stack([F.cosine_similarity(query[n, i].ravel(), key[n, j].ravel(), 0) for j in channels])
                weights = (scores * attention.temperature[head, 0, 0]).softmax(0)
                expected[n, i] = sum(w * value[n, j] for w, j in zip(weights, channels, strict=True))
    torch.testing.assert_close(attention(x), attention.project(expected))


def test_attention_of_black_features_is_finite():
    attention = ChannelAttention(8, heads=2, groups=24)
    x = torch.zeros(1, 8, 4, 4, requires_grad=True)
    attention(x).sum().backward()
    assert x.grad.isfinite().all()


def test_gated_feed_forward_gates_by_the_first_half():
    block = GatedFeedForward(4, hidden=6, groups=12).double()
    x = features(1, 4, 5, 5)
    wide = block.local(block.expand(x))
    assert wide.shape[1] == 12
    torch.testing.assert_close(block(x), block.project(F.gelu(wide[:, :6]) * wide[:, 6:]))


def test_published_shapes():
    assert base_block(64, 8).attention.local.weight.shape == (192, 192, 3, 3)
    assert base_block(64, 8).feed_forward.local.weight.shape == (128, 2, 3, 3)
    assert restormer_block(64, 8).attention.local.weight.shape == (192, 1, 3, 3)
    assert restormer_block(64, 8).feed_forward.local.weight.shape == (256, 1, 3, 3)


def test_a_detail_node_can_be_inverted():
    node = DetailNode(8).double()
    x = features(2, 8, 6, 5)
    first, second = node(x).chunk(2, dim=1)
    first = (first - node.eta(second)) * torch.exp(-node.rho(second))
    second = second - node.phi(first)
    mixed = torch.cat((first, second), dim=1) - node.mix.bias[:, None, None]
    restored = torch.einsum("oc,nchw->nohw", node.mix.weight[:, :, 0, 0].inverse(), mixed)
    torch.testing.assert_close(restored, x)


def test_the_detail_branch_takes_another_transform():
    branch = detail_branch(8, 2, transform=lambda channels: torch.nn.Conv2d(channels, channels, 1))
    assert isinstance(branch[1].rho, torch.nn.Conv2d)
    assert branch(torch.rand(1, 8, 3, 3)).shape == (1, 8, 3, 3)
