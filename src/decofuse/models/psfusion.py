"""PSFusion: progressive semantic injection and scene fidelity; one network fuses, segments and rebuilds both sources.

Tang et al., Information Fusion 99 (2023) 101870, doi 10.1016/j.inffus.2023.101870. Two encoders of the same form, one
a source, are fused at six levels. The semantic branch decodes the four coarser levels; the restoration branch decodes
the three finer ones, and the semantic features are injected into it. One loss trains everything at once.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple

from torch import Tensor
from torch.nn import functional as F

from decofuse.data.dataset import IGNORED_LABEL
from decofuse.errors import UserError
from decofuse.losses.correlation import batch_correlation
from decofuse.losses.fusion import directional_gradient_loss
from decofuse.losses.gradient import second_order_magnitude
from decofuse.losses.segmentation import hard_pixel_loss, pixel_losses, two_class_loss
from decofuse.losses.selection import selected_intensity_loss
from decofuse.models import psfusion_blocks, psfusion_encoder
from decofuse.models.colour import split
from decofuse.models.method import Fuser, Phase, Upstream
from decofuse.models.psfusion_blocks import FidelityHead, ImageHead
from decofuse.models.psfusion_branches import LevelFusion, Restoration, Segmentation, SemanticBranch
from decofuse.models.psfusion_encoder import Encoder

Sizes = Literal["resize", "pad"]
Source = Literal["visible", "infrared"]
STRIDE = 32  # of the coarsest level [pixels]

UPSTREAM = Upstream(
    parts=MappingProxyType({"": "", "MTAN": ""}),
    names=MappingProxyType(
        {
            **{
                f"{theirs}_{old}": f"{ours}.{new}"
                for theirs, ours in (("encoder_rgb", "visible_encoder"), ("encoder_thermal", "infrared_encoder"))
                for old, new in psfusion_encoder.UPSTREAM_NAMES.items()
            },
            **{f"low_fuse{level}": f"fusion.levels.{level - 1}" for level in (1, 2, 3)},
            **{f"high_fuse{level}": f"fusion.levels.{level - 1}" for level in (4, 5, 6)},
            "to_fused_seg": "semantic.lateral",
            "seg_decoder": "semantic",
            "classfier.binary_conv1": "segmentation.binary",
            "classfier.binary_conv2": "segmentation.binary.output",
            "classfier.semantic_conv1": "segmentation.semantic",
            "classfier.semantic_conv2": "segmentation.semantic.output",
            "classfier.boundary_conv.0": "segmentation.boundary.conv",
            "classfier.boundary_conv.1": "segmentation.boundary.norm",
            "classfier.boundary_conv.3": "segmentation.boundary.output",
            "bnop": "norm",
            **{f"SIM{i}": f"restoration.injections.{i - 1}" for i in (1, 2, 3)},
            "rec_decoder": "restoration.decoder",
            "seg_rec_decoder": "restoration.refine",
            "pred_fusion": "fused_head",
            "pred_vi": "visible_head",
            "pred_ir": "infrared_head",
            **psfusion_blocks.UPSTREAM_NAMES,
        }
    ),
    unused=("classfier.boundary_conv1.*", "classfier.boundary_conv2.*"),
)


class Outputs(NamedTuple):
    """All that the network gives, N×…×H×W: logits of classes, of object, of boundary; images in (0, 1).

    `binary` and `boundary` have two channels, no and yes; `fused`, `visible` and `infrared` one, the latter two being
    the sources' luma rebuilt.
    """

    semantic: Tensor
    binary: Tensor
    boundary: Tensor
    fused: Tensor
    visible: Tensor
    infrared: Tensor


class PSFusion(Fuser):
    """The network; the defaults are the published size (45,899,366 parameters; upstream stores 9,474 more, unused).

    A training batch needs two samples at least, as the batch norms behind global means see one value a sample.

    Args:
        channels: width C of the fused features and of the first ResNet stage; a multiple of 8. The later stages have
            2C, 4C and 8C, features at full size C/2.
        blocks: basic blocks of the four ResNet stages.
        classes: classes of the semantic logits.
        sizes: what becomes of images whose sides are no multiples of 32: `resize` shrinks them to the next multiple
            and enlarges the result (upstream, which does so on 8 bits); `pad` reflects them at the right and lower
            border up to the next multiple and crops.

    Raises:
        ValueError: an argument is out of range.
    """

    smallest: ClassVar[int] = STRIDE

    def __init__(
        self, channels: int = 64, blocks: Sequence[int] = (3, 4, 6, 3), classes: int = 9, sizes: Sizes = "resize"
    ) -> None:
        super().__init__()
        if channels < 8 or channels % 8:
            raise ValueError(f"psfusion: channels must be a multiple of 8, found {channels}")
        if len(blocks) != 4 or min(blocks) < 1:
            raise ValueError(f"psfusion: blocks must be four numbers of at least 1, found {list(blocks)}")
        if not 2 <= classes <= IGNORED_LABEL:
            raise ValueError(f"psfusion: classes must be 2 to {IGNORED_LABEL}, found {classes}")
        if sizes not in ("resize", "pad"):
            raise ValueError(f"psfusion: sizes must be resize or pad, found {sizes}")
        self.sizes = sizes
        narrow = channels // 2
        self.visible_encoder = Encoder(3, channels, blocks)
        self.infrared_encoder = Encoder(1, channels, blocks)
        self.fusion = LevelFusion(channels)
        self.semantic = SemanticBranch(channels)
        self.classes = classes
        self.segmentation = Segmentation(channels, classes)
        self.restoration = Restoration(channels)
        self.fused_head = ImageHead(narrow)
        self.visible_head = FidelityHead(narrow)
        self.infrared_head = FidelityHead(narrow)

    def forward(self, visible: Tensor, infrared: Tensor) -> Outputs:
        """All outputs for N×3×H×W visible (RGB) and N×1×H×W infrared images in [0, 1]; H and W multiples of 32."""
        levels, semantic = self._features(visible, infrared)
        restored = self.restoration(levels, semantic)
        images = (head(restored) for head in (self.fused_head, self.visible_head, self.infrared_head))
        return Outputs._make((*self.segmentation(semantic), *images))

    def fuse(self, source_a: Tensor, source_b: Tensor) -> Tensor:
        """Fused luma, N×1×H×W, of visible N×3×H×W (RGB) and infrared N×1×H×W in [0, 1]; H and W at least 32."""
        levels, semantic = self._features(*self._fitted(source_a, source_b))
        fused: Tensor = self.fused_head(self.restoration(levels, semantic))
        height, width = source_a.shape[-2:]
        if self.sizes == "resize" and fused.shape[-2:] != (height, width):
            return _bicubic(fused, height, width)
        return fused[..., :height, :width]

    def segment(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """Logits of the classes, N×classes×H×W, for the same images as `fuse` takes."""
        _, semantic = self._features(*self._fitted(visible, infrared))
        logits: Tensor = self.segmentation(semantic)[0]
        height, width = visible.shape[-2:]
        if self.sizes == "resize":
            return F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        return logits[..., :height, :width]

    def _features(self, visible: Tensor, infrared: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """The three finest fused levels, and the semantic features of the four coarsest."""
        levels = self.fusion(self.visible_encoder(visible), self.infrared_encoder(infrared))
        return levels[:3], self.semantic(levels[2:])

    def _fitted(self, *images: Tensor) -> list[Tensor]:
        """The images at sides that are multiples of 32."""
        height, width = images[0].shape[-2:]
        down, right = -height % STRIDE, -width % STRIDE
        if not down and not right:
            return list(images)
        if self.sizes == "resize":
            return [_bicubic(image, height - height % STRIDE, width - width % STRIDE) for image in images]
        return [F.pad(image, (0, right, 0, down), mode="reflect") for image in images]


def joint_terms(
    network: PSFusion,
    batch: Mapping[str, Tensor],
    *,
    hard_threshold: float = 0.75,
    hard_pixels: int | None = 65536,
    binary_weights: Sequence[float] = (1.4548, 19.8962),
    intensity_mask: Source = "visible",
    correlation_floor: float | None = None,
) -> dict[str, Tensor]:
    """Terms of the one loss.

    Args:
        network: the network.
        batch: `visible` N×3×H×W (RGB) and `infrared` N×1×H×W in [0, 1], H and W multiples of 32; `label`, `binary` and
            `boundary` N×H×W int64; `mask` N×1×H×W, above 0 at salient targets.
        hard_threshold: probability of its class below which a pixel is hard, for the semantic term.
        hard_pixels: pixels that count in the semantic term at least; None for a quarter of those whose label is not
            ignored, the others left out.
        binary_weights: weights of the positive pixels of both channels of the binary term.
        intensity_mask: source that the intensity term follows inside the mask. Upstream passes its arguments such that
            it is the visible one; `infrared` is what their names say.
        correlation_floor: see `fusion_terms`.

    Raises:
        UserError: a label is neither one of the network's classes nor ignored.
    """
    luma, _ = split(batch["visible"])
    infrared = batch["infrared"]
    out = network(batch["visible"], infrared)
    return {
        "semantic": _semantic_loss(out.semantic, batch["label"], hard_threshold, hard_pixels),
        "binary": two_class_loss(out.binary, batch["binary"], binary_weights),
        "boundary": two_class_loss(out.boundary, batch["boundary"]),
        **fusion_terms(
            luma,
            infrared,
            out.fused,
            batch["mask"],
            intensity_mask=intensity_mask,
            correlation_floor=correlation_floor,
        ),
        **fidelity_terms("visible", out.visible, luma),
        **fidelity_terms("infrared", out.infrared, infrared),
    }


def fusion_terms(
    luma: Tensor,
    infrared: Tensor,
    fused: Tensor,
    mask: Tensor,
    *,
    intensity_mask: Source = "visible",
    correlation_floor: float | None = None,
) -> dict[str, Tensor]:
    """Terms that compare the fused image with both sources.

    Args:
        luma: of the visible image, N×1×H×W in [0, 1].
        infrared: N×1×H×W in [0, 1].
        fused: N×1×H×W in [0, 1].
        mask: N×1×H×W, above 0 at salient targets.
        intensity_mask: source that the intensity term follows inside the mask.
        correlation_floor: least sum of both correlations (over the whole batch at once) that the correlation term is
            the reciprocal of. Without one, as upstream, it has a pole at 0, and below 0, where an untrained network
            may well start, it drives the sum towards that pole.
    """
    masked, other = (luma, infrared) if intensity_mask == "visible" else (infrared, luma)
    agreement = batch_correlation(luma, fused) + batch_correlation(infrared, fused)
    if correlation_floor is not None:
        agreement = agreement.clamp(min=correlation_floor)
    return {
        "correlation": 1 / (agreement + 1e-6),
        "gradient": directional_gradient_loss(luma, infrared, fused),
        "intensity": selected_intensity_loss(masked, other, fused, mask),
    }


def fidelity_terms(name: str, rebuilt: Tensor, source: Tensor) -> dict[str, Tensor]:
    """Terms that compare the luma of the source `name` with its reconstruction, N×1×H×W both."""
    gradient = F.l1_loss(second_order_magnitude(rebuilt), second_order_magnitude(source))
    return {f"l1_{name}": F.l1_loss(rebuilt, source), f"gradient_{name}": gradient}


PHASES: Mapping[str, Phase] = MappingProxyType(
    {
        "joint": Phase(
            trains=(
                "visible_encoder",
                "infrared_encoder",
                "fusion",
                "semantic",
                "segmentation",
                "restoration",
                "fused_head",
                "visible_head",
                "infrared_head",
            ),
            terms=joint_terms,
            joint=True,
            smallest_batch=2,
        )
    }
)


def _semantic_loss(logits: Tensor, label: Tensor, threshold: float, pixels: int | None) -> Tensor:
    """Cross entropy of the hard pixels, a scalar."""
    classes, ignored = logits.shape[1], label == IGNORED_LABEL
    if (wrong := label[(label >= classes) & ~ignored]).numel():
        raise UserError(
            f"psfusion: expected labels 0-{classes - 1} or {IGNORED_LABEL} (ignored), found {wrong[0].item()}; "
            "set network.classes to the number of the dataset's classes"
        )
    losses = pixel_losses(logits, label)
    if pixels is None:
        losses = losses[~ignored]
        pixels = losses.numel() // 4
    return hard_pixel_loss(losses, threshold, pixels)


def _bicubic(images: Tensor, height: int, width: int) -> Tensor:
    """Images in [0, 1] at another size by antialiased bicubic interpolation, Pillow's default; in [0, 1] again."""
    return F.interpolate(images, (height, width), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
