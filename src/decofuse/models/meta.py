"""Meta features: detail features of a fusion network, made comparable with those of a segmentation network.

The meta phase of SSDFusion (Ming et al., Pattern Recognition 2025, doi 10.1016/j.patcog.2025.111457), for any network
that keeps detail features at several levels. At each level, an extractor turns the detail features and a map of a
frozen segmentation network into meta features; a transform turns the detail features alone into what should equal
them. Maps are N×C×H×W; batch norms have PyTorch's defaults.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, NamedTuple, Protocol, Self, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from decofuse.models.method import Upstream
from decofuse.models.restormer import Norm, detail_branch
from decofuse.models.ssdfusion_blocks import SSDFUSION_NAMES, Downsampler, Halving, PreActivatedConv, ResidualDenseBlock

LAYER_SCALE = 1e-6  # initial weight of the block's branch
EPSILON = 1e-6  # in the response norm
REDUCTION = 4  # detail features are as many times larger than the segmentation map of their level

UPSTREAM = Upstream(  # the tensors of the meta modules in SSDFusion's checkpoints of its third stage
    parts=MappingProxyType({"": ""}),
    names=MappingProxyType(
        {
            **{f"mfe_{i}": f"extractors.{i}" for i in range(3)},
            **{f"ft_{i}": f"transforms.{i}" for i in range(3)},
            "conv_1": "block",
            "extractor_seg": "guide",
            "guide.gamma": "guide.layer_scale",
            "depthwise_conv": "local",
            "pointwise_conv1": "expand",
            "pointwise_conv2": "project",
            "grn": "response_norm",
            "trans_1": "enter",
            "trans_2": "leave",
            "transform.net": "detail",
            "conv.conv2d": "mix",
            "conv.norm": "mix_norm",
            **SSDFUSION_NAMES,
        }
    ),
    unused=("*.downsampler.norm.*",),
)


class ResponseNorm(nn.Module):
    """Global response norm (Woo et al., ConvNeXt V2, CVPR 2023): channels compete by their L2 norms over the pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Map N×H×W×C to x + γ x g / (mean g + ε) + β, g the norm of each channel."""
        norms = torch.linalg.vector_norm(features, dim=(1, 2), keepdim=True)
        share = norms / (norms.mean(dim=-1, keepdim=True) + EPSILON)
        result: Tensor = features + self.gamma * (features * share) + self.beta
        return result


class ConvNeXtBlock(nn.Module):
    """ConvNeXt V2's block with an expansion of 2 and a weight a channel of its branch, as in SSDFusion."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, 2 * channels)
        self.response_norm = ResponseNorm(2 * channels)
        self.project = nn.Linear(2 * channels, channels)
        self.layer_scale = nn.Parameter(torch.full((channels,), LAYER_SCALE))

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W."""
        normed = self.norm(self.local(features).permute(0, 2, 3, 1))
        branch = self.layer_scale * self.project(self.response_norm(F.gelu(self.expand(normed))))
        result: Tensor = features + branch.permute(0, 3, 1, 2)
        return result


class MetaFeatureExtractor(Halving):
    """Detail features and a segmentation map → meta features of half the size of the detail features.

    Args:
        channels: C, of the detail features and of the result.
        segmentation_channels: of the segmentation map.
    """

    def __init__(self, channels: int, segmentation_channels: int) -> None:
        super().__init__(channels, channels)
        self.guide = ConvNeXtBlock(segmentation_channels)
        self.enter = PreActivatedConv(segmentation_channels, channels)
        self.merger = ResidualDenseBlock(3, 2 * channels, growth=channels)
        self.leave = PreActivatedConv(2 * channels, channels)

    def forward(self, detail: Tensor, segmentation: Tensor) -> Tensor:
        """Map N×C×H×W and N×S×H/4×W/4 to N×C×H/2×W/2, H and W multiples of 4."""
        of_detail = F.relu(self.halved(detail))
        larger = F.interpolate(segmentation, of_detail.shape[-2:], mode="bilinear", align_corners=True)
        of_segmentation = self.enter(self.guide(larger))
        result: Tensor = self.leave(self.merger(torch.cat((of_detail, of_segmentation), dim=1)))
        return result


class FeatureTransform(nn.Module):
    """Detail features → the meta features that they should hold, at half the size.

    Args:
        channels: C, even.
        norm: builds the norm before the downsampling; upstream's returns its input unchanged.
    """

    def __init__(self, channels: int, norm: Norm = nn.Identity) -> None:
        super().__init__()
        self.detail = detail_branch(channels, nodes=1)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.mix_norm = nn.BatchNorm2d(channels)
        self.downsampler = Downsampler(channels, norm)

    def forward(self, detail: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H/2×W/2, H and W even."""
        result: Tensor = self.downsampler(F.relu(self.mix_norm(self.mix(self.detail(detail)))))
        return result


class MetaFeatures(NamedTuple):
    """Features of one level, both N×C×H/2×W/2 of detail features N×C×H×W.

    Attributes:
        meta: of the extractor.
        transformed: of the transform.
    """

    meta: Tensor
    transformed: Tensor


class MetaModules(nn.Module):
    """An extractor and a transform a level; the defaults are the published size (943,328 parameters).

    Args:
        detail_channels: channels of the detail features of each level, even.
        segmentation_channels: channels of the segmentation map of each level.
        norm: see `FeatureTransform`.

    Raises:
        ValueError: the levels are not as many in both, or a number is out of range.
    """

    def __init__(
        self,
        detail_channels: Sequence[int] = (32, 32, 32),
        segmentation_channels: Sequence[int] = (32, 64, 160),
        norm: Norm = nn.Identity,
    ) -> None:
        super().__init__()
        levels = list(zip(detail_channels, segmentation_channels, strict=False))
        if not len(detail_channels) == len(segmentation_channels) > 0 or min(segmentation_channels) < 1:
            raise ValueError(
                "meta: expected detail and segmentation channels of as many levels, at least 1, found "
                f"{tuple(detail_channels)} and {tuple(segmentation_channels)}"
            )
        if min(detail_channels) < 2 or any(channels % 2 for channels in detail_channels):
            raise ValueError(f"meta: expected even numbers of detail channels, found {tuple(detail_channels)}")
        self.extractors = nn.ModuleList(MetaFeatureExtractor(*channels) for channels in levels)
        self.transforms = nn.ModuleList(FeatureTransform(channels, norm) for channels in detail_channels)

    def forward(self, details: Sequence[Tensor], maps: Sequence[Tensor]) -> tuple[MetaFeatures, ...]:
        """Meta features of each level.

        Args:
            details: detail features, N×C×H×W each with its own C, H and W; H and W multiples of 4.
            maps: segmentation maps, N×S×H/4×W/4 each; those of further levels are left out.

        Raises:
            ValueError: sizes do not fit.
        """
        levels = list(zip(self.extractors, self.transforms, details, maps[: len(self.extractors)], strict=True))
        for _, _, detail, segmentation in levels:
            if detail.shape[-2:] != tuple(REDUCTION * side for side in segmentation.shape[-2:]):
                raise ValueError(
                    f"meta: expected detail features {REDUCTION} times as large as the segmentation map, found "
                    f"{_size(detail)} and {_size(segmentation)}"
                )
        return tuple(
            MetaFeatures(extract(detail, segmentation), transform(detail))
            for extract, transform, detail, segmentation in levels
        )


class Fusion(NamedTuple):
    """What the meta phase asks of a fusion network for a batch.

    Attributes:
        terms: fusion terms by name, scalars, not weighted.
        details: detail features, N×C×H×W a level.
        rgb: fused image in colour, N×3×H×W in [0, 1].
    """

    terms: dict[str, Tensor]
    details: tuple[Tensor, ...]
    rgb: Tensor


class Featured(Protocol):
    """What a teacher must be able to do."""

    def features(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """Maps of RGB images N×3×H×W in [0, 1], finest level first."""
        ...


class Teacher(nn.Module):
    """A segmentation network, frozen: always in evaluation mode and without gradient, so nothing changes it.

    Args:
        segmentation: a module with `features`, see `Featured`; frozen here. As upstream the images are not normalised
            as for the network's own training, unless its `features` do it.
    """

    def __init__(self, segmentation: nn.Module) -> None:
        super().__init__()
        self.segmentation = segmentation.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """The maps of N×3×H×W in [0, 1]."""
        return cast(Featured, self.segmentation).features(rgb)


Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Interface(Generic[Network]):
    """What a method declares to take part in the meta phase; its levels are as many as its detail features.

    Attributes:
        fuse: fuses a batch: (network, batch, **options) -> Fusion. `visible` is N×3×H×W RGB, `infrared` N×1×H×W, both
            in [0, 1], `label` N×1×H×W class indices; H and W multiples of 16.
        modules: fresh meta modules for (network, channels of the segmentation maps); a level's detail features are four
            times as large as its segmentation map.
    """

    fuse: Callable[..., Fusion]
    modules: Callable[[Network, Sequence[int]], MetaModules]


class MetaNetwork(nn.Module):
    """The start of a meta phase: a network that has learnt to fuse, fresh meta modules, a frozen teacher.

    Attributes:
        fusion: the network; what upstream's stage III keeps under `model.`.
        meta: the meta modules.
        teacher: the segmentation network.
    """

    def __init__(self, fusion: nn.Module, meta: MetaModules, teacher: Teacher) -> None:
        super().__init__()
        self.fusion = fusion
        self.meta = meta
        self.teacher = teacher


def meta_terms(modules: MetaModules, details: Sequence[Tensor], maps: Sequence[Tensor]) -> dict[str, Tensor]:
    """Mean squared difference of the meta features of each level i, `meta_<i>`: scalars, not weighted.

    Gradient reaches the modules, and the detail features on both ways.

    Args:
        modules: the extractors and transforms.
        details: see `MetaModules`.
        maps: see `MetaModules`.
    """
    features = modules(details, maps)
    return {f"meta_{i}": F.mse_loss(level.meta, level.transformed) for i, level in enumerate(features)}


def _size(features: Tensor) -> str:
    return "x".join(map(str, features.shape[-2:]))
