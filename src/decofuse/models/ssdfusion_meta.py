"""SSDFusion in the meta phase, its third."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from torch import Tensor

from decofuse.models import colour
from decofuse.models.meta import Fusion, Interface, MetaModules
from decofuse.models.ssdfusion import LEVELS, SSDFusion, infrared_mask, output_terms

META_WEIGHTS: Mapping[str, float] = MappingProxyType({"meta_0": 5.0, "meta_1": 2.0, "meta_2": 1.0})  # published


def fuse_in_colour(
    network: SSDFusion,
    batch: Mapping[str, Tensor],
    levels: Sequence[float] = LEVELS,
    mask_classes: Sequence[int] | None = None,
) -> Fusion:
    """Fusion terms of a batch, the merged detail features of the three levels, and the fused image in colour.

    Args:
        network: the network.
        batch: `visible` N×3×H×W RGB, `infrared` N×1×H×W, both in [0, 1]; `label` N×1×H×W as in the fusion phase; H and
            W multiples of 16.
        levels: weights of the three levels in the decomposition term.
        mask_classes: see `fusion_terms`.
    """
    luma, chroma = colour.split(batch["visible"])
    output = network.features(luma, batch["infrared"])
    mask = infrared_mask(batch["label"], mask_classes)
    terms = output_terms(output, luma, batch["infrared"], mask, levels)
    return Fusion(terms, output.detail, colour.join(output.fused, chroma))


def fresh_modules(network: SSDFusion, segmentation_channels: Sequence[int] = (32, 64, 160)) -> MetaModules:
    """Untrained meta modules for a network that has learnt to fuse, its channels and norms taken over.

    Args:
        network: the network.
        segmentation_channels: channels of the segmentation network's maps, of which the three finest count.
    """
    channels = network.encoder.embed.out_channels
    return MetaModules([channels] * len(LEVELS), segmentation_channels[: len(LEVELS)], type(network.down_1.norm))


META: Interface[SSDFusion] = Interface(fuse=fuse_in_colour, modules=fresh_modules)
