"""The segmentation networks by name; plain values, cheap to import."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, field_validator, model_validator

from decofuse.settings import Section

if TYPE_CHECKING:
    from decofuse.segmentation.network import SegmentationNetwork

Size = Annotated[int, Field(ge=1)]
_WEIGHTS = "safetensors file of the pretrained backbone in the names of {}; empty: random weights"


class SegNeXtNetwork(Section):
    """Size of SegNeXt; the defaults are its smallest published one."""

    model: Literal["segnext_t"] = Field("segnext_t", description="SegNeXt (MSCAN-T and the light Hamburger head)")
    widths: tuple[Size, Size, Size, Size] = Field(
        (32, 64, 160, 256), description="width of each level, the first one even [channels]"
    )
    depths: tuple[Size, Size, Size, Size] = Field((3, 3, 5, 2), description="blocks of each level")
    ratios: tuple[Size, Size, Size, Size] = Field(
        (8, 8, 4, 4), description="expansion of the feed-forwards of each level [ratio]"
    )
    drop_path: float = Field(0.1, ge=0, lt=1, description="chance that the last block is left out in training")
    channels: int = Field(256, ge=32, multiple_of=32, description="width of the head [channels]; a multiple of 32")
    rank: int = Field(16, ge=1, description="rank of the head's factorisation")
    dropout: float = Field(0.1, ge=0, lt=1, description="chance that a channel of the head is left out in training")
    bases: Literal["random", "fixed"] = Field(
        "random", description="what the factorisation starts from: others for every image, as upstream, or the same"
    )
    weights: str = Field("", description=_WEIGHTS.format("mmsegmentation"))

    @model_validator(mode="after")
    def _even(self) -> "SegNeXtNetwork":
        if self.widths[0] % 2:
            raise ValueError(f"the first of widths must be even, found {self.widths[0]}")
        return self


class SegFormerNetwork(Section):
    """Size of SegFormer; the defaults are its smallest published one."""

    model: Literal["segformer_b0"] = Field("segformer_b0", description="SegFormer (MiT-B0 and its linear head)")
    widths: tuple[Size, Size, Size, Size] = Field(
        (32, 64, 160, 256), description="width of each level, a multiple of its heads [channels]"
    )
    depths: tuple[Size, Size, Size, Size] = Field((2, 2, 2, 2), description="blocks of each level")
    heads: tuple[Size, Size, Size, Size] = Field((1, 2, 5, 8), description="attention heads of each level")
    decoder: int = Field(256, ge=1, description="width of the head [channels]")
    drop_path: float = Field(0.1, ge=0, lt=1, description="chance that the last block is left out in training")
    dropout: float = Field(0.1, ge=0, lt=1, description="chance that a value of the head is left out in training")
    weights: str = Field("", description=_WEIGHTS.format("transformers"))

    @model_validator(mode="after")
    def _divisible(self) -> "SegFormerNetwork":
        if any(width % heads for width, heads in zip(self.widths, self.heads, strict=True)):
            raise ValueError(f"widths {self.widths} are not multiples of heads {self.heads}")
        return self


class UNetNetwork(Section):
    """Size of a U-Net; the defaults are those of segmentation-models-pytorch, with a small encoder."""

    model: Literal["unet"] = Field("unet", description="U-Net with an encoder of timm")
    encoder: str = Field(
        "resnet18",
        min_length=1,
        description="timm's name of the encoder, one with maps at strides 4, 8, 16 and 32; mit_* is refused",
    )
    decoder: tuple[Size, Size, Size, Size, Size] = Field(
        (256, 128, 64, 32, 16), description="width after each step from stride 32 to 1 [channels]"
    )
    weights: str = Field("", description=_WEIGHTS.format("timm, of the encoder"))

    @field_validator("encoder")
    @classmethod
    def _free(cls, encoder: str) -> str:
        refuse_encoder(encoder)
        return encoder


class SmallUNetNetwork(Section):
    """Size of the small U-Net; the defaults suit images of 240×320 pixels."""

    model: Literal["small_unet"] = Field("small_unet", description="narrow U-Net, for small images and processors")
    widths: tuple[Size, Size, Size, Size, Size] = Field(
        (16, 32, 48, 64, 64), description="width at strides 2, 4, 8, 16 and 32 [channels]"
    )
    weights: str = Field("", description=_WEIGHTS.format("this network"))


Network = Annotated[SegNeXtNetwork | SegFormerNetwork | UNetNetwork | SmallUNetNetwork, Discriminator("model")]


@dataclass(frozen=True)
class Segmenter:
    """One segmentation network.

    Attributes:
        title: name as published.
        source: where it was published.
        module: module that holds the network class.
        network: name of the network class in that module.
        licence: licence of the code that it is made of, in words.
        settings: type of its section in params.yaml.
    """

    title: str
    source: str
    module: str
    network: str
    licence: str
    settings: type[SegNeXtNetwork | SegFormerNetwork | UNetNetwork | SmallUNetNetwork]


SEGMENTERS: Mapping[str, Segmenter] = {
    "segnext_t": Segmenter(
        title="SegNeXt-T",
        source="Guo et al., NeurIPS 2022, arXiv 2209.08575",
        module="decofuse.segmentation.segnext",
        network="SegNeXt",
        licence="own code; mmsegmentation, whose form it has, is under Apache-2.0",
        settings=SegNeXtNetwork,
    ),
    "segformer_b0": Segmenter(
        title="SegFormer-B0",
        source="Xie et al., NeurIPS 2021, arXiv 2105.15203",
        module="decofuse.segmentation.segformer",
        network="SegFormer",
        licence="transformers, Apache-2.0; the authors' pretrained weights are for non-commercial use",
        settings=SegFormerNetwork,
    ),
    "unet": Segmenter(
        title="U-Net",
        source="Ronneberger et al., MICCAI 2015, arXiv 1505.04597",
        module="decofuse.segmentation.encoder_decoder",
        network="UNet",
        licence="segmentation-models-pytorch, MIT, and timm, Apache-2.0; each pretrained encoder has its own",
        settings=UNetNetwork,
    ),
    "small_unet": Segmenter(
        title="Small U-Net",
        source="after Ronneberger et al., MICCAI 2015, arXiv 1505.04597",
        module="decofuse.segmentation.small_unet",
        network="SmallUNet",
        licence="own code",
        settings=SmallUNetNetwork,
    ),
}


def network_class(model: str) -> "type[SegmentationNetwork]":
    """The network class of a model; imports it."""
    kind: type[SegmentationNetwork] = getattr(
        importlib.import_module(SEGMENTERS[model].module), SEGMENTERS[model].network
    )
    return kind


def build(classes: int, network: Mapping[str, Any]) -> "SegmentationNetwork":
    """The network that a section of params.yaml describes, with random weights.

    Args:
        classes: number of classes.
        network: the section as plain values; `model` names the network, `weights` is left to `load_backbone`.

    Raises:
        ValueError: a size does not fit the others, or there is no such encoder.
    """
    sizes = {key: value for key, value in network.items() if key not in ("model", "weights")}
    return network_class(network["model"])(classes, **sizes)


def refuse_encoder(encoder: str) -> None:
    """Refuse an encoder that may not be used commercially.

    Raises:
        ValueError: it is a Mix Transformer of segmentation-models-pytorch.
    """
    if encoder.removeprefix("tu-").startswith("mit_"):
        raise ValueError(
            f"unet: expected an encoder that may be used commercially, found {encoder}, whose licence forbids it; "
            "choose another one, such as resnet18, or model segformer_b0"
        )
