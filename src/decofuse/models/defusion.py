"""DeFusion: fusion learnt from decomposing degraded views of one image.

Liang et al., Fusion from Decomposition, ECCV 2022. A network that sees two views of a clean image, each spoilt in other
places, learns to tell what both show, what only either shows, and the whole: the pretext task of common and unique
decomposition (CUD). Two sources of any task are then fused as if they were such views. There is no normalisation and
no dropout, so that training and evaluation mode compute the same.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from decofuse.losses.cud import part_masks, summed_l1
from decofuse.models.colour import split
from decofuse.models.defusion_blocks import Decoder, Encoder, stage
from decofuse.models.method import Fuser, Phase, Upstream

CommonHead = Literal["common", "unique"]
BORDER = 16  # reflected on every side when fusing [pixels]
GREY = 0.3  # of the first images, if asked for

# Upstream registers what serves both images twice, as "upper" and as "lower".
_SHARED = {
    "encoder_{}.0": "encoder.stem",
    "encoder_{}.2": "encoder.stages.0",
    "{}_encoder_layer1": "encoder.stages.1",
    "{}_encoder_layer2": "encoder.stages.2",
    "{}_encoder_layer3": "encoder.stages.3",
    "decoder_{}_layer1": "unique_decoder.stages.0",
    "decoder_{}_layer2": "unique_decoder.stages.1",
    "decoder_{}_layer3": "unique_decoder.stages.2",
    "decoder_{}_layer4.0": "unique_decoder.stages.3",
    "decoder_{}_projection_layer.0": "unique_head",
}
UPSTREAM = Upstream(
    parts=MappingProxyType({"": "", "state_dict": ""}),
    names=MappingProxyType(
        {
            **{name.format(branch): ours for name, ours in _SHARED.items() for branch in ("upper", "lower")},
            "common_encoder.0": "joint_encoder",
            "decoder_common_layer1": "common_decoder.stages.0",
            "decoder_common_layer2": "common_decoder.stages.1",
            "decoder_common_layer3": "common_decoder.stages.2",
            "decoder_common_layer4.0": "common_decoder.stages.3",
            "decoder_common_projection_layer.0": "common_head",
            "fusion_rule.0": "fusion_head",
            "layer": "",
            "conv1": "reduce",
            "conv2.conv": "attention.branches",
            "conv2.fc1": "attention.squeeze",
            "conv2.fc2": "attention.excite",
            "conv3": "expand",
            "downsample.0": "shortcut",
            "downsample.1": "shortcut",
        }
    ),
)


class Embeddings(NamedTuple):
    """What the decoders make of two views, each N×width×H×W."""

    common: Tensor
    unique_a: Tensor
    unique_b: Tensor


class Images(NamedTuple):
    """What the heads show of it, each N×3×H×W: what both views show, what only either does, and all."""

    common: Tensor
    unique_a: Tensor
    unique_b: Tensor
    fused: Tensor


class DeFusion(Fuser):
    """The network; the defaults are those of the released weights (7,874,473 parameters).

    Args:
        width: channels of the embeddings; all others are multiples or halves of it. A multiple of 8.
        encoder_blocks: bottlenecks in each of the encoder's four stages, and in the joint encoder.
        common_blocks: bottlenecks in each of the common decoder's four stages; upstream's training code has
            (4, 4, 6, 6), 8,043,817 parameters in all.
        unique_blocks: the same of the unique decoder.
        start: how the heads begin. `published`: like all convolutions; as nothing is normalised, first images are ten
            to some hundred times too bright, and while they fall, channels may end where no ReLU lets a gradient pass,
            to stay black. `grey`: weights 0 and biases 0.3, so that every first image is an even grey.

    Raises:
        ValueError: an argument is out of range.
    """

    smallest: ClassVar[int] = BORDER + 1  # of which a border can be reflected

    def __init__(
        self,
        width: int = 16,
        encoder_blocks: Sequence[int] = (6, 6, 4, 4, 4),
        common_blocks: Sequence[int] = (2, 2, 2, 2),
        unique_blocks: Sequence[int] = (4, 4, 6, 6),
        start: Literal["published", "grey"] = "published",
    ) -> None:
        super().__init__()
        if width < 8 or width % 8:
            raise ValueError(f"defusion: width must be a positive multiple of 8, found {width}")
        for name, blocks, count in (
            ("encoder_blocks", encoder_blocks, 5),
            ("common_blocks", common_blocks, 4),
            ("unique_blocks", unique_blocks, 4),
        ):
            if len(blocks) != count or min(blocks) < 1:
                raise ValueError(f"defusion: {name} must be {count} numbers of at least 1, found {tuple(blocks)}")
        if start not in ("published", "grey"):
            raise ValueError(f"defusion: start must be published or grey, found {start}")
        w = width
        self.encoder = Encoder(w, encoder_blocks[:4])
        self.joint_encoder = stage(32 * w, 16 * w, encoder_blocks[4])
        self.common_decoder = Decoder(w, (96 * w, 32 * w, 12 * w, w), (4 * w, w, w // 4, w // 4), common_blocks)
        self.unique_decoder = Decoder(w, (80 * w, 32 * w, 12 * w, 4 * w), (6 * w, 2 * w, w, w // 4), unique_blocks)
        self.common_head = nn.Conv2d(w, 3, 3, padding=1)
        self.unique_head = nn.Conv2d(w, 3, 3, padding=1)
        self.fusion_head = nn.Conv2d(w, 3, 3, padding=1)
        self.apply(_initialise)
        if start == "grey":
            for head in (self.common_head, self.unique_head, self.fusion_head):
                nn.init.zeros_(head.weight)
                nn.init.constant_(cast(Tensor, head.bias), GREY)

    def embed(self, view_a: Tensor, view_b: Tensor) -> Embeddings:
        """The embeddings of two views, each N×3×H×W in [0, 1]; the same weights serve both."""
        size = view_a.shape[-2:]
        each = self.encoder(torch.cat((view_a, view_b)))
        side_by_side = [torch.cat(features.chunk(2), dim=1) for features in each]
        joint = self.joint_encoder(side_by_side[-1])
        common = self.common_decoder(joint, side_by_side, size)
        return Embeddings(common, *self.unique_decoder(torch.cat((joint, joint)), each, size).chunk(2))

    def show(self, embeddings: Embeddings, common_head: CommonHead = "common") -> Images:
        """The images of embeddings before the last ReLU, so that they may be negative.

        Args:
            embeddings: what `embed` gives.
            common_head: the head that shows the common part; upstream's test code shows it through the unique one,
                which was not trained for it.
        """
        common, unique_a, unique_b = embeddings
        return Images(
            (self.common_head if common_head == "common" else self.unique_head)(common),
            self.unique_head(unique_a),
            self.unique_head(unique_b),
            self.fusion_head(common + unique_a + unique_b),
        )

    def forward(self, view_a: Tensor, view_b: Tensor, common_head: CommonHead = "common") -> Images:
        """Take two views, each N×3×H×W in [0, 1], apart and put them together; for `common_head` see `show`."""
        return Images(*map(F.relu, self.show(self.embed(view_a, view_b), common_head)))

    def decompose(self, view_a: Tensor, view_b: Tensor, common_head: CommonHead = "common") -> Images:
        """The same with a reflected border around the views, cut off again, and clamped to [0, 1]; sides above 16."""
        padded = [F.pad(view, [BORDER] * 4, mode="reflect") for view in (view_a, view_b)]
        inside = slice(BORDER, -BORDER)
        return Images(*(image[..., inside, inside].clamp(0, 1) for image in self(*padded, common_head)))

    def fuse(self, source_a: Tensor, source_b: Tensor) -> Tensor:
        """Fuse two images in [0, 1], sides at least 17.

        Grey ones (visible and infrared, N×1×H×W) are repeated to three channels, infrared first as upstream has it;
        the result is Y = 0.299 R + 0.587 G + 0.114 B of the three that come out. RGB ones (N×3×H×W) enter in their
        order, RGB comes out.
        """
        if source_a.shape[1] == 3:
            return self.decompose(source_a, source_b).fused
        rgb = self.decompose(source_b.expand(-1, 3, -1, -1), source_a.expand(-1, 3, -1, -1)).fused
        return split(rgb)[0]


def annealing(step: float) -> tuple[float, float]:
    """How the published loss changes with the steps done before.

    Args:
        step: steps before this one, of the published 625,000.

    Returns:
        α, what a prediction outside of its mask counts, over what it counts inside; and β, the weight of the fused
        image.
    """
    leak = 0.0 if step < 3000 else 0.15 * (min(step, 7000) / 7000) ** 2 if step <= 40000 else 0.015
    return leak, 0.0 if step < 17000 else (min(step - 10000, 14000) / 14000) ** 2


def cud_terms(network: DeFusion, batch: Mapping[str, Tensor], anneal_scale: float = 1.0) -> dict[str, Tensor]:
    """Terms of the loss: sums over the samples of mean absolute errors; `fusion` has its weight β in it.

    Args:
        network: the network.
        batch: `view_a`, `view_b` and the clean `image`, N×3×H×W in [0, 1]; `mask_a` and `mask_b`, N×1×H×W, 1 where the
            view shows the image and 0 elsewhere; `step`, the steps done before, a scalar.
        anneal_scale: what the step numbers of `annealing` are multiplied by.
    """
    image, masks = batch["image"], part_masks(batch["mask_a"], batch["mask_b"])
    shown: Images = network(batch["view_a"], batch["view_b"])
    leak, fusion_weight = annealing(int(batch["step"]) / anneal_scale)
    terms = {
        name: summed_l1((leak + (1 - leak) * mask) * part, mask * image)
        for name, mask, part in zip(masks._fields, masks, shown[:3], strict=True)
    }
    return {**terms, "fusion": fusion_weight * summed_l1(shown.fused, image)}


PHASES: Mapping[str, Phase] = MappingProxyType(
    {
        "cud": Phase(
            trains=(
                "encoder",
                "joint_encoder",
                "common_decoder",
                "unique_decoder",
                "common_head",
                "unique_head",
                "fusion_head",
            ),
            terms=cud_terms,
            carries=False,
            joint=True,
        )
    }
)


def _initialise(module: nn.Module) -> None:
    """Convolutions: normal weights of σ² = 2 / (kernel area · all output channels); biases as PyTorch draws them."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=(2 / (module.weight[0, 0].numel() * module.out_channels)) ** 0.5)
