"""PSFusion in the registry."""

from typing import Literal

from pydantic import Field, model_validator

from decofuse.models.registry.method import LUMA_FROM_COLOUR, Method, MethodSettings, Samples
from decofuse.settings import FuseSettings, LabelledCropSampling, PhaseSettings, PolySchedule, Section, SGDSettings


class PSFusionNetwork(Section):
    """Size of the PSFusion network; the defaults are the published ones."""

    channels: int = Field(
        64, ge=8, multiple_of=8, description="width of fused features and of ResNet's first stage [channels]"
    )
    blocks: tuple[int, int, int, int] = Field(
        (3, 4, 6, 3), description="basic blocks of the four ResNet stages, each at least 1; published: ResNet-34"
    )
    classes: int = Field(9, ge=2, le=255, description="classes of the semantic logits; as many as the labels have")
    sizes: Literal["resize", "pad"] = Field(
        "resize", description="images that are no multiple of 32: resize shrinks them, as upstream; pad reflects them"
    )

    @model_validator(mode="after")
    def _whole_stages(self) -> "PSFusionNetwork":
        if min(self.blocks) < 1:
            raise ValueError(f"blocks must be at least 1 each, found {list(self.blocks)}")
        return self


class PSFusionWeights(Section):
    """Weights of the loss terms (specification, section 4)."""

    semantic: float = Field(10.0, ge=0, description="cross entropy of the hard pixels' classes")
    binary: float = Field(10.0, ge=0, description="binary cross entropy of object or not")
    boundary: float = Field(10.0, ge=0, description="binary cross entropy of boundary or not")
    correlation: float = Field(1.0, ge=0, description="1 / (correlation of the fused image with both sources, summed)")
    gradient: float = Field(10.0, ge=0, description="L1 to the stronger derivative of the two sources, each direction")
    intensity: float = Field(10.0, ge=0, description="local squared error to the source of more contrast or the mask's")
    l1_visible: float = Field(5.0, ge=0, description="L1 of the visible reconstruction")
    gradient_visible: float = Field(5.0, ge=0, description="L1 between its second derivatives and the source's")
    l1_infrared: float = Field(5.0, ge=0, description="L1 of the infrared reconstruction")
    gradient_infrared: float = Field(5.0, ge=0, description="L1 between its second derivatives and the source's")


class PSFusionJoint(PhaseSettings):
    """The one phase: fusion, segmentation and reconstruction together."""

    epochs: int = Field(2500, ge=1, description="passes over the training images, one crop of each [epochs]")
    batch_size: int = Field(4, ge=2, description="crops a step; a last batch of a single one is left out")
    optimizer: SGDSettings = SGDSettings()
    schedule: PolySchedule = PolySchedule()
    data: LabelledCropSampling = LabelledCropSampling()
    hard_threshold: float = Field(
        0.75, gt=0, lt=1, description="a pixel is hard if its class has a lower probability; only hard ones are learnt"
    )
    hard_pixels: int | None = Field(
        65536,
        ge=1,
        description="pixels of a batch that are learnt at least, and fewer than it has (upstream: a quarter of 4 crops "
        "of 256 x 256); null: a quarter of the labelled ones, whatever the batch",
    )
    binary_weights: tuple[float, float] = Field(
        (1.4548, 19.8962),
        description="weights of positive pixels in the channels no object and object; 1 / ln(1.02 + share of pixels) "
        "of the measured shares corrects upstream's, which fit boundaries",
    )
    intensity_mask: Literal["visible", "infrared"] = Field(
        "visible", description="source that is followed inside the salient mask; infrared is what upstream's names say"
    )
    correlation_floor: float | None = Field(
        None,
        gt=0,
        le=2,
        description="least sum of the fused image's correlations with both sources; null, as upstream: the term has a "
        "pole at 0 and repels a network that starts below it, so that training can diverge",
    )
    weights: PSFusionWeights = PSFusionWeights()

    @model_validator(mode="after")
    def _enough_pixels(self) -> "PSFusionJoint":
        pixels = self.batch_size * self.data.size**2
        if self.hard_pixels is not None and self.hard_pixels >= pixels:
            raise ValueError(
                f"hard_pixels {self.hard_pixels} must be less than the {pixels} pixels of a batch (batch_size x "
                f"data.size²); lower it, e.g. to {pixels // 4}, or give null"
            )
        return self


class PSFusionSettings(MethodSettings):
    """PSFusion; the defaults are the published hyper-parameters."""

    network: PSFusionNetwork = PSFusionNetwork()
    joint: PSFusionJoint = PSFusionJoint()
    fuse: FuseSettings = FuseSettings(stretch=False, rounding="truncate", chroma="clamped")


METHOD = Method(
    title="PSFusion",
    source="Tang et al., Information Fusion 99 (2023) 101870, doi 10.1016/j.inffus.2023.101870",
    module="decofuse.models.psfusion",
    network="PSFusion",
    phases={
        "joint": Samples(
            "decofuse.data.labelled_crops",
            "LabelledCrops",
            reads="manifest",
            labels=True,
            roles=("visible", "infrared"),
            colour="visible",
        )
    },
    tasks={"infrared-visible": LUMA_FROM_COLOUR},
    settings=PSFusionSettings,
    upstream="Linfeng-Tang/PSFusion",
    licence="none stated",
    sizes="at least 32 x 32; other sizes than multiples of 32 are fitted (`network.sizes`)",
    segments=True,
    whole="weights from global means, and attention between all positions of the deepest features",
    quirks=(
        "inside the salient mask the fused image follows the visible source, not the infrared (`intensity_mask`)",
        "the class weights of the binary loss are those of a boundary map (`binary_weights`)",
        "the number of hard pixels is a constant, and ignored pixels count among them (`hard_pixels`)",
        "the correlation term has a pole where both correlations cancel out (`correlation_floor`)",
        "images are shrunk to multiples of 32 before fusing and enlarged after (`network.sizes`)",
        "8 bits by truncation (`fuse.rounding`)",
        "the mixed second derivative has kornia 0.6's scale",
        "attention takes the joint query for its keys, is not scaled, and crosses the sources' residuals",
        "upstream starts its two ResNets from ImageNet weights; here they start from PyTorch's initialisation",
        "which classes the mask holds and how wide boundaries are is not public (`data.mask_classes`, "
        "`data.boundary_radius`)",
    ),
)
