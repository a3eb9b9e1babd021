"""SSDFusion in the meta phase, its third."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from torch import Tensor

from decofuse.models import colour
from decofuse.models.meta import Fusion, MetaModules
from decofuse.models.ssdfusion import LEVELS, SSDFusion, output_terms

META_WEIGHTS: Mapping[str, float] = MappingProxyType({"meta_0": 5.0, "meta_1": 2.0, "meta_2": 1.0})  # published


def fuse_in_colour(network: SSDFusion, batch: Mapping[str, Tensor], levels: Sequence[float] = LEVELS) -> Fusion:
    """Fusion terms of a batch, the merged detail features of the three levels, and the fused image in colour.

    Args:
        network: the network.
        batch: `visible` N×3×H×W RGB, `infrared` N×1×H×W, both in [0, 1]; `label` N×1×H×W as in the fusion phase; H and
            W multiples of 16.
        levels: weights of the three levels in the decomposition term.
    """
    luma, chroma = colour.split(batch["visible"])
    output = network.features(luma, batch["infrared"])
    terms = output_terms(output, luma, batch["infrared"], batch["label"], levels)
    return Fusion(terms, output.detail, colour.join(output.fused, chroma))


def fresh_modules(network: SSDFusion, segmentation_channels: Sequence[int] = (32, 64, 160)) -> MetaModules:
    """Untrained meta modules for a network that has learnt to fuse, its channels and norms taken over.

    Args:
        network: the network.
        segmentation_channels: channels of the segmentation network's three finest maps.
    """
    channels = network.encoder.embed.out_channels
    return MetaModules([channels] * len(LEVELS), segmentation_channels, type(network.down_1.norm))
