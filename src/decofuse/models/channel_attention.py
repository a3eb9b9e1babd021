"""The two operations between the convolutions of a Restormer block, with as few passes over the maps as they need.

Both want maps with the channels last in memory (torch.channels_last) and are right with any. Gradients are written out,
so that no map is copied, concatenated or kept that the next convolution does not need; they cannot be differentiated
again.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SMALLEST_SQUARE = 1e-24  # of a norm that divides, as torch.nn.functional.normalize has it


def channel_attention(mixed: Tensor, temperature: Tensor, project: Tensor) -> Tensor:
    """Project · softmax(t · cos(q, k)) · v: channels attend to each other within a head, pixels are what is compared.

    The projection and the attention matrix are multiplied first, as both mix channels: one product a pixel is left.

    Args:
        mixed: queries, keys and values, N×3C×H×W.
        temperature: t, heads×1×1.
        project: weight of the 1×1 convolution that follows, C×C×1×1.

    Returns:
        N×C×H×W.
    """
    n, triple, h, w = mixed.shape
    tokens = mixed.permute(0, 2, 3, 1).reshape(n, h * w, triple)
    joined: Tensor = _ChannelAttention.apply(tokens, temperature, project.flatten(1))  # type: ignore[no-untyped-call]
    return joined.reshape(n, h, w, triple // 3).permute(0, 3, 1, 2)


def gelu_gate(halves: Tensor) -> Tensor:
    """GELU(x₁) · x₂ (exact GELU) of the two halves of N×2C×H×W along the channels: N×C×H×W."""
    gated: Tensor = _GeluGate.apply(halves)  # type: ignore[no-untyped-call]
    return gated


class _ChannelAttention(torch.autograd.Function):
    """On tokens N×HW×3C. The small matrices between the maps are made again in the backward pass, by autograd."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, temperature: Tensor, project: Tensor) -> Tensor:
        query, key, value = tokens.chunk(3, dim=-1)
        wide = torch.promote_types(tokens.dtype, torch.float32)
        products = torch.bmm(query.transpose(1, 2), key)
        query2, key2 = (torch.linalg.vector_norm(maps, dim=1, dtype=wide).square() for maps in (query, key))
        ctx.save_for_backward(tokens, products, query2, key2, temperature, project)
        matrix = _matrix(products, query2, key2, temperature, project)
        return torch.bmm(value, matrix.to(tokens.dtype).transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        tokens, *small = ctx.saved_tensors
        gradient = gradients[0].to(tokens.dtype)
        channels = tokens.shape[-1] // 3
        with torch.enable_grad():
            small = [part.detach().requires_grad_() for part in small]
            matrix = _matrix(*small)
        through = torch.bmm(gradient.transpose(1, 2), tokens[..., 2 * channels :]).to(matrix.dtype)
        products, query2, key2, temperature, project = torch.autograd.grad(matrix, small, through)
        # d(q, k) = (q, k) · [[2 diag(dq²), dG], [dGᵀ, 2 diag(dk²)]]: one product instead of two and two sums of maps.
        products = products.to(query2.dtype)
        upper = torch.cat((torch.diag_embed(2 * query2), products), dim=2)
        lower = torch.cat((products.transpose(1, 2), torch.diag_embed(2 * key2)), dim=2)
        weights = torch.cat((upper, lower), dim=1).to(tokens.dtype)
        back = torch.empty_like(tokens)
        torch.bmm(tokens[..., : 2 * channels], weights, out=back[..., : 2 * channels])
        torch.bmm(gradient, matrix.detach().to(tokens.dtype), out=back[..., 2 * channels :])
        return back, temperature, project


def _matrix(products: Tensor, query2: Tensor, key2: Tensor, temperature: Tensor, project: Tensor) -> Tensor:
    """N×C×C that maps the values of a pixel to its result.

    Args:
        products: qᵀk of all pairs of channels, N×C×C; those within a head count.
        query2: squared norm of each query channel, N×C.
        key2: the same of the keys.
        temperature: heads×1×1.
        project: C×C.
    """
    n, channels = query2.shape
    heads = temperature.shape[0]
    size = channels // heads
    within = products.reshape(n, heads, size, heads, size).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
    norms = [squares.clamp_min(SMALLEST_SQUARE).sqrt().reshape(n, heads, size) for squares in (query2, key2)]
    cosines = within.to(query2.dtype) / (norms[0].unsqueeze(-1) * norms[1].unsqueeze(-2))
    attention = (cosines * temperature).softmax(dim=-1)
    return torch.einsum("chi,nhij->nchj", project.reshape(channels, heads, size), attention).flatten(2)


class _GeluGate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, halves: Tensor) -> Tensor:
        ctx.save_for_backward(halves)
        gate, content = halves.chunk(2, dim=1)
        return F.gelu(gate).mul_(content)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (halves,), gradient = ctx.saved_tensors, gradients[0]
        gate, content = halves.chunk(2, dim=1)
        back = torch.empty_like(halves)
        first, second = back.chunk(2, dim=1)
        torch.mul(F.gelu(gate), gradient, out=second)
        torch.ops.aten.gelu_backward.grad_input(gradient * content, gate, approximate="none", grad_input=first)
        return back
