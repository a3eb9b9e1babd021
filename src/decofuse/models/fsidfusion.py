"""FSIDFusion: decomposition into features that both sources share and features specific to each.

Wan, Cheng, Wang and Gao, Feature Space Interaction Decomposition Fusion, code released in 2025. A relative of CDDFuse:
the same transformer blocks and invertible nodes, but one call of the encoder takes both sources, and the shared
features come out of an interaction of the two base branches. Training first reconstructs each source from the shared
and its own features, then fuses, the reconstruction kept as a regulariser.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from decofuse.losses.fusion import intensity_loss, maximum_gradient_loss
from decofuse.losses.gradient import spatial_gradient
from decofuse.losses.ssim import SSIMVersion, ssim_loss
from decofuse.models.cddfuse import Decoder
from decofuse.models.method import Fuser, Phase, Upstream
from decofuse.models.restormer import UPSTREAM_NAMES, InvertedResidual, base_block, detail_branch, restormer_block

UPSTREAM = Upstream(
    parts=MappingProxyType(
        {"DIDF_Encoder": "encoder", "DIDF_Decoder": "decoder", "SepcificFuseLayer": "specific_fusion"}
    ),
    names=MappingProxyType(
        {
            **UPSTREAM_NAMES,
            "baseFeature_vis": "base_visible",
            "baseFeature_ir": "base_infrared",
            "detailFeature_vis": "detail_visible",
            "detailFeature_ir": "detail_infrared",
            "duelFuse": "interaction",
            "Trans1": "infrared_before",
            "Trans2": "visible_before",
            "Trans3": "infrared_after",
            "Trans4": "visible_after",
            "AFF": "join",
            "local_att": "local_weight",
            "global_att": "global_weight",
        }
    ),
    unused=("DIDF_Encoder.duelFuse.shffleconv.*",),
)


class Features(NamedTuple):
    """What the encoder makes of a pair: three maps, each N×C×H×W."""

    shared: Tensor
    visible: Tensor  # specific to the visible image
    infrared: Tensor  # specific to the infrared image


class AttentionalFusion(nn.Module):
    """Weighted sum 2 w x + 2 (1 − w) y of two maps, w = sigmoid(local(x + y) + global(x + y)).

    Dai et al., Attentional Feature Fusion, WACV 2021. Both branches are a bottleneck of 1×1 convolutions with batch
    norm; the global one sees the mean over the image, so in training mode it needs at least two samples.

    Args:
        channels: C, a multiple of `reduction`.
        reduction: the bottleneck has C / reduction channels.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.local_weight = nn.Sequential(*_bottleneck(channels, channels // reduction))
        self.global_weight = nn.Sequential(nn.AdaptiveAvgPool2d(1), *_bottleneck(channels, channels // reduction))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Join two maps N×C×H×W into one."""
        both = first + second
        weight = torch.sigmoid(self.local_weight(both) + self.global_weight(both))
        return 2 * first * weight + 2 * second * (1 - weight)


class Interaction(nn.Module):
    """Base features of both sources → shared features: a coupling of the two, then their attentional fusion.

    It has the form of a coupling layer, but is not inverted anywhere; exp is not bounded, as upstream. The roles are
    not symmetric: the infrared features drive the first step.

    Args:
        channels: C.
        heads: attention heads of its four base blocks.
        reduction: see `AttentionalFusion`.
    """

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.phi = InvertedResidual(channels)
        self.rho = InvertedResidual(channels)
        self.eta = InvertedResidual(channels)
        self.infrared_before = base_block(channels, heads)
        self.visible_before = base_block(channels, heads)
        self.infrared_after = base_block(channels, heads)
        self.visible_after = base_block(channels, heads)
        self.join = AttentionalFusion(channels, reduction)

    def forward(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Map two N×C×H×W to one."""
        infrared = self.infrared_before(infrared)
        visible = self.visible_before(visible) + self.phi(infrared)
        infrared = infrared * self.rho(visible).exp() + self.eta(visible)
        shared: Tensor = self.join(self.infrared_after(infrared), self.visible_after(visible))
        return shared


class Encoder(nn.Module):
    """Both images → shared and specific features; the transformer blocks serve both, all else has a copy each."""

    def __init__(
        self, *, channels: int, heads: int, blocks: int, detail_nodes: int, interaction_heads: int, reduction: int
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*(restormer_block(channels, heads) for _ in range(blocks)))
        self.base_visible = base_block(channels, heads)
        self.base_infrared = base_block(channels, heads)
        self.detail_visible = detail_branch(channels, detail_nodes)
        self.detail_infrared = detail_branch(channels, detail_nodes)
        self.interaction = Interaction(channels, interaction_heads, reduction)

    def forward(self, visible: Tensor, infrared: Tensor) -> Features:
        """Encode two N×1×H×W in [0, 1]."""
        of_visible, of_infrared = self.blocks(self.embed(visible)), self.blocks(self.embed(infrared))
        shared = self.interaction(self.base_infrared(of_infrared), self.base_visible(of_visible))
        return Features(shared, self.detail_visible(of_visible), self.detail_infrared(of_infrared))


class FSIDFusion(Fuser):
    """The network; the defaults are the published size (2,806,552 parameters, upstream's 16,512 dead ones left out).

    Its batch norms make training and evaluation mode differ; in training mode it needs at least two pairs.

    Args:
        channels: width C of every feature map; even, and a multiple of both kinds of heads and of `reduction`.
        heads: attention heads of encoder and decoder.
        blocks: transformer blocks in the encoder, and in the decoder.
        detail_nodes: coupling nodes in each detail branch of the encoder.
        fusion_nodes: coupling nodes of the layer that fuses the specific features.
        interaction_heads: attention heads of the interaction.
        reduction: the attentional fusion narrows its features to channels / reduction.

    Raises:
        ValueError: an argument is out of range.
    """

    smallest: ClassVar[int] = 2  # reflected border of the detail branches

    def __init__(
        self,
        *,
        channels: int = 64,
        heads: int = 8,
        blocks: int = 4,
        detail_nodes: int = 3,
        fusion_nodes: int = 4,
        interaction_heads: int = 2,
        reduction: int = 4,
    ) -> None:
        super().__init__()
        if min(channels, heads, blocks, detail_nodes, fusion_nodes, interaction_heads, reduction) < 1:
            raise ValueError("fsidfusion: channels and all other sizes must be at least 1")
        if any(channels % divisor for divisor in (2, heads, interaction_heads, reduction)):
            raise ValueError(
                f"fsidfusion: channels must be even and a multiple of heads ({heads}), interaction_heads "
                f"({interaction_heads}) and reduction ({reduction}), found {channels}"
            )
        self.encoder = Encoder(
            channels=channels,
            heads=heads,
            blocks=blocks,
            detail_nodes=detail_nodes,
            interaction_heads=interaction_heads,
            reduction=reduction,
        )
        self.decoder = Decoder(channels, heads, blocks)
        self.specific_fusion = detail_branch(channels, fusion_nodes)

    def fuse(self, source_a: Tensor, source_b: Tensor) -> Tensor:
        """Fuse N×1×H×W images in [0, 1], H and W at least 2; `source_a` is the visible (or MRI) one."""
        return self.join(source_a, self.encoder(source_a, source_b))

    def join(self, visible: Tensor, features: Features) -> Tensor:
        """The fused image, N×1×H×W in (0, 1); the visible image is added before the decoder's sigmoid."""
        specific = self.specific_fusion(features.visible + features.infrared)
        fused: Tensor = self.decoder(features.shared, specific, visible)
        return fused

    def reconstruct(self, image: Tensor, shared: Tensor, specific: Tensor) -> Tensor:
        """`image` (N×1×H×W) again, from the shared features and its own."""
        reconstructed: Tensor = self.decoder(shared, specific, image)
        return reconstructed


def reconstruction_terms(
    network: FSIDFusion, batch: Mapping[str, Tensor], ssim: SSIMVersion = "kornia_0.2"
) -> dict[str, Tensor]:
    """Terms of the first loss (specification, section 4).

    Args:
        network: the network, in training mode.
        batch: N×1×H×W in [0, 1], N at least 2, H and W at least 6.
        ssim: form of the SSIM terms: `kornia_0.2` is what upstream trained with, `kornia_0.5` the corrected one.
    """
    visible, infrared = batch["visible"], batch["infrared"]
    return _reconstruction(network, visible, infrared, network.encoder(visible, infrared), ssim)


def fusion_terms(
    network: FSIDFusion, batch: Mapping[str, Tensor], ssim: SSIMVersion = "kornia_0.2"
) -> dict[str, Tensor]:
    """Terms of the second loss: those of fusion, and those of the first loss as a regulariser.

    Arguments as for `reconstruction_terms`. The encoder, and so each batch norm, sees the batch once.
    """
    visible, infrared = batch["visible"], batch["infrared"]
    features = network.encoder(visible, infrared)
    fused = network.join(visible, features)
    return {
        "intensity": intensity_loss(visible, infrared, fused),
        "gradient": maximum_gradient_loss(visible, infrared, fused),
        **_reconstruction(network, visible, infrared, features, ssim),
    }


PHASES: Mapping[str, Phase] = MappingProxyType(
    {
        "reconstruction": Phase(trains=("encoder", "decoder"), terms=reconstruction_terms, smallest_batch=2),
        "fusion": Phase(
            trains=("encoder", "decoder", "specific_fusion"),
            terms=fusion_terms,
            previous="reconstruction",
            smallest_batch=2,
        ),
    }
)


def _reconstruction(
    network: FSIDFusion, visible: Tensor, infrared: Tensor, features: Features, ssim: SSIMVersion
) -> dict[str, Tensor]:
    """How far the reconstructions are off; the gradient term covers the visible image alone, as upstream."""
    visible_again = network.reconstruct(visible, features.shared, features.visible)
    infrared_again = network.reconstruct(infrared, features.shared, features.infrared)
    return {
        "ssim_visible": ssim_loss(visible, visible_again, ssim),
        "ssim_infrared": ssim_loss(infrared, infrared_again, ssim),
        "mse_visible": F.mse_loss(visible_again, visible),
        "mse_infrared": F.mse_loss(infrared_again, infrared),
        "gradient_visible": F.l1_loss(spatial_gradient(visible_again), spatial_gradient(visible)),
    }


def _bottleneck(channels: int, narrow: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, narrow, 1),
        nn.BatchNorm2d(narrow),
        nn.ReLU(),
        nn.Conv2d(narrow, channels, 1),
        nn.BatchNorm2d(channels),
    ]
