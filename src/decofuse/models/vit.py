"""Vision transformer parts: block, sin-cos position table, encoder, masking, and patches to images and back.

Tokens are N×(1+L)×D: the class token, then the patches row by row. Sources: Dosovitskiy et al., ICLR 2021, arXiv
2010.11929; position table, masking and initialisation as in He et al., MAE, CVPR 2022, arXiv 2111.06377.
"""

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ENCODER_EPSILON = 1e-6
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in [0, 1]


class ViTBlock(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + feed-forward(norm(x)), exact GELU.

    Args:
        width: D, a multiple of `heads`.
        heads: attention heads.
        mlp_ratio: hidden width of the feed-forward over D.
        epsilon: of both layer norms.
        drop_path: chance that a sample skips a branch in training (stochastic depth, arXiv 1603.09382).
    """

    recomputable: ClassVar[bool] = True

    def __init__(
        self, width: int, heads: int, mlp_ratio: int = 4, epsilon: float = 1e-5, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=epsilon)
        self.expand = nn.Linear(width, mlp_ratio * width)
        self.reduce = nn.Linear(mlp_ratio * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map N×T×D to N×T×D."""
        tokens = tokens + self._dropped(self._attend(self.norm1(tokens)))
        return tokens + self._dropped(self.reduce(F.gelu(self.expand(self.norm2(tokens)))))

    def _attend(self, tokens: Tensor) -> Tensor:
        n, t, d = tokens.shape
        query, key, value = self.qkv(tokens).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, t, d)
        projected: Tensor = self.project(mixed)
        return projected

    def _dropped(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return branch
        keep = 1 - self.drop_path
        return branch * branch.new_empty(len(branch), 1, 1).bernoulli_(keep) / keep


class Encoded(NamedTuple):
    """Tokens N×(1+L)×D as they enter the first block, after it, and after the last one (no norm)."""

    embedded: Tensor
    early: Tensor
    final: Tensor


class ViTEncoder(nn.Module):
    """Image → tokens; initialised as MAE's.

    Args:
        image_size: side S of the images that the position table is made for [pixels]; a multiple of `patch`.
        patch: side P of a patch [pixels].
        width: D, a multiple of 4 and of the heads.
        depth: blocks.
        heads: attention heads.
        last_heads: attention heads of the last block; None for as many as the others.
        mlp_ratio: hidden width of the feed-forward over D.
        drop_path: see `ViTBlock`; the last block has none.
    """

    table: Tensor

    def __init__(
        self,
        image_size: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        *,
        last_heads: int | None = None,
        mlp_ratio: int = 4,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.register_buffer("table", sincos_table(image_size // patch, width), persistent=False)
        before = [ViTBlock(width, heads, mlp_ratio, ENCODER_EPSILON, drop_path) for _ in range(depth - 1)]
        self.blocks = nn.ModuleList([*before, ViTBlock(width, last_heads or heads, mlp_ratio, ENCODER_EPSILON)])
        nn.init.normal_(self.class_token, std=0.02)
        initialise(self)

    def forward(self, images: Tensor) -> Encoded:
        """Encode normalised images N×3×H×W, H and W multiples of P; the table is interpolated where they are not S."""
        embedded = self.with_class(self.patch_tokens(images))
        early = final = self.blocks[0](embedded)
        for block in self.blocks[1:]:
            final = block(final)
        return Encoded(embedded, early, final)

    def patch_tokens(self, images: Tensor) -> Tensor:
        """Embedded patches with their positions, N×L×D."""
        patches: Tensor = self.embed(images)
        table = interpolate_table(self.table, *patches.shape[-2:])
        return patches.flatten(2).transpose(1, 2) + table[:, 1:]

    def with_class(self, tokens: Tensor) -> Tensor:
        """Put the class token, whose position is 0, in front of N×T×D."""
        return torch.cat((self.class_token.expand(len(tokens), -1, -1), tokens), dim=1)


def initialise(module: nn.Module) -> None:
    """MAE's initialisation: linear maps, and convolutions as matrices, Xavier-uniform; biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(part.weight.view(len(part.weight), -1))
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def normalise(images: Tensor) -> Tensor:
    """RGB N×3×H×W in [0, 1] less ImageNet's mean, over its deviation."""
    mean = torch.tensor(MEAN, dtype=images.dtype, device=images.device)[:, None, None]
    deviation = torch.tensor(DEVIATION, dtype=images.dtype, device=images.device)[:, None, None]
    return (images - mean) / deviation


def sincos_table(grid: int, width: int) -> Tensor:
    """Fixed positions of the class token (0) and of grid × grid patches, 1×(1+G²)×D float32.

    A patch in row i and column j has sin(jω), cos(jω), sin(iω), cos(iω) with ω = 10000^(−k/q), k = 0 … q − 1, q = D/4.

    Args:
        grid: patches in a row and in a column.
        width: D, a multiple of 4.
    """
    quarter = width // 4
    frequencies = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * frequencies
    waves = torch.cat((angles.sin(), angles.cos()), dim=1)  # of a coordinate: G × D/2
    patches = torch.cat((waves.repeat(grid, 1), waves.repeat_interleave(grid, dim=0)), dim=1)
    return torch.cat((torch.zeros(1, width, dtype=torch.float64), patches))[None].float()


def interpolate_table(table: Tensor, rows: int, columns: int, excess: float = 0.1) -> Tensor:
    """Positions for another grid: bicubic (a = −0.75); the table itself where the grid is its own.

    Args:
        table: 1×(1+G²)×D.
        rows: patches in a column.
        columns: patches in a row.
        excess: patches added to each side of the grid in the scale of the coordinates: 0.1 is what published code of
            DeFusion++ (and of DINO before it) does, 0 is DeiT's.

    Returns:
        1×(1+rows·columns)×D.
    """
    grid = math.isqrt(table.shape[1] - 1)
    if (rows, columns) == (grid, grid):
        return table
    plane = table[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
    if excess:
        scale = ((rows + excess) / grid, (columns + excess) / grid)
        resized = F.interpolate(plane, scale_factor=scale, mode="bicubic", recompute_scale_factor=False)
    else:
        resized = F.interpolate(plane, size=(rows, columns), mode="bicubic")
    return torch.cat((table[:, :1], resized.flatten(2).transpose(1, 2)), dim=1)


def patchify(images: Tensor, patch: int) -> Tensor:
    """Pixels of each patch, N×C×H×W → N×L×(P²·C): row in the patch, column in the patch, channel."""
    n, c, h, w = images.shape
    cut = images.reshape(n, c, h // patch, patch, w // patch, patch)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, patch * patch * c)


def unpatchify(patches: Tensor, patch: int, rows: int, columns: int) -> Tensor:
    """The inverse of `patchify`: N×(rows·columns)×(P²·C) → N×C×(rows·P)×(columns·P)."""
    cut = patches.reshape(len(patches), rows, columns, patch, patch, -1)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), -1, rows * patch, columns * patch)


class Choice(NamedTuple):
    """A random choice of patches: indices of those kept, N×K in random order, and each patch's place in that order."""

    keep: Tensor
    restore: Tensor


def choose(noise: Tensor, share: float = 0.25) -> Choice:
    """Keep the `share` of patches with the lowest noise.

    Args:
        noise: N×L.
        share: K = ⌊L · share⌋ patches are kept.
    """
    order = noise.argsort(dim=1)
    return Choice(order[:, : int(noise.shape[1] * share)], order.argsort(dim=1))


def kept_patches(patches: Tensor, choice: Choice) -> Tensor:
    """The chosen patches of N×L×D, N×K×D."""
    return patches.gather(1, choice.keep[..., None].expand(-1, -1, patches.shape[-1]))


def kept_tokens(tokens: Tensor, choice: Choice) -> Tensor:
    """The class token and the chosen patches of N×(1+L)×D, N×(1+K)×D."""
    return torch.cat((tokens[:, :1], kept_patches(tokens[:, 1:], choice)), dim=1)
