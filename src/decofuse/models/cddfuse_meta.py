"""CDDFuse in a meta phase, which its authors do not have: its merged detail features are one level, at full size."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from decofuse.models import colour
from decofuse.models.cddfuse import CDDFuse, merged_terms
from decofuse.models.meta import Fusion, Interface, MetaModules


def fuse_in_colour(network: CDDFuse, batch: Mapping[str, Tensor]) -> Fusion:
    """Fusion terms of a batch, the merged detail features, and the fused image in colour; see `Interface`."""
    luma, chroma = colour.split(batch["visible"])
    infrared = batch["infrared"]
    of_visible, of_infrared = network.encoder(luma), network.encoder(infrared)
    detail = network.merged_detail(of_visible, of_infrared)
    fused = network.decoded(luma, infrared, network.merged_base(of_visible, of_infrared), detail)
    terms = merged_terms(luma, infrared, fused, of_visible, of_infrared)
    return Fusion(terms, (detail,), colour.join(fused, chroma))


def fresh_modules(network: CDDFuse, segmentation_channels: Sequence[int]) -> MetaModules:
    """Untrained meta modules of one level, for the segmentation network's finest map."""
    return MetaModules([network.encoder.embed.out_channels], segmentation_channels[:1])


META: Interface[CDDFuse] = Interface(fuse=fuse_in_colour, modules=fresh_modules)
