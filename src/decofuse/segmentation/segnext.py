"""SegNeXt: a convolutional segmentation network of four levels and a head that factorises its features.

Guo et al., NeurIPS 2022, arXiv 2209.08575, in the form and with the tensors of mmsegmentation 1.2; the defaults are
the smallest published size (MSCAN-T). Parameters start as PyTorch initialises them.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from decofuse.models.method import Upstream
from decofuse.models.msca import MSCA_NAMES, MSCABlock
from decofuse.models.restormer import ChannelNorm
from decofuse.segmentation.network import SegmentationNetwork

Bases = Literal["random", "fixed"]

GROUPS = 32  # of the head's group norms
STEPS_IN_TRAINING, STEPS = 6, 7  # updates of the factors
EPSILON = 1e-6  # in the denominators of the updates
FIXED_SEED = 0  # of the bases that do not change

UPSTREAM = Upstream(  # the tensors under `state_dict` of a checkpoint of mmsegmentation
    parts=MappingProxyType({"": ""}),
    names=MappingProxyType(
        {
            "backbone.patch_embed1.proj": "backbone.stages.0.embed",
            **{f"backbone.patch_embed{k}.proj": f"backbone.stages.{k - 1}.embed.0" for k in (2, 3, 4)},
            **{f"backbone.patch_embed{k}.norm": f"backbone.stages.{k - 1}.embed.1" for k in (2, 3, 4)},
            **{f"backbone.block{k}": f"backbone.stages.{k - 1}.blocks" for k in (1, 2, 3, 4)},
            **{f"backbone.norm{k}": f"backbone.stages.{k - 1}.norm" for k in (1, 2, 3, 4)},
            **MSCA_NAMES,
            "decode_head": "head",
            "conv_seg": "classify",
            "squeeze.conv": "squeeze.0",
            "squeeze.gn": "squeeze.1",
            "hamburger.ham_in.conv": "enter",
            "hamburger.ham_out.conv": "leave.0",
            "hamburger.ham_out.gn": "leave.1",
            "align.conv": "align.0",
            "align.gn": "align.1",
        }
    ),
)


class Stage(nn.Module):
    """One level of the backbone: an embedding that makes the map smaller, MSCA blocks, layer norm over channels."""

    def __init__(self, embed: nn.Module, channels: int, ratio: int, drop_paths: Sequence[float]) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = nn.Sequential(*(MSCABlock(channels, ratio, drop_path) for drop_path in drop_paths))
        self.norm = ChannelNorm(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C'×H×W to N×C×h×w."""
        normed: Tensor = self.norm(self.blocks(self.embed(features)))
        return normed


class MSCAN(nn.Module):
    """The backbone; 3,903,584 parameters by default.

    Args:
        widths: channels of each level, the first one even.
        depths: blocks of each level.
        ratios: expansion of the feed-forwards of each level.
        drop_path: probability of the last block, to which it rises linearly from 0 at the first, see `DropPath`.

    Raises:
        ValueError: the three do not describe one number of levels, or `drop_path` is not in [0, 1).
    """

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 160, 256),
        depths: Sequence[int] = (3, 3, 5, 2),
        ratios: Sequence[int] = (8, 8, 4, 4),
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        if not len(widths) == len(depths) == len(ratios) > 0 or min(*widths, *depths, *ratios) < 1 or widths[0] % 2:
            raise ValueError(
                "mscan: expected widths, depths and ratios of as many levels, at least 1 each and the first width "
                f"even, found {tuple(widths)}, {tuple(depths)} and {tuple(ratios)}"
            )
        rates = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())
        self.stages = nn.ModuleList(
            Stage(
                _embedding(widths[k - 1], widths[k]) if k else _stem(widths[0]),
                widths[k],
                ratios[k],
                [next(rates) for _ in range(depths[k])],
            )
            for k in range(len(widths))
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """N×3×H×W → the normalised map of each level, N×C×⌈H/s⌉×⌈W/s⌉ with s = 4, 8, 16, 32 by default."""
        maps = [image]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return tuple(maps[1:])


class HamburgerHead(nn.Module):
    """LightHamHead: the maps of several levels, joined at the size of the first and approximated at a low rank.

    323,593 parameters by default with 9 classes.

    Args:
        classes: number of classes.
        inputs: channels of each map.
        channels: C, width inside, a multiple of 32.
        rank: R, columns of the bases.
        dropout: probability that a channel is left out before the classification, in training.
        bases: what the factorisation starts from when no bases are given: `random` draws others in every forward,
            from torch's default generator, also in evaluation, as mmsegmentation; `fixed` takes the same ones for
            every image, so that predictions are deterministic.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        classes: int,
        *,
        inputs: Sequence[int] = (64, 160, 256),
        channels: int = 256,
        rank: int = 16,
        dropout: float = 0.1,
        bases: Bases = "random",
    ) -> None:
        super().__init__()
        if min(classes, rank, channels, *inputs) < 1 or channels % GROUPS:
            raise ValueError(
                f"hamburger head: classes, rank and inputs must be at least 1, channels a multiple of {GROUPS}, found "
                f"{classes}, {rank}, {tuple(inputs)} and {channels}"
            )
        if bases not in ("random", "fixed"):
            raise ValueError(f"hamburger head: bases must be random or fixed, found {bases}")
        self.rank = rank
        self.bases = bases
        self.squeeze = _normed_conv(sum(inputs), channels, nn.ReLU())
        self.enter = nn.Conv2d(channels, channels, 1)
        self.leave = _normed_conv(channels, channels)
        self.align = _normed_conv(channels, channels, nn.ReLU())
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(channels, classes, 1)

    def forward(self, maps: Sequence[Tensor], bases: Tensor | None = None) -> Tensor:
        """Classify each pixel.

        Args:
            maps: one N×C'×h×w for each of `inputs`.
            bases: N×C×R, not negative, columns of length 1; left out, they are drawn or fixed.

        Returns:
            Logits, N×classes×h×w of the first map.
        """
        size = maps[0].shape[-2:]
        resized = [F.interpolate(each, size, mode="bilinear") for each in maps]
        features = self.squeeze(torch.cat(resized, dim=1))
        factorised = factorise(
            F.relu(self.enter(features)).flatten(2),
            self.initial_bases(features) if bases is None else bases,
            STEPS_IN_TRAINING if self.training else STEPS,
        )
        features = F.relu(features + self.leave(factorised.view_as(features)))
        logits: Tensor = self.classify(self.dropout(self.align(features)))
        return logits

    def initial_bases(self, features: Tensor) -> Tensor:
        """Uniform in [0, 1), columns then of length 1: N×C×R for N×C×h×w."""
        n, c = features.shape[:2]
        if self.bases == "random":
            drawn = torch.rand(n, c, self.rank, dtype=features.dtype, device=features.device)
        else:
            generator = torch.Generator().manual_seed(FIXED_SEED)
            drawn = torch.rand(1, c, self.rank, generator=generator, device="cpu").to(features).expand(n, -1, -1)
        return F.normalize(drawn, dim=1)


class SegNeXt(SegmentationNetwork):
    """Backbone and head; the head takes all levels but the first.

    Args:
        classes: number of classes.
        widths: channels of each level, at least two.
        depths: blocks of each level.
        ratios: expansion of the feed-forwards of each level.
        drop_path: of the backbone's last block.
        channels: width of the head.
        rank: of the head's factorisation.
        dropout: of the head.
        bases: of the head, see `HamburgerHead`.

    Raises:
        ValueError: an argument is out of range.
    """

    # mmsegmentation spares what is called norm: not the stem's batch norms, nor the head's group norms.
    undecayed = ("norm", "stages.1.embed.1", "stages.2.embed.1", "stages.3.embed.1")

    def __init__(
        self,
        classes: int,
        *,
        widths: Sequence[int] = (32, 64, 160, 256),
        depths: Sequence[int] = (3, 3, 5, 2),
        ratios: Sequence[int] = (8, 8, 4, 4),
        drop_path: float = 0.1,
        channels: int = 256,
        rank: int = 16,
        dropout: float = 0.1,
        bases: Bases = "random",
    ) -> None:
        super().__init__()
        if len(widths) < 2:
            raise ValueError(f"segnext: expected widths of at least two levels, found {tuple(widths)}")
        self.channels = tuple(widths)
        self.backbone = MSCAN(widths, depths, ratios, drop_path)
        self.head = HamburgerHead(
            classes, inputs=widths[1:], channels=channels, rank=rank, dropout=dropout, bases=bases
        )

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """The backbone's maps of RGB images N×3×H×W, see `MSCAN`."""
        maps: tuple[Tensor, ...] = self.backbone(image)
        return maps

    def given_name(self, name: str) -> str | None:
        """Our name of a tensor of mmsegmentation's backbone, alone or within a whole network; see the base class."""
        if name.startswith(("head.", "decode_head.", "auxiliary_head.")):
            return None
        return UPSTREAM.translate("", name if name.startswith("backbone.") else f"backbone.{name}")

    def forward(self, image: Tensor, bases: Tensor | None = None) -> Tensor:
        """Classify each pixel.

        Args:
            image: RGB, N×3×H×W, normalised as for the training of the weights.
            bases: of the head, see `HamburgerHead`.

        Returns:
            Logits, N×classes×H×W.
        """
        logits = self.head(self.features(image)[1:], bases)
        return F.interpolate(logits, image.shape[-2:], mode="bilinear")


def factorise(values: Tensor, bases: Tensor, steps: int) -> Tensor:
    """Non-negative matrix factorisation X ≈ B Cᵀ by multiplicative updates (Lee and Seung, NeurIPS 2000).

    Coefficients start as a softmax of XᵀB over the columns of B; each step updates them, then the bases; the
    coefficients are updated once more at the end. Gradients pass through all steps.

    Args:
        values: X, N×C×P, not negative.
        bases: the first B, N×C×R, not negative.
        steps: updates.

    Returns:
        B Cᵀ, N×C×P.
    """
    coefficients = (values.mT @ bases).softmax(dim=-1)
    for _ in range(steps):
        coefficients = _updated(coefficients, values.mT, bases)
        bases = _updated(bases, values, coefficients)
    return bases @ _updated(coefficients, values.mT, bases).mT


def _updated(factor: Tensor, values: Tensor, other: Tensor) -> Tensor:
    """F ⊙ (X O) / (F OᵀO + ε): `factor` F brings X ≈ F Oᵀ closer to `values` X, the other factor O held."""
    return factor * (values @ other) / (factor @ (other.mT @ other) + EPSILON)


def _stem(channels: int) -> nn.Sequential:
    """RGB to a quarter of the size."""
    return nn.Sequential(*_embedding(3, channels // 2), nn.GELU(), *_embedding(channels // 2, channels))


def _embedding(inputs: int, channels: int) -> nn.Sequential:
    """To half the size: 3×3 convolution of stride 2, batch norm."""
    return nn.Sequential(nn.Conv2d(inputs, channels, 3, stride=2, padding=1), nn.BatchNorm2d(channels))


def _normed_conv(inputs: int, channels: int, *activation: nn.Module) -> nn.Sequential:
    """1×1 convolution without bias, group norm."""
    return nn.Sequential(nn.Conv2d(inputs, channels, 1, bias=False), nn.GroupNorm(GROUPS, channels), *activation)
