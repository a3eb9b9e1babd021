"""SSDFusion: decomposition into scene (base) and semantics (detail) at three scales.

Ming et al., "SSDFusion: A scene-semantic decomposition approach for visible and infrared image fusion", Pattern
Recognition 2025, doi 10.1016/j.patcog.2025.111457. One encoder serves both sources; refiners make two smaller levels of
both together; at each level a fusion module takes both sources apart and merges their parts; the decoder turns the
three merged maps into an image. Training first reconstructs each source, then fuses.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from decofuse.losses.correlation import EPSILON, decomposition_loss
from decofuse.losses.fusion import maximum_gradient_loss
from decofuse.losses.image import gradient_loss, image_loss
from decofuse.losses.selection import selected_intensity_loss
from decofuse.losses.ssim import ssim_loss
from decofuse.models.method import Fuser, Phase, Upstream
from decofuse.models.restormer import ChannelNorm, Norm
from decofuse.models.ssdfusion_blocks import (
    SSDFUSION_NAMES,
    Decoder,
    Downsampler,
    Encoder,
    FusionModule,
    Level,
    Parts,
    Refiner,
    full_size,
)

NormKind = Literal["identity", "layer"]
Residual = Literal["infrared", "own"]

NORMS: Mapping[NormKind, Norm] = MappingProxyType({"identity": nn.Identity, "layer": ChannelNorm})
LEVELS = (1.0, 0.5, 0.2)  # weights of the decomposition loss, finest level first
DROP_PATH = (0.05, 0.1)  # of the refiners
MULTIPLE = 4  # that H and W must be of; the coarsest level has a quarter of the size [pixels]
PADDING_MULTIPLE = 16  # [pixels]
PARTS = ("encoder", "fusion_0", "refiner_1", "fusion_1", "down_1", "refiner_2", "fusion_2", "decoder")


def upstream(norm: NormKind) -> Upstream:
    """How upstream's flat checkpoint names the tensors of a network with these norms."""
    norms = ("shared_*coder.*.norm?.*", "*.base_extractor.norm?.*", "*.base_fusor.norm?.*", "down_1.norm.*")
    unused = ("shared_decoder.reduce_channel.*", *(norms if norm == "identity" else ()))
    return Upstream(parts=MappingProxyType({"": ""}), names=SSDFUSION_NAMES, unused=unused)


UPSTREAM = upstream("identity")


class Output(NamedTuple):
    """What fusing gives, and what it went through; of the tuples, an entry a level: size 1, ½ and ¼.

    Attributes:
        fused: fused luma, N×1×H×W in (0, 1).
        base: scene features of both sources merged, N×C×….
        detail: semantic features of both sources merged.
        merged: what the decoder takes.
        of_visible: the parts of the visible source, before the gates.
        of_infrared: the same of the infrared source.
    """

    fused: Tensor
    base: tuple[Tensor, ...]
    detail: tuple[Tensor, ...]
    merged: tuple[Tensor, ...]
    of_visible: tuple[Parts, ...]
    of_infrared: tuple[Parts, ...]


class Reconstruction(NamedTuple):
    """Both sources again, each from its own features, and what they went through; see `Output`."""

    visible: Tensor
    infrared: Tensor
    merged_visible: tuple[Tensor, ...]
    merged_infrared: tuple[Tensor, ...]
    of_visible: tuple[Parts, ...]
    of_infrared: tuple[Parts, ...]


class SSDFusion(Fuser):
    """The network; the defaults are the published size (2,267,928 parameters).

    Args:
        channels: width C of every feature map; even, and a multiple of `heads`. The decoder has 3 C.
        heads: attention heads.
        blocks: transformer blocks in the encoder, and in the decoder.
        detail_nodes: coupling nodes of the detail branches that take a source apart.
        drop_path: chance that a refiner leaves out a sample's branch in training, for each of the two.
        norm: norm over the channels in attention blocks and before downsampling: upstream's returns its input
            unchanged (`identity`); `layer` is the norm that it means to be, and other weights.
        margin: fewest pixels that `fuse` pads a side length by, 0 to 64. Attention, instance norm and gates see the
            whole image, so it changes every pixel: upstream's test script pads by at least 64, its evaluation not.

    Raises:
        ValueError: an argument is out of range.
    """

    smallest: ClassVar[int] = 38  # the border that is reflected must be narrower than the image

    def __init__(  # noqa: PLR0917
        self,
        channels: int = 32,
        heads: int = 8,
        blocks: int = 4,
        detail_nodes: int = 3,
        drop_path: Sequence[float] = DROP_PATH,
        norm: NormKind = "identity",
        margin: int = 64,
    ) -> None:
        super().__init__()
        if min(channels, heads, blocks, detail_nodes) < 1:
            raise ValueError("ssdfusion: channels, heads, blocks and detail_nodes must be at least 1")
        if channels % 2 or channels % heads:
            raise ValueError(f"ssdfusion: channels must be even and a multiple of heads ({heads}), found {channels}")
        if len(drop_path) != 2:
            raise ValueError(f"ssdfusion: drop_path must be two probabilities, found {len(drop_path)}")
        if norm not in NORMS:
            raise ValueError(f"ssdfusion: norm must be identity or layer, found {norm}")
        if not 0 <= margin <= 64:
            raise ValueError(f"ssdfusion: margin must be in 0 to 64, found {margin}")
        self.margin = margin
        self.encoder = Encoder(channels, heads, blocks, NORMS[norm])
        self.fusion_0 = FusionModule(channels, heads, detail_nodes, NORMS[norm])
        self.refiner_1 = Refiner(channels, channels, drop_path[0])
        self.fusion_1 = FusionModule(channels, heads, detail_nodes, NORMS[norm])
        self.down_1 = Downsampler(channels, NORMS[norm])
        self.refiner_2 = Refiner(2 * channels, channels, drop_path[1])
        self.fusion_2 = FusionModule(channels, heads, detail_nodes, NORMS[norm])
        self.decoder = Decoder(3 * channels, heads, blocks, NORMS[norm])

    def fuse(self, source_a: Tensor, source_b: Tensor) -> Tensor:
        """Fuse N×1×H×W luma in [0, 1], H and W at least 38; `source_a` is the visible one.

        Both are padded by reflection, as evenly as may be, to multiples of 16 that are larger by at least `margin`.
        """
        height, width = source_a.shape[-2:]
        tall, wide = (-(-(side + self.margin) // PADDING_MULTIPLE) * PADDING_MULTIPLE for side in (height, width))
        top, left = (tall - height) // 2, (wide - width) // 2
        border = (left, wide - width - left, top, tall - height - top)
        visible, infrared = (F.pad(source, border, mode="reflect") for source in (source_a, source_b))
        return self.features(visible, infrared).fused[..., top : top + height, left : left + width]

    def features(self, visible: Tensor, infrared: Tensor) -> Output:
        """Fuse N×1×H×W luma in [0, 1] as they are, and keep what the losses need.

        Raises:
            ValueError: H or W is no multiple of 4.
        """
        levels = self._levels(visible, infrared, alone=False)
        base, detail, merged = zip(*(level.merged[0] for level in levels), strict=True)
        fused = self.decoder(merged, infrared)
        return Output(fused, base, detail, merged, *_parts(levels))

    def reconstruct(self, visible: Tensor, infrared: Tensor, residual: Residual = "infrared") -> Reconstruction:
        """Both sources again, N×1×H×W luma in [0, 1], each merged by itself.

        Args:
            visible: the visible source.
            infrared: the infrared source.
            residual: image added before the sigmoid: the infrared one to both, as upstream, or each its own.

        Raises:
            ValueError: H or W is no multiple of 4.
        """
        levels = self._levels(visible, infrared, alone=True)
        merged_visible, merged_infrared = (tuple(level.merged[i].merged for level in levels) for i in range(2))
        visible_again = self.decoder(merged_visible, visible if residual == "own" else infrared)
        infrared_again = self.decoder(merged_infrared, infrared)
        return Reconstruction(visible_again, infrared_again, merged_visible, merged_infrared, *_parts(levels))

    def pyramid(self, visible: Tensor, infrared: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """Features before they are taken apart: of the visible and of the infrared source, at each level."""
        first = self.encoder(visible), self.encoder(infrared)
        second = self.refiner_1(*first)
        third = self.refiner_2(*(torch.cat((self.down_1(a), b), dim=1) for a, b in zip(first, second, strict=True)))
        return first, second, third

    def _levels(self, visible: Tensor, infrared: Tensor, alone: bool) -> list[Level]:
        height, width = visible.shape[-2:]
        if height % MULTIPLE or width % MULTIPLE:
            raise ValueError(f"ssdfusion: expected sides that are multiples of {MULTIPLE}, found {height}x{width}")
        modules = self.fusion_0, self.fusion_1, self.fusion_2
        return [
            module(*sources, alone=alone)
            for module, sources in zip(modules, self.pyramid(visible, infrared), strict=True)
        ]


def decomposition_term(
    of_visible: Sequence[Parts], of_infrared: Sequence[Parts], levels: Sequence[float] = LEVELS
) -> Tensor:
    """Σ weight · CDDFuse's decomposition loss, over the levels, of the parts at full size; a scalar."""
    bases = [full_size([parts.base for parts in source]) for source in (of_visible, of_infrared)]
    details = [full_size([parts.detail for parts in source]) for source in (of_visible, of_infrared)]
    losses = map(decomposition_loss, *bases, *details)
    return torch.stack([weight * loss for weight, loss in zip(levels, losses, strict=True)]).sum()


def reconstruction_terms(
    network: SSDFusion,
    batch: Mapping[str, Tensor],
    levels: Sequence[float] = LEVELS,
    residual: Residual = "infrared",
) -> dict[str, Tensor]:
    """Terms of the first loss.

    Args:
        network: the network.
        batch: `visible` and `infrared`, N×1×H×W luma in [0, 1], H and W multiples of 4 and at least 8.
        levels: weights of the three levels in the decomposition term.
        residual: image added before the decoder's sigmoid: `infrared` to both reconstructions, as upstream, or each
            its `own`.
    """
    visible, infrared = batch["visible"], batch["infrared"]
    again = network.reconstruct(visible, infrared, residual)
    return {
        "ssim_visible": ssim_loss(visible, again.visible, "kornia_0.5"),
        "ssim_infrared": ssim_loss(infrared, again.infrared, "kornia_0.5"),
        "image_visible": image_loss(again.visible, visible),
        "image_infrared": image_loss(again.infrared, infrared),
        "decomposition": decomposition_term(again.of_visible, again.of_infrared, levels),
        "gradient": gradient_loss(again.visible, visible),
    }


def fusion_terms(
    network: SSDFusion,
    batch: Mapping[str, Tensor],
    levels: Sequence[float] = LEVELS,
    mask_classes: Sequence[int] | None = None,
) -> dict[str, Tensor]:
    """Terms of the second loss.

    Args:
        network: the network.
        batch: `visible` and `infrared` as in `reconstruction_terms`, `label` N×1×H×W class indices.
        levels: weights of the three levels in the decomposition term.
        mask_classes: classes where the intensity term follows the infrared source; None, as upstream: all above 0.
    """
    output = network.features(batch["visible"], batch["infrared"])
    mask = infrared_mask(batch["label"], mask_classes)
    return output_terms(output, batch["visible"], batch["infrared"], mask, levels)


def infrared_mask(label: Tensor, classes: Sequence[int] | None) -> Tensor:
    """Where the intensity term follows the infrared source, above 0 there: the label itself, or 1 in these classes."""
    if classes is None:
        return label
    return torch.isin(label, torch.tensor(classes, dtype=label.dtype, device=label.device)).to(label.dtype)


def output_terms(
    output: Output, visible: Tensor, infrared: Tensor, mask: Tensor, levels: Sequence[float] = LEVELS
) -> dict[str, Tensor]:
    """The terms of `fusion_terms` for an output that is at hand, N×1×H×W `mask` as of `infrared_mask`."""
    return {
        "intensity": selected_intensity_loss(infrared, visible, output.fused, mask, EPSILON),
        "gradient": maximum_gradient_loss(visible, infrared, output.fused),
        "decomposition": decomposition_term(output.of_visible, output.of_infrared, levels),
    }


# As upstream, the optimiser of both phases leaves out fusion_0 and down_1: they keep their initial weights.
TRAINED = tuple(part for part in PARTS if part not in {"fusion_0", "down_1"})
PHASES: Mapping[str, Phase] = MappingProxyType(
    {
        "reconstruction": Phase(trains=TRAINED, terms=reconstruction_terms, joint=True),
        "fusion": Phase(trains=TRAINED, terms=fusion_terms, previous="reconstruction", carries=False, joint=True),
    }
)


def _parts(levels: Sequence[Level]) -> tuple[tuple[Parts, ...], tuple[Parts, ...]]:
    return tuple(level.of_visible for level in levels), tuple(level.of_infrared for level in levels)
