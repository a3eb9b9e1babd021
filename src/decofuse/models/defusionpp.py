"""DeFusion++: decomposition by self-supervision, on the tokens of a vision transformer.

Liang, Jiang, Ma Q., Liu, Ma J.: "Fusion from Decomposition: A Self-Supervised Approach for Image Fusion and Beyond",
arXiv 2410.12274. One image is degraded into two views; the network must find what both show (common), what one alone
shows (unique) and the image itself (fused), and predict it from a quarter of the tokens (masked feature modelling). In
a second task it must predict, from the parts of an infrared-visible pair, what a frozen teacher for each modality
makes of its image. The published teachers are masked autoencoders without public weights; here they are trained.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from decofuse.losses.cud import part_masks, summed_l1
from decofuse.losses.ssim import ssim_loss
from decofuse.models.colour import split
from decofuse.models.defusionpp_blocks import (
    Decomposition,
    Direction,
    Fusion,
    Parts,
    PatchHead,
    Predictions,
    Predictors,
)
from decofuse.models.defusionpp_names import UPSTREAM
from decofuse.models.mae import MaskedAutoencoder, MaskedDecoder, masked_patch_loss
from decofuse.models.method import Fuser, Phase
from decofuse.models.vit import Encoded, ViTEncoder, choose, normalise, unpatchify
from decofuse.models.windows import in_windows

__all__ = ["PHASES", "UPSTREAM", "DeFusionPP"]

BORDER = 16  # reflected on each side before fusing [pixels]
DROP_PATH = 0.1
MODALITIES = ("infrared", "visible")


class Shown(NamedTuple):
    """What two images are taken apart into and put together to, each N×3×H×W; not limited to [0, 1] by itself."""

    common: Tensor
    unique_a: Tensor
    unique_b: Tensor
    fused: Tensor


class Pretext(NamedTuple):
    """The images, and what masked feature modelling makes of a quarter of the tokens, N×3×S×S."""

    shown: Shown
    reconstruction: Tensor


class DeFusionPP(Fuser):
    """The network; the defaults are the published sizes (13,717,632 parameters without the teachers).

    Args:
        image_size: side S of the images that are trained on [pixels]; at least two patches.
        patch: side P of a patch [pixels].
        width: D, a multiple of 4 and of all heads.
        depth: blocks of the encoder.
        heads: attention heads of the encoder.
        last_heads: attention heads of its last block.
        decoder_heads: attention heads of all other parts.
        mlp_ratio: hidden width of the feed-forwards over D.
        fuse_skip: whether the head that shows the fused image gets the fused tokens beside their refined form.
        tiles: whether to fuse in windows of S × S that overlap by half, not as a whole; attention to all of a large
            image takes long where patches are small.
        teacher: sizes of both teachers, see `MaskedAutoencoder`; ViT-B as published where left out.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        image_size: int = 224,
        patch: int = 16,
        *,
        width: int = 192,
        depth: int = 12,
        heads: int = 6,
        last_heads: int = 12,
        decoder_heads: int = 16,
        mlp_ratio: int = 4,
        fuse_skip: bool = True,
        tiles: bool = False,
        teacher: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        if min(patch, width, depth, heads, last_heads, decoder_heads, mlp_ratio) < 1:
            raise ValueError("defusionpp: patch, width, depth, heads and mlp_ratio must be at least 1")
        if image_size % patch or image_size < 2 * patch:
            raise ValueError(f"defusionpp: image_size must be two or more whole patches of {patch}, found {image_size}")
        if any(width % divisor for divisor in (4, heads, last_heads, decoder_heads)):
            raise ValueError(f"defusionpp: width must be a multiple of 4 and of all heads, found {width}")
        if image_size % 2:
            raise ValueError(f"defusionpp: image_size must be even, found {image_size}")
        self.image_size, self.patch = image_size, patch
        self.fuse_skip, self.tiles = fuse_skip, tiles
        self.encoder = ViTEncoder(
            image_size, patch, width, depth, heads, last_heads=last_heads, mlp_ratio=mlp_ratio, drop_path=DROP_PATH
        )
        self.decomposition = Decomposition(width, decoder_heads, mlp_ratio)
        self.fusion = Fusion(width, decoder_heads, mlp_ratio)
        self.head_common = PatchHead(width, decoder_heads, mlp_ratio, patch)
        self.head_unique = PatchHead(width, decoder_heads, mlp_ratio, patch)
        self.head_fused = PatchHead(width, decoder_heads, mlp_ratio, patch)
        self.mim = MaskedDecoder(image_size, patch, width, 2, decoder_heads, mlp_ratio=mlp_ratio)
        self.teacher_infrared = MaskedAutoencoder(image_size, patch, **teacher)
        self.teacher_visible = MaskedAutoencoder(image_size, patch, **teacher)
        self.predictors = Predictors(width, self.teacher_visible.width)

    def forward(
        self, first: Tensor, second: Tensor, direction: Direction | None = None, noise: Tensor | None = None
    ) -> Pretext:
        """Take two images apart, put them together, and do so once more from a quarter of the tokens.

        Args:
            first: N×3×S×S in [0, 1].
            second: the same.
            direction: which image's values the common tokens hold; drawn for the batch if left out.
            noise: decides which tokens are kept, N×L, see `decofuse.models.vit.choose`; drawn if left out.
        """
        if direction is None:
            direction = "12" if torch.rand(()).item() > 0.5 else "21"
        parts = self.take_apart(first, second, direction)
        if noise is None:
            noise = _noise(first, self.patch)
        choice = choose(noise)
        predicted = self.mim(self.fusion(parts.kept(choice)).refined, choice.restore)
        return Pretext(self._show(parts, first), self._image(predicted, first))

    def take_apart(self, first: Tensor, second: Tensor, direction: Direction) -> Parts:
        """Common and unique tokens of two images N×3×H×W in [0, 1], H and W multiples of the patch."""
        both = self.encoder(normalise(torch.cat((first, second))))
        one, two = (Encoded(*halves) for halves in zip(*(tokens.chunk(2) for tokens in both), strict=True))
        parts: Parts = self.decomposition(one, two, direction)
        return parts

    def predict(self, infrared: Tensor, visible: Tensor) -> Predictions:
        """What the teachers make of a pair N×3×S×S in [0, 1], predicted from its parts."""
        predictions: Predictions = self.predictors(self.take_apart(infrared, visible, "both"))
        return predictions

    def decompose(self, source_a: Tensor, source_b: Tensor) -> Shown:
        """What `fuse` takes two images apart into, as RGB N×3×H×W in [0, 1]; `unique_a` is of `source_a`."""
        grey = source_a.shape[1] == 1
        first, second = self._ordered(source_a, source_b)
        shown = self._show(self.take_apart(first, second, "12"), first)
        common, of_first, of_second, fused = (_cut_out(image, source_a) for image in shown)
        return Shown(common, of_second, of_first, fused) if grey else Shown(common, of_first, of_second, fused)

    def fuse(self, source_a: Tensor, source_b: Tensor) -> Tensor:
        """Fuse two images of any size in [0, 1].

        Grey ones (visible and infrared, N×1×H×W) are repeated to three channels, infrared first as upstream has it;
        the result is Y = 0.299 R + 0.587 G + 0.114 B of the three that come out. RGB ones (N×3×H×W) enter in their
        order, RGB comes out. What lies outside of [0, 1] is clamped.
        """
        first, second = self._ordered(source_a, source_b)
        joined = in_windows(self._joined, first, second, self.image_size) if self.tiles else self._joined(first, second)
        fused = _cut_out(joined, source_a)
        return fused if source_a.shape[1] == 3 else split(fused)[0]

    def _joined(self, first: Tensor, second: Tensor) -> Tensor:
        return self._fused(self.take_apart(first, second, "12"), first)

    def _ordered(self, source_a: Tensor, source_b: Tensor) -> tuple[Tensor, Tensor]:
        """The first and the second image that the network is given, RGB and padded."""
        if source_a.shape[1] == 1:
            source_a, source_b = source_b.expand(-1, 3, -1, -1), source_a.expand(-1, 3, -1, -1)
        return _padded(source_a, self.patch), _padded(source_b, self.patch)

    def _show(self, parts: Parts, like: Tensor) -> Shown:
        common, unique_a, unique_b = (part.deep + part.shallow for part in parts[:3] if part)
        return Shown(
            self._image(self.head_common(common), like),
            self._image(self.head_unique(unique_a), like),
            self._image(self.head_unique(unique_b), like),
            self._fused(parts, like),
        )

    def _fused(self, parts: Parts, like: Tensor) -> Tensor:
        joined = self.fusion(parts)
        tokens = joined.refined + joined.tokens if self.fuse_skip else joined.refined
        return self._image(self.head_fused(tokens), like)

    def _image(self, patches: Tensor, like: Tensor) -> Tensor:
        """The image of patches N×L×3P², of the size of `like`."""
        rows, columns = (side // self.patch for side in like.shape[-2:])
        return unpatchify(patches, self.patch, rows, columns)


def cud_terms(network: DeFusionPP, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Terms of the loss on degraded views; direction and masked tokens are drawn for the batch.

    Args:
        network: the network.
        batch: `view_a`, `view_b` and the clean `image`, N×3×S×S in [0, 1]; `mask_a` and `mask_b`, N×1×S×S, 1 where the
            view shows the image and 0 elsewhere.
    """
    return pretext_terms(network(batch["view_a"], batch["view_b"]), batch)


def pretext_terms(pretext: Pretext, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same of images already computed.

    Terms are means over a sample, summed over the samples; black is wanted outside of the masks, and
    `reconstruction` is counted twice, as upstream does.
    """
    image, masks = batch["image"], part_masks(batch["mask_a"], batch["mask_b"])
    fused = pretext.shown.fused
    parts = zip(masks._fields, pretext.shown, masks, strict=False)
    return {
        **{name: summed_l1(found, mask * image) for name, found, mask in parts},
        "fusion_l1": summed_l1(fused, image),
        "fusion_dssim": len(image) * ssim_loss(fused, image, "kornia_0.5"),
        "reconstruction": 2 * summed_l1(pretext.reconstruction, image),
    }


def mae_terms(network: DeFusionPP, batch: Mapping[str, Tensor], normalise_patches: bool = True) -> dict[str, Tensor]:
    """Terms of the teachers' loss: squared error of the masked patches of each modality.

    Args:
        network: the network, of which only the teachers take part.
        batch: `infrared` and `visible`, N×3×S×S in [0, 1].
        normalise_patches: compare with patches of mean 0 and deviation 1.
    """
    terms = {}
    for modality in MODALITIES:
        teacher, images = network.get_submodule(f"teacher_{modality}"), normalise(batch[modality])
        filled = teacher(images, _noise(images, network.patch))
        terms[modality] = masked_patch_loss(images, filled, network.patch, normalise_patches)
    return terms


def pair_terms(network: DeFusionPP, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Terms of the loss on pairs: L1 to the teachers' tokens, and between the common tokens of both directions.

    Args:
        network: the network.
        batch: `infrared` and `visible`, N×3×S×S in [0, 1].
    """
    found = network.predict(batch["infrared"], batch["visible"])
    with torch.no_grad():
        infrared = network.teacher_infrared.tokens(normalise(batch["infrared"]))
        visible = network.teacher_visible.tokens(normalise(batch["visible"]))
    return {
        "teacher_infrared": F.l1_loss(found.infrared, infrared),
        "teacher_visible": F.l1_loss(found.visible, visible),
        "agreement": F.l1_loss(found.common, found.reverse),
    }


def mcud_terms(network: DeFusionPP, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Terms of `cud_terms` and of `pair_terms` on a batch that has the keys of both."""
    return {**cud_terms(network, batch), **pair_terms(network, batch)}


_CUD = ("encoder", "decomposition", "fusion", "head_common", "head_unique", "head_fused", "mim")
PHASES: Mapping[str, Phase] = MappingProxyType(
    {
        "cud": Phase(trains=_CUD, terms=cud_terms, carries=False, joint=True),
        "mae": Phase(
            trains=("teacher_infrared", "teacher_visible"),
            terms=mae_terms,
            previous="cud",
            carries=False,
            joint=True,
        ),
        "mcud": Phase(trains=(*_CUD, "predictors"), terms=mcud_terms, previous="mae", carries=False, joint=True),
    }
)


def _noise(images: Tensor, patch: int) -> Tensor:
    """Uniform noise for each patch of N×3×H×W."""
    n, _, h, w = images.shape
    return torch.rand(n, (h // patch) * (w // patch), device=images.device)


def _padded(images: Tensor, patch: int) -> Tensor:
    """A border of 16 pixels, and more at the bottom and the right up to whole patches."""
    bordered = _reflected(images, BORDER, BORDER, BORDER, BORDER)
    h, w = bordered.shape[-2:]
    return _reflected(bordered, 0, -w % patch, 0, -h % patch)


def _reflected(images: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Pad by reflection, or along an axis too short for it by repeating its ends."""
    h, w = images.shape[-2:]
    wide = F.pad(images, (left, right, 0, 0), mode="reflect" if max(left, right) < w else "replicate")
    return F.pad(wide, (0, 0, top, bottom), mode="reflect" if max(top, bottom) < h else "replicate")


def _cut_out(padded: Tensor, like: Tensor) -> Tensor:
    """The inverse of `_padded`, clamped to [0, 1]."""
    h, w = like.shape[-2:]
    return padded[..., BORDER : BORDER + h, BORDER : BORDER + w].clamp(0, 1)
