"""SFDFuse: decomposition in space and in frequency.

Zhang, "SFDFuse: Spatial and Frequency Feature Decomposition for Visible and Infrared Image Fusion", code of 2025. As
in CDDFuse, one encoder splits each source into base and detail features; here either is joined with the low or the
high frequencies of a Haar transform, by a block that also fuses the features of the two sources. Training first
reconstructs each source, then fuses.
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
from decofuse.losses.ssim import ssim_loss
from decofuse.models.method import Fuser, Phase, Upstream
from decofuse.models.restormer import UPSTREAM_NAMES, ChannelAttention, TransformerBlock, base_block, detail_branch
from decofuse.models.sfdfuse_blocks import ConvFormer, DetailResidual, DualFeedForward, ShuffledFeedForward
from decofuse.models.sfdfuse_interaction import FeatureInteraction, FrequencyBranch, GuidedFusion, Wavelet

InfraredDetail = Literal["visible", "infrared"]

UPSTREAM = Upstream(
    parts=MappingProxyType(
        {
            "DIDF_Encoder": "encoder",
            "DIDF_Decoder_Phase": "decoder",
            "BaseFuseLayer": "base_fusion",
            "DetailFuseLayer": "detail_fusion",
        }
    ),
    names=MappingProxyType(
        {
            "FreFeature.wt_filter": "frequency.filters",
            "upsample1.0": "frequency.enlarge",
            "init_fusion_b": "base_interaction",
            "init_fusion_d": "detail_interaction",
            "fusion1.ca.ca": "join.channel",
            "fusion1.sa.sa": "join.spatial",
            "fusion1.pa.pa2": "join.pixel",
            "fusion1.conv": "join.project",
            "layer_scale_1": "scale1",
            "layer_scale_2": "scale2",
            "token_mixer": "mixer",
            "act1.scale": "activation.gain",
            "act1": "activation",
            "pwconv1": "expand",
            "pwconv2": "project",
            "fc1": "expand",
            "fc2": "project",
            "dwconv_5": "local",
            "dwconv_dilated2_1": "dilated",
            "bottleneckBlock.2": "local",
            "bottleneckBlock.4": "project",
            "conv1_1.conv": "central",
            "conv1_2.conv": "horizontal",
            "conv1_3.conv": "vertical",
            "conv1_4.conv": "angular",
            "conv1_5": "plain",
            **UPSTREAM_NAMES,
        }
    ),
    unused=(
        "DIDF_Encoder.FreFeature.iwt_filter",
        "DIDF_Decoder_Phase.reduce_channel.*",
        "DIDF_Decoder_Phase.fusion2.*",
    ),
)


class Features(NamedTuple):
    """What the encoder makes of an image: two maps, each N×C×H×W."""

    base: Tensor
    detail: Tensor


class Encoder(nn.Module):
    """Image → base and detail features; the same weights serve both sources."""

    def __init__(
        self, channels: int, heads: int, blocks: int, detail_nodes: int, *, drop_path: float, wavelet: Wavelet
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.blocks = _blocks(channels, heads, blocks, drop_path)
        self.frequency = FrequencyBranch(channels, wavelet)
        self.base = base_block(channels, heads)
        self.detail = detail_branch(channels, detail_nodes, DetailResidual)
        self.base_interaction = FeatureInteraction(channels, heads, ShuffledFeedForward(channels))
        self.detail_interaction = FeatureInteraction(channels, heads, DualFeedForward(channels))

    def forward(self, image: Tensor) -> Features:
        """Encode N×1×H×W in [0, 1]; an odd last row or column is left out."""
        embedded = self.embed(even(image))
        low, high = self.frequency(embedded)
        shallow = self.blocks(embedded)
        return Features(
            self.base_interaction(self.base(shallow), low), self.detail_interaction(self.detail(shallow), high)
        )


class Decoder(nn.Module):
    """Base and detail features → image."""

    def __init__(self, channels: int, heads: int, blocks: int, drop_path: float) -> None:
        super().__init__()
        self.join = GuidedFusion(channels)
        self.blocks = _blocks(channels, heads, blocks, drop_path)
        self.output = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False),
            nn.LeakyReLU(0.01),
            nn.Conv2d(channels // 2, 1, 3, padding=1, bias=False),
        )

    def forward(self, base: Tensor, detail: Tensor, skip: Tensor) -> Tensor:
        """Decode to N×1×H×W in (0, 1).

        `skip` (N×1×H×W, an odd last row or column is left out) is added before the sigmoid, so it is no identity path.
        """
        joined = self.join(base, detail)
        image: Tensor = self.output(self.blocks(joined) + joined)
        return torch.sigmoid(image + even(skip))


class SFDFuse(Fuser):
    """The network; the defaults are the published size (2,306,019 parameters, and 1,024 values in fixed filters).

    Args:
        channels: width C of every feature map; a multiple of 4 and of `heads`.
        heads: attention heads.
        blocks: transformer blocks, and as many ConvFormers after them, in the encoder; the same in the decoder.
        detail_nodes: coupling nodes in the encoder's detail branch.
        drop_path: probability that a sample's branch in a ConvFormer is left out in training.
        wavelet: `fixed` filters as upstream, or `learned` ones.

    Raises:
        ValueError: an argument is out of range.
    """

    smallest: ClassVar[int] = 3  # padded to 4, what the decoder's reflected border of 3 pixels needs

    def __init__(
        self,
        channels: int = 64,
        heads: int = 8,
        blocks: int = 2,
        detail_nodes: int = 3,
        *,
        drop_path: float = 0.1,
        wavelet: Wavelet = "fixed",
    ) -> None:
        super().__init__()
        if min(channels, heads, blocks, detail_nodes) < 1:
            raise ValueError("sfdfuse: channels, heads, blocks and detail_nodes must be at least 1")
        if channels % 4 or channels % heads:
            raise ValueError(f"sfdfuse: channels must be a multiple of 4 and of heads ({heads}), found {channels}")
        if wavelet not in ("fixed", "learned"):
            raise ValueError(f"sfdfuse: wavelet must be fixed or learned, found {wavelet}")
        self.encoder = Encoder(channels, heads, blocks, detail_nodes, drop_path=drop_path, wavelet=wavelet)
        self.decoder = Decoder(channels, heads, blocks, drop_path)
        self.base_fusion = FeatureInteraction(channels, heads, ShuffledFeedForward(channels))
        self.detail_fusion = FeatureInteraction(channels, heads, DualFeedForward(channels))

    def fuse(self, source_a: Tensor, source_b: Tensor) -> Tensor:
        """Fuse N×1×H×W images in [0, 1], H and W at least 3; `source_a` is the visible one.

        An odd side is made even by repeating its last row or column, which the result leaves out again; upstream gives
        a result one pixel smaller.
        """
        h, w = source_a.shape[-2:]
        visible, infrared = (F.pad(image, (0, w % 2, 0, h % 2), mode="replicate") for image in (source_a, source_b))
        return self.join(visible, self.encoder(visible), self.encoder(infrared))[..., :h, :w]

    def join(self, visible: Tensor, of_visible: Features, of_infrared: Features) -> Tensor:
        """The fused image, N×1×H×W in (0, 1), from the features of both sources; an odd last row or column is cut."""
        base = self.base_fusion(of_visible.base, of_infrared.base)
        detail = self.detail_fusion(of_visible.detail, of_infrared.detail)
        fused: Tensor = self.decoder(base, detail, visible)
        return fused


def even(image: Tensor) -> Tensor:
    """`image` (…×H×W) without an odd last row and column."""
    h, w = image.shape[-2:]
    return image[..., : h - h % 2, : w - w % 2]


def reconstruction_terms(
    network: SFDFuse, batch: Mapping[str, Tensor], infrared_detail: InfraredDetail = "visible"
) -> dict[str, Tensor]:
    """Terms of the first loss: CDDFuse's, with the later form of the SSIM loss.

    Args:
        network: the network.
        batch: N×1×H×W in [0, 1], H and W at least 6; an odd last row or column is left out.
        infrared_detail: source of the detail features that the infrared image is rebuilt from: `visible`, as upstream,
            leaves those of the infrared image to the decomposition term alone; `infrared` is the corrected form.
    """
    visible, infrared = even(batch["visible"]), even(batch["infrared"])
    of_visible, of_infrared = network.encoder(visible), network.encoder(infrared)
    details = {"visible": of_visible.detail, "infrared": of_infrared.detail}
    visible_again = network.decoder(of_visible.base, of_visible.detail, visible)
    infrared_again = network.decoder(of_infrared.base, details[infrared_detail], infrared)
    return {
        "ssim_visible": ssim_loss(visible, visible_again, "kornia_0.5"),
        "ssim_infrared": ssim_loss(infrared, infrared_again, "kornia_0.5"),
        "mse_visible": F.mse_loss(visible_again, visible),
        "mse_infrared": F.mse_loss(infrared_again, infrared),
        "decomposition": _decomposition(of_visible, of_infrared),
        "gradient": F.l1_loss(spatial_gradient(visible_again), spatial_gradient(visible)),
    }


def fusion_terms(network: SFDFuse, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Terms of the second loss: CDDFuse's, and SSIM with the brighter source at each pixel.

    The batch is as for `reconstruction_terms`.
    """
    visible, infrared = even(batch["visible"]), even(batch["infrared"])
    of_visible, of_infrared = network.encoder(visible), network.encoder(infrared)
    fused = network.join(visible, of_visible, of_infrared)
    return {
        "intensity": intensity_loss(visible, infrared, fused),
        "gradient": maximum_gradient_loss(visible, infrared, fused),
        "ssim": ssim_loss(torch.maximum(visible, infrared), fused, "kornia_0.5"),
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


def _blocks(channels: int, heads: int, blocks: int, drop_path: float) -> nn.Sequential:
    """Transformer blocks (shuffled feed-forward), then as many ConvFormers."""
    transformers = [
        TransformerBlock(
            channels, ChannelAttention(channels, heads, groups=3 * channels), ShuffledFeedForward(channels)
        )
        for _ in range(blocks)
    ]
    return nn.Sequential(*transformers, *(ConvFormer(channels, drop_path) for _ in range(blocks)))
