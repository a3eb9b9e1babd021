"""PSFusion's blocks: fusion of shallow and of deep features, semantic injection, dense decoders and image heads.

Source: Tang et al., PSFusion, Information Fusion 99 (2023) 101870, in the form of its published code. All maps are
N×C×H×W and keep their size; convolutions have stride 1 and their input's size.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Upstream's name segments -> ours; entries of several segments must see theirs before the shorter ones do.
UPSTREAM_NAMES: Mapping[str, str] = MappingProxyType(
    {
        **{f"block{i}.1": f"blocks.{i - 1}.norm_again" for i in range(1, 5)},
        **{f"block{i}.0": f"blocks.{i - 1}" for i in range(1, 5)},
        "conv_frelu": "local",
        "bn_frelu": "norm",
        "basicconv": "",
        "RGBobj1_1": "visible.0",
        "RGBobj1_2": "visible.1",
        "RGBspr": "visible.2",
        "Infobj1_1": "infrared.0",
        "Infobj1_2": "infrared.1",
        "Infspr": "infrared.2",
        "obj_fuse.Recalibrate": "recalibrate",
        "obj_fuse.channel_agg": "aggregate",
        "obj_fuse.local_att": "local_attention",
        "obj_fuse.global_att": "global_attention",
        "local_att": "local_attention",
        "global_att": "global_attention",
        "RGBobj": "visible",
        "Infobj": "infrared",
        "denseblock": "blocks",
        "obj_fuse.gamma1": "attention.visible_scale",
        "obj_fuse.gamma2": "attention.infrared_scale",
        "obj_fuse.Q": "attention.query",
        "obj_fuse.RGB_K": "attention.visible_key",
        "obj_fuse.RGB_V": "attention.visible_value",
        "obj_fuse.INF_K": "attention.infrared_key",
        "obj_fuse.INF_V": "attention.infrared_value",
        "obj_fuse.Second_reduce": "attention.join",
        "mlp_shared.0": "shared",
        "mlp_gamma.0": "scale",
        "mlp_beta": "shift",
        "bn": "norm",
        "mask.conv_block": "mask.norm",
        "conv_block.0": "output",
    }
)


def conv_norm_relu(inputs: int, channels: int) -> nn.Sequential:
    """3×3 convolution without bias, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
    )


def bottleneck(channels: int, inner: int) -> list[nn.Module]:
    """1×1 convolutions to `inner` channels and back, a batch norm after each and a ReLU between."""
    return [
        nn.Conv2d(channels, inner, 1),
        nn.BatchNorm2d(inner),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, channels, 1),
        nn.BatchNorm2d(channels),
    ]


class ShallowFusion(nn.Module):
    """Superficial detail fusion (SDFM): each pixel and channel weighs one source against the other."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        widths = (inputs, channels, channels)
        self.visible = nn.Sequential(*(conv_norm_relu(width, channels) for width in widths))
        self.infrared = nn.Sequential(*(conv_norm_relu(width, channels) for width in widths))
        self.recalibrate = nn.Sequential(nn.AdaptiveAvgPool2d(1), *bottleneck(2 * channels, channels // 2))
        self.aggregate = nn.Sequential(nn.Conv2d(2 * channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU())
        self.local_attention = nn.Sequential(*bottleneck(channels, channels // 4))
        self.global_attention = nn.Sequential(nn.AdaptiveAvgPool2d(1), *bottleneck(channels, channels // 4))

    def forward(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """N×inputs×H×W of both sources → N×channels×H×W."""
        both = torch.cat((self.visible(visible), self.infrared(infrared)), dim=1)
        both = both * (1 + torch.sigmoid(self.recalibrate(both)))
        of_visible, of_infrared = both.chunk(2, dim=1)
        joint = self.aggregate(both)
        weight = torch.sigmoid(self.local_attention(joint) * self.global_attention(joint))
        return weight * of_visible + (1 - weight) * of_infrared


class DenseLayer(nn.Module):
    """Four densely connected 3×3 convolutions of a quarter of the width beside the input."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        growth = channels // 4
        self.down = nn.Conv2d(inputs, growth, 1)
        self.blocks = nn.ModuleList(conv_norm_relu(growth * (i + 1), growth) for i in range(4))
        self.fuse = conv_norm_relu(inputs + growth, channels)

    def forward(self, features: Tensor) -> Tensor:
        """N×inputs×H×W → N×channels×H×W; only the last block reaches the output directly."""
        reduced = self.down(features)
        grown: list[Tensor] = []
        for block in self.blocks:
            grown.append(block(torch.cat((*grown, reduced), dim=1)))
        joined: Tensor = self.fuse(torch.cat((features, grown[-1]), dim=1))
        return joined


class CrossAttention(nn.Module):
    """Global feature enhancement (GEFM): attention between all positions, with residuals crossed between the sources.

    Position i of a source's key looks at every position j of the joint query: A = softmax over j of ⟨kᵢ, qⱼ⟩, not
    scaled. In the usual terms the published "key" is the query and its "query" the key.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.visible_scale = nn.Parameter(torch.zeros(1))
        self.infrared_scale = nn.Parameter(torch.zeros(1))
        self.query = conv_norm_relu(2 * channels, channels)
        self.visible_key = conv_norm_relu(channels, channels)
        self.visible_value = conv_norm_relu(channels, channels)
        self.infrared_key = conv_norm_relu(channels, channels)
        self.infrared_value = conv_norm_relu(channels, channels)
        self.join = conv_norm_relu(2 * channels, channels)

    def forward(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """Fuse two N×C×H×W into one."""
        query = self.query(torch.cat((visible, infrared), dim=1))
        of_visible = _attend(self.visible_key(visible), query, self.visible_value(visible))
        of_infrared = _attend(self.infrared_key(infrared), query, self.infrared_value(infrared))
        crossed = (self.visible_scale * of_visible + infrared, self.infrared_scale * of_infrared + visible)
        joined: Tensor = self.join(torch.cat(crossed, dim=1))
        return joined


def _attend(key: Tensor, query: Tensor, value: Tensor) -> Tensor:
    """Σⱼ softmaxⱼ⟨keyᵢ, queryⱼ⟩ valueⱼ at each position i, N×C×H×W; no map of H·W × H·W need be kept."""
    rows, columns, values = (maps.flatten(2).transpose(1, 2)[:, None] for maps in (key, query, value))
    attended = F.scaled_dot_product_attention(rows, columns, values, scale=1.0)
    return attended[:, 0].transpose(1, 2).reshape(value.shape)


class DeepFusion(nn.Module):
    """Profound semantic fusion (PSFM): a dense layer a source, then cross attention."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.visible = DenseLayer(inputs, channels)
        self.infrared = DenseLayer(inputs, channels)
        self.attention = CrossAttention(channels)

    def forward(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """N×inputs×H×W of both sources → N×channels×H×W."""
        fused: Tensor = self.attention(self.visible(visible), self.infrared(infrared))
        return fused


class SemanticInjection(nn.Module):
    """Semantic injection (SIM): the guide scales and shifts each pixel of the normalised features (as SPADE)."""

    def __init__(self, channels: int, guides: int) -> None:
        super().__init__()
        self.shared = nn.Conv2d(guides, channels, 3, padding=1)
        self.scale = nn.Conv2d(channels, channels, 3, padding=1)
        self.shift = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor, guide: Tensor) -> Tensor:
        """Inject N×guides×h×w, resized, into N×channels×H×W."""
        guide = F.interpolate(guide, features.shape[-2:], mode="bilinear", align_corners=False)
        shared = F.relu(self.shared(guide))
        scaled = F.instance_norm(features) * (1 + torch.sigmoid(self.scale(shared)))
        injected: Tensor = self.norm(scaled) + self.shift(shared)
        return injected


class TwiceNormed(nn.Module):
    """3×3 convolution without bias, two batch norms in a row, ReLU: what the published decoders are made of."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.norm_again = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """N×inputs×H×W → N×channels×H×W."""
        return F.relu(self.norm_again(self.norm(self.conv(features))))


class DenseDecoder(nn.Module):
    """Detail-preserving decoder (DSRM): four blocks, each on the input and all blocks before it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TwiceNormed(channels * (i + 1), channels) for i in range(4))

    def forward(self, features: Tensor) -> Tensor:
        """Decode N×C×H×W; the result is the last block's."""
        maps = [features]
        for block in self.blocks:
            maps.append(block(torch.cat(maps, dim=1)))
        return maps[-1]


class ImageHead(nn.Module):
    """3×3 convolution to one channel and tanh, moved to (0, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.output = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """N×C×H×W → N×1×H×W in (0, 1)."""
        return (torch.tanh(self.output(features)) + 1) / 2


class SourceMask(nn.Module):
    """Source-specific mask (S2M): what of the joint features belongs to one source."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            local = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
            layers += [local, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        self.local_attention = nn.Sequential(*layers[:-1])
        self.global_attention = nn.Sequential(nn.AdaptiveAvgPool2d(1), *bottleneck(channels, channels // 4))
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Mask N×C×H×W."""
        mask = torch.sigmoid(self.local_attention(features) * self.global_attention(features))
        masked: Tensor = self.norm(mask * features)
        return masked


class FidelityHead(ImageHead):
    """Image head on the features of one source, which it rebuilds."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.mask = SourceMask(channels)

    def forward(self, features: Tensor) -> Tensor:
        """N×C×H×W → N×1×H×W in (0, 1)."""
        return super().forward(self.mask(features))
