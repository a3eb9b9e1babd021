"""The blocks of SSDFusion: splitting a source into base and detail, merging two sources, refining to half the size.

Ming et al., Pattern Recognition 2025, doi 10.1016/j.patcog.2025.111457. Maps are N×C×H×W; batch norms have PyTorch's
defaults (ε = 1e-5, momentum 0.1).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from decofuse.models.msca import MSCA_NAMES, MSCABlock
from decofuse.models.restormer import UPSTREAM_NAMES, Norm, base_block, detail_branch, restormer_block

# Upstream's name segments -> ours, for decofuse.models.method.Upstream; the longer runs stand before their parts.
SSDFUSION_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "shared_encoder": "encoder",
        "shared_decoder": "decoder",
        "extractor_ir": "infrared",
        "extractor_vi": "visible",
        "conv_base": "base_mix",
        "conv_detail": "detail_mix",
        "base_extractor": "base",
        "detail_extractor": "detail",
        "eca_base.conv": "base_gate.weigh",
        "eca_detail.conv": "detail_gate.weigh",
        "fusor.fusor": "merger.dense",
        "fusor": "merger",
        "base_fusor": "base",
        "detail_fusor": "detail",
        "conv_fusor": "mix",
        "spade": "modulate",
        "mlp_shared.0": "shared",
        "mlp_gamma": "gamma",
        "mlp_beta": "beta",
        "patch_embed.norm": "embed_norm",
        "extractor.0": "block",
        "conv_2.conv2d": "project",
        "conv_2.norm": "project_norm",
        "dense_block.net": "units",
        "trans_block": "join",
        "conv2d": "conv",
        **MSCA_NAMES,
        **UPSTREAM_NAMES,
    }
)


class PreActivatedConv(nn.Module):
    """Batch norm, ReLU, 3×3 convolution with bias that keeps the size.

    Args:
        channels: of the input.
        out: channels of the result.
        dilation: of the convolution [pixels].
    """

    def __init__(self, channels: int, out: int, dilation: int = 1) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, out, 3, padding=dilation, dilation=dilation)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×out×H×W."""
        result: Tensor = self.conv(F.relu(self.norm(features)))
        return result


class ResidualDenseBlock(nn.Module):
    """Dilated residual dense block: each unit sees the input and what all units before it gave.

    Args:
        units: dense units, of dilation 2.
        channels: C, of the input and of the result.
        growth: channels that a unit adds.
    """

    def __init__(self, units: int, channels: int, growth: int) -> None:
        super().__init__()
        self.units = nn.ModuleList(PreActivatedConv(channels + i * growth, growth, dilation=2) for i in range(units))
        self.join = PreActivatedConv(channels + units * growth, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W."""
        dense = features
        for unit in self.units:
            dense = torch.cat((dense, unit(dense)), dim=1)
        result: Tensor = features + self.join(dense)
        return result


class ChannelGate(nn.Module):
    """Scales each channel by σ(w · means of itself and its two neighbours), as ECA-Net (CVPR 2020).

    Unlike there, every channel has its own three weights. A neighbour beyond the ends has mean 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Conv1d(channels, channels, 3, groups=channels, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W."""
        means = F.pad(features.mean(dim=(2, 3)), (1, 1)).unfold(1, 3, 1)  # N × C × 3 neighbours
        result: Tensor = features * self.weigh(means).sigmoid().unsqueeze(-1)
        return result


class SpatialModulation(nn.Module):
    """SPADE (Park et al., CVPR 2019): instance norm, then a scale and a shift at each pixel that follow a guide map.

    Args:
        channels: C, of both maps; the convolutions on the guide are twice as wide inside.
    """

    recomputable: ClassVar[bool] = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shared = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.gamma = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.beta = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, features: Tensor, guide: Tensor) -> Tensor:
        """norm(x) (1 + γ(guide)) + β(guide), all N×C×H×W with more than one pixel."""
        hidden = F.relu(self.shared(guide))
        result: Tensor = F.instance_norm(features) * (1 + self.gamma(hidden)) + self.beta(hidden)
        return result


class Parts(NamedTuple):
    """A source taken apart: two maps, each N×C×H×W."""

    base: Tensor
    detail: Tensor


class Merged(NamedTuple):
    """What merging base and detail gives: both refined, and the map that the decoder takes; each N×C×H×W."""

    base: Tensor
    detail: Tensor
    merged: Tensor


class Level(NamedTuple):
    """What a fusion module gives: the parts of both sources, and them merged: together, or of each by itself."""

    of_visible: Parts
    of_infrared: Parts
    merged: tuple[Merged, ...]


class Splitter(nn.Module):
    """Features of a source → base (attention) and detail (an invertible network)."""

    def __init__(self, channels: int, heads: int, detail_nodes: int, norm: Norm) -> None:
        super().__init__()
        self.base_mix = nn.Conv2d(channels, channels, 1)
        self.base = base_block(channels, heads, norm)
        self.detail_mix = nn.Conv2d(channels, channels, 1)
        self.detail = detail_branch(channels, detail_nodes)

    def forward(self, features: Tensor) -> Parts:
        """Split N×C×H×W."""
        return Parts(self.base(self.base_mix(features)), self.detail(self.detail_mix(features)))


class Merger(nn.Module):
    """Base and detail → one map: the detail modulates the normalised base."""

    def __init__(self, channels: int, heads: int, norm: Norm) -> None:
        super().__init__()
        self.base = base_block(channels, heads, norm)
        self.detail = detail_branch(channels, nodes=1)
        self.modulate = SpatialModulation(channels)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.dense = ResidualDenseBlock(3, channels, growth=channels)

    def forward(self, parts: Parts) -> Merged:
        """Merge two maps N×C×H×W."""
        base, detail = self.base(parts.base), self.detail(parts.detail)
        return Merged(base, detail, self.dense(self.mix(self.modulate(base, detail))))


class FusionModule(nn.Module):
    """One level: a splitter a source, gates that both sources share, and the merger.

    Args:
        channels: C, even, and a multiple of `heads`.
        heads: attention heads.
        detail_nodes: coupling nodes of the splitters' detail branches.
        norm: builds the norms of the base branches.
    """

    def __init__(self, channels: int, heads: int, detail_nodes: int, norm: Norm) -> None:
        super().__init__()
        self.infrared = Splitter(channels, heads, detail_nodes, norm)
        self.visible = Splitter(channels, heads, detail_nodes, norm)
        self.base_gate = ChannelGate(channels)
        self.detail_gate = ChannelGate(channels)
        self.merger = Merger(channels, heads, norm)

    def forward(self, visible: Tensor, infrared: Tensor, alone: bool = False) -> Level:
        """Split and merge the features of both sources, each N×C×H×W.

        Args:
            visible: features of the visible source.
            infrared: features of the infrared source.
            alone: merge the gated parts of each source by itself, not their sums. The visible source comes first:
                the batch norms see them in that order.
        """
        of_visible, of_infrared = self.visible(visible), self.infrared(infrared)
        gated_visible, gated_infrared = self._gated(of_visible), self._gated(of_infrared)
        if alone:
            merged: tuple[Merged, ...] = self.merger(gated_visible), self.merger(gated_infrared)
        else:
            base, detail = (a + b for a, b in zip(gated_visible, gated_infrared, strict=True))
            merged = (self.merger(Parts(base, detail)),)
        return Level(of_visible, of_infrared, merged)

    def _gated(self, parts: Parts) -> Parts:
        return Parts(self.base_gate(parts.base), self.detail_gate(parts.detail))


class Halving(nn.Module):
    """To half the size: 5×5 convolution of stride 2, convolutional attention block, 1×1 convolution, batch norms.

    Args:
        inputs: channels of the input.
        channels: channels of the result.
        drop_path: chance of leaving out a branch of the attention block, in training.
    """

    def __init__(self, inputs: int, channels: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Conv2d(inputs, channels, 5, stride=2, padding=2)
        self.embed_norm = nn.BatchNorm2d(channels)
        self.block = MSCABlock(channels, ratio=2, drop_path=drop_path)
        self.norm = nn.BatchNorm2d(channels)
        self.project = nn.Conv2d(channels, channels, 1)
        self.project_norm = nn.BatchNorm2d(channels)

    def halved(self, features: Tensor) -> Tensor:
        """Map N×inputs×H×W to N×C×⌈H/2⌉×⌈W/2⌉, no activation at the end."""
        embedded = self.embed_norm(self.embed(features))
        result: Tensor = self.project_norm(self.project(self.norm(self.block(embedded))))
        return result


class Refiner(Halving):
    """Features of both sources together → those of each at half the size, in (-1, 1).

    Args:
        inputs: channels of each source.
        channels: C, channels of each source in the result.
        drop_path: chance of leaving out a branch of the convolutional attention block, in training.
    """

    def __init__(self, inputs: int, channels: int, drop_path: float) -> None:
        super().__init__(2 * inputs, 2 * channels, drop_path)

    def forward(self, visible: Tensor, infrared: Tensor) -> tuple[Tensor, Tensor]:
        """Map two N×inputs×H×W to two N×C×⌈H/2⌉×⌈W/2⌉: of the visible source, of the infrared one."""
        of_infrared, of_visible = self.halved(torch.cat((infrared, visible), dim=1)).tanh().chunk(2, dim=1)
        return of_visible, of_infrared


class Downsampler(nn.Module):
    """A norm, then a 2×2 convolution of stride 2: half the size."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.down = nn.Conv2d(channels, channels, 2, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×⌊H/2⌋×⌊W/2⌋."""
        result: Tensor = self.down(self.norm(features))
        return result


def full_size(maps: Sequence[Tensor]) -> list[Tensor]:
    """Maps of size 1, ½, ¼ …, all at size 1: bilinear, corners aligned."""
    return [
        F.interpolate(features, scale_factor=2**level, mode="bilinear", align_corners=True) if level else features
        for level, features in enumerate(maps)
    ]


class Encoder(nn.Module):
    """Image → features of the same size; the same weights serve both sources."""

    def __init__(self, channels: int, heads: int, blocks: int, norm: Norm) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*(restormer_block(channels, heads, norm) for _ in range(blocks)))

    def forward(self, image: Tensor) -> Tensor:
        """Encode N×1×H×W in [0, 1] as N×C×H×W."""
        features: Tensor = self.blocks(self.embed(image))
        return features


class Decoder(nn.Module):
    """Merged features of all levels → image."""

    def __init__(self, channels: int, heads: int, blocks: int, norm: Norm) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(restormer_block(channels, heads, norm) for _ in range(blocks)))
        self.output = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False),
            nn.LeakyReLU(0.01),
            nn.Conv2d(channels // 2, 1, 3, padding=1, bias=False),
        )

    def forward(self, merged: Sequence[Tensor], residual: Tensor) -> Tensor:
        """Decode to N×1×H×W in (0, 1).

        `residual` (N×1×H×W) is added before the sigmoid, so it is no identity path.
        """
        image: Tensor = self.output(self.blocks(torch.cat(full_size(merged), dim=1)))
        return torch.sigmoid(image + residual)
