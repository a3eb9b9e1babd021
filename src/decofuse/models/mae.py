"""Masked autoencoder: a vision transformer that learns by filling in three quarters of an image.

He et al., CVPR 2022, arXiv 2111.06377.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from decofuse.models.vit import (
    ENCODER_EPSILON,
    Choice,
    ViTBlock,
    ViTEncoder,
    choose,
    initialise,
    kept_patches,
    patchify,
    sincos_table,
)


class MaskedDecoder(nn.Module):
    """Tokens of the kept patches → pixels of all patches.

    Args:
        image_size: side S of the images [pixels].
        patch: side P of a patch [pixels].
        width: D of the decoder's blocks.
        depth: blocks.
        heads: attention heads.
        inputs: width of the tokens, mapped to D; None if it is D already.
        mlp_ratio: hidden width of the feed-forward over D.
        epsilon: of the layer norms.
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
        inputs: int | None = None,
        mlp_ratio: int = 4,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.embed = nn.Identity() if inputs is None else nn.Linear(inputs, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("table", sincos_table(image_size // patch, width), persistent=False)
        self.blocks = nn.Sequential(*(ViTBlock(width, heads, mlp_ratio, epsilon) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.predict = nn.Linear(width, 3 * patch**2)

    def forward(self, tokens: Tensor, restore: Tensor) -> Tensor:
        """Predict all patches.

        Args:
            tokens: class token and kept patches, N×(1+K)×inputs.
            restore: see `Choice`, N×L with L = (S/P)².

        Returns:
            N×L×3P², ordered as by `patchify`.
        """
        tokens = self.embed(tokens)
        gaps = self.mask_token.to(tokens.dtype).expand(len(tokens), restore.shape[1] + 1 - tokens.shape[1], -1)
        shuffled = torch.cat((tokens[:, 1:], gaps), dim=1)
        patches = shuffled.gather(1, restore[..., None].expand(-1, -1, tokens.shape[-1]))
        filled = torch.cat((tokens[:, :1], patches), dim=1) + self.table
        predicted: Tensor = self.predict(self.norm(self.blocks(filled)))
        return predicted[:, 1:]


class Filled(NamedTuple):
    """A masked pass: kept tokens after the last norm, N×(1+K)×D; predicted patches, N×L×3P²; 1 where masked, N×L."""

    latent: Tensor
    predicted: Tensor
    mask: Tensor


class MaskedAutoencoder(nn.Module):
    """Encoder and decoder; the defaults are ViT-B/16 (111,655,680 parameters, 85,647,360 without the decoder).

    Args:
        image_size: side S of the images [pixels].
        patch: side P of a patch [pixels].
        width: D of the encoder.
        depth: blocks of the encoder.
        heads: attention heads of the encoder.
        decoder_width: width of the decoder.
        decoder_depth: blocks of the decoder.
        decoder_heads: attention heads of the decoder.
    """

    def __init__(
        self,
        image_size: int = 224,
        patch: int = 16,
        *,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
    ) -> None:
        super().__init__()
        self.width = width
        self.encoder = ViTEncoder(image_size, patch, width, depth, heads)
        self.norm = nn.LayerNorm(width, eps=ENCODER_EPSILON)
        self.decoder = MaskedDecoder(
            image_size, patch, decoder_width, decoder_depth, decoder_heads, inputs=width, epsilon=ENCODER_EPSILON
        )
        initialise(self.decoder)
        nn.init.normal_(self.decoder.mask_token, std=0.02)

    def tokens(self, images: Tensor) -> Tensor:
        """All tokens of images N×3×H×W after the last norm, N×(1+L)×D; nothing is masked."""
        normed: Tensor = self.norm(self.encoder(images).final)
        return normed

    def forward(self, images: Tensor, noise: Tensor) -> Filled:
        """Mask 75 % of the patches and predict all.

        Args:
            images: N×3×S×S.
            noise: decides what is masked, N×L; see `choose`.
        """
        choice = choose(noise)
        latent = self.latent(images, choice)
        mask = (choice.restore >= choice.keep.shape[1]).to(latent.dtype)
        return Filled(latent, self.decoder(latent, choice.restore), mask)

    def latent(self, images: Tensor, choice: Choice) -> Tensor:
        """Tokens of the kept patches alone, N×(1+K)×D."""
        tokens = self.encoder.with_class(kept_patches(self.encoder.patch_tokens(images), choice))
        for block in self.encoder.blocks:
            tokens = block(tokens)
        normed: Tensor = self.norm(tokens)
        return normed


def masked_patch_loss(images: Tensor, filled: Filled, patch: int, normalise_patches: bool) -> Tensor:
    """Mean squared error over the masked patches, a scalar.

    Args:
        images: target, N×3×S×S.
        filled: the masked pass.
        patch: side of a patch [pixels].
        normalise_patches: compare with each patch less its mean, over √(its unbiased variance + 1e-6).
    """
    target = patchify(images, patch)
    if normalise_patches:
        variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
        target = (target - mean) / (variance + 1e-6).sqrt()
    error = (filled.predicted - target).square().mean(dim=-1)
    return (error * filled.mask).sum() / filled.mask.sum()
