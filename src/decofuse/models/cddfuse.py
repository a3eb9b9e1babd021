"""CDDFuse: correlation-driven dual-branch decomposition into base and detail features.

Zhao et al., CVPR 2023, arXiv 2211.14461. One encoder, shared by both sources, splits each image into base features
(attention) and detail features (an invertible network); a fusion layer a branch joins those of the two sources; the
decoder turns them into an image. Training first reconstructs each source, then fuses.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from decofuse.losses.correlation import decomposition_loss
from decofuse.losses.fusion import intensity_loss, maximum_gradient_loss
from decofuse.losses.gradient import spatial_gradient
from decofuse.losses.ssim import SSIMVersion, ssim_loss
from decofuse.models.method import Fuser, Phase, Upstream
from decofuse.models.restormer import UPSTREAM_NAMES, base_block, detail_branch, restormer_block

Skip = Literal["visible", "sum", "none"]

UPSTREAM = Upstream(
    parts=MappingProxyType(
        {
            "DIDF_Encoder": "encoder",
            "DIDF_Decoder": "decoder",
            "BaseFuseLayer": "base_fusion",
            "DetailFuseLayer": "detail_fusion",
        }
    ),
    names=UPSTREAM_NAMES,
)


class Features(NamedTuple):
    """What the encoder makes of an image: three maps, each N×C×H×W."""

    base: Tensor
    detail: Tensor
    shallow: Tensor


class Encoder(nn.Module):
    """Image → base, detail and shallow features; the same weights serve both sources."""

    def __init__(self, channels: int, heads: int, blocks: int, detail_nodes: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*(restormer_block(channels, heads) for _ in range(blocks)))
        self.base = base_block(channels, heads)
        self.detail = detail_branch(channels, detail_nodes)

    def forward(self, image: Tensor) -> Features:
        """Encode N×1×H×W in [0, 1]."""
        shallow = self.blocks(self.embed(image))
        return Features(self.base(shallow), self.detail(shallow), shallow)


class Decoder(nn.Module):
    """Base and detail features → image."""

    def __init__(self, channels: int, heads: int, blocks: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(2 * channels, channels, 1, bias=False)
        self.blocks = nn.Sequential(*(restormer_block(channels, heads) for _ in range(blocks)))
        self.output = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False),
            nn.LeakyReLU(0.01),
            nn.Conv2d(channels // 2, 1, 3, padding=1, bias=False),
        )

    def reduced(self, base: Tensor, detail: Tensor) -> Tensor:
        """Join two maps N×C×H×W into one; the decoder's first step."""
        joined: Tensor = self.reduce(torch.cat((base, detail), dim=1))
        return joined

    def forward(self, base: Tensor, detail: Tensor, skip: Tensor | None) -> Tensor:
        """Decode to N×1×H×W in (0, 1).

        `skip` (N×1×H×W) is added before the sigmoid, so it is no identity path.
        """
        image: Tensor = self.output(self.blocks(self.reduced(base, detail)))
        return torch.sigmoid(image if skip is None else image + skip)


class CDDFuse(Fuser):
    """The network; the defaults are the published size (1,188,272 parameters).

    Args:
        channels: width C of every feature map; even, and a multiple of `heads`.
        heads: attention heads.
        blocks: transformer blocks in the encoder, and in the decoder.
        detail_nodes: coupling nodes in the encoder's detail branch; the detail fusion layer has one.
        skip: image added at the end of the decoder when fusing: the first source, the sum of both, or none. For
            medical pairs upstream uses `sum` with the weights of infrared-visible fusion and `none` with its medical
            ones. Reconstruction always adds the image that is reconstructed.

    Raises:
        ValueError: an argument is out of range.
    """

    smallest: ClassVar[int] = 2  # reflected border of the detail branch

    def __init__(
        self, channels: int = 64, heads: int = 8, blocks: int = 4, detail_nodes: int = 3, skip: Skip = "visible"
    ) -> None:
        super().__init__()
        if min(channels, heads, blocks, detail_nodes) < 1:
            raise ValueError("cddfuse: channels, heads, blocks and detail_nodes must be at least 1")
        if channels % 2 or channels % heads:
            raise ValueError(f"cddfuse: channels must be even and a multiple of heads ({heads}), found {channels}")
        if skip not in ("visible", "sum", "none"):
            raise ValueError(f"cddfuse: skip must be visible, sum or none, found {skip}")
        self.skip = skip
        self.encoder = Encoder(channels, heads, blocks, detail_nodes)
        self.decoder = Decoder(channels, heads, blocks)
        self.base_fusion = base_block(channels, heads)
        self.detail_fusion = detail_branch(channels, nodes=1)

    def fuse(self, source_a: Tensor, source_b: Tensor) -> Tensor:
        """Fuse N×1×H×W images in [0, 1], H and W at least 2; `source_a` is the visible (or MRI) one."""
        return self.join(source_a, source_b, self.encoder(source_a), self.encoder(source_b))

    def join(self, visible: Tensor, infrared: Tensor, of_visible: Features, of_infrared: Features) -> Tensor:
        """The fused image, N×1×H×W in (0, 1), from the features of both sources."""
        base, detail = self.merged_base(of_visible, of_infrared), self.merged_detail(of_visible, of_infrared)
        return self.decoded(visible, infrared, base, detail)

    def merged_base(self, of_visible: Features, of_infrared: Features) -> Tensor:
        """The base features of both sources in one map, N×C×H×W."""
        merged: Tensor = self.base_fusion(of_visible.base + of_infrared.base)
        return merged

    def merged_detail(self, of_visible: Features, of_infrared: Features) -> Tensor:
        """The detail features of both sources in one map, N×C×H×W."""
        merged: Tensor = self.detail_fusion(of_visible.detail + of_infrared.detail)
        return merged

    def decoded(self, visible: Tensor, infrared: Tensor, base: Tensor, detail: Tensor) -> Tensor:
        """The fused image, N×1×H×W in (0, 1), from merged features."""
        skips = {"visible": visible, "sum": infrared + visible, "none": None}
        fused: Tensor = self.decoder(base, detail, skips[self.skip])
        return fused

    def reconstruct(self, image: Tensor, features: Features) -> Tensor:
        """`image` (N×1×H×W) again, from its own features."""
        reconstructed: Tensor = self.decoder(features.base, features.detail, image)
        return reconstructed


def reconstruction_terms(
    network: CDDFuse, batch: Mapping[str, Tensor], ssim: SSIMVersion = "kornia_0.2"
) -> dict[str, Tensor]:
    """Terms of the first loss; its gradient term, on the visible image alone, is in the code and not in the paper.

    Args:
        network: the network.
        batch: N×1×H×W in [0, 1], H and W at least 6.
        ssim: form of the SSIM terms: `kornia_0.2` is what upstream trained with, `kornia_0.5` the corrected one.
    """
    visible, infrared = batch["visible"], batch["infrared"]
    of_visible, of_infrared = network.encoder(visible), network.encoder(infrared)
    visible_again = network.reconstruct(visible, of_visible)
    infrared_again = network.reconstruct(infrared, of_infrared)
    return {
        "ssim_visible": ssim_loss(visible, visible_again, ssim),
        "ssim_infrared": ssim_loss(infrared, infrared_again, ssim),
        "mse_visible": F.mse_loss(visible_again, visible),
        "mse_infrared": F.mse_loss(infrared_again, infrared),
        "decomposition": _decomposition(of_visible, of_infrared),
        "gradient": F.l1_loss(spatial_gradient(visible_again), spatial_gradient(visible)),
    }


def fusion_terms(network: CDDFuse, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Terms of the second loss."""
    visible, infrared = batch["visible"], batch["infrared"]
    of_visible, of_infrared = network.encoder(visible), network.encoder(infrared)
    fused = network.join(visible, infrared, of_visible, of_infrared)
    return merged_terms(visible, infrared, fused, of_visible, of_infrared)


def merged_terms(
    visible: Tensor, infrared: Tensor, fused: Tensor, of_visible: Features, of_infrared: Features
) -> dict[str, Tensor]:
    """The terms of `fusion_terms` for an image that is fused already."""
    return {
        "intensity": intensity_loss(visible, infrared, fused),
        "gradient": maximum_gradient_loss(visible, infrared, fused),
        "decomposition": _decomposition(of_visible, of_infrared),
    }


PHASES: Mapping[str, Phase] = MappingProxyType(
    {
        "reconstruction": Phase(trains=("encoder", "decoder"), terms=reconstruction_terms),
        "fusion": Phase(
            trains=("encoder", "decoder", "base_fusion", "detail_fusion"), terms=fusion_terms, previous="reconstruction"
        ),
    }
)


def _decomposition(of_visible: Features, of_infrared: Features) -> Tensor:
    return decomposition_loss(of_visible.base, of_infrared.base, of_visible.detail, of_infrared.detail)
