"""SSDFusion in the registry."""

from typing import Literal

from pydantic import Field, model_validator

from decofuse.models.registry.method import LABELLED_PATCHES, LUMA_FROM_LUMA, Method, MethodSettings
from decofuse.settings import (
    AdamSettings,
    CosineSchedule,
    FuseSettings,
    MetaSettings,
    PatchSampling,
    PhaseSettings,
    Section,
)


class SSDFusionNetwork(Section):
    """Size and variants of the SSDFusion network; the defaults are the published ones."""

    channels: int = Field(32, ge=2, description="width of every feature [channels]; even, and a multiple of heads")
    heads: int = Field(8, ge=1, description="attention heads")
    blocks: int = Field(4, ge=1, description="transformer blocks in the encoder, and as many in the decoder")
    detail_nodes: int = Field(3, ge=1, description="invertible nodes of the detail branches that take a source apart")
    drop_path: tuple[float, float] = Field(
        (0.05, 0.1), description="chance that a refiner leaves out a branch in training, finer refiner first"
    )
    norm: Literal["identity", "layer"] = Field(
        "identity", description="norm of the attention blocks: upstream's does nothing; layer is a layer norm"
    )
    margin: int = Field(
        64,
        ge=0,
        le=64,
        description="fewest pixels that images are padded by when fusing: 64 as upstream's test script; its evaluation "
        "does not pad, as 0 where sides are multiples of 16 [pixels]",
    )

    @model_validator(mode="after")
    def _divisible(self) -> "SSDFusionNetwork":
        if self.channels % self.heads or self.channels % 2:
            raise ValueError(f"channels {self.channels} is not even and a multiple of heads {self.heads}")
        return self


class SSDFusionPhase(PhaseSettings):
    """What the phases on patches share."""

    optimizer: AdamSettings = AdamSettings()
    schedule: CosineSchedule = CosineSchedule()
    data: PatchSampling = PatchSampling(flip=True, background="drop")
    levels: tuple[float, float, float] = Field(
        (1.0, 0.5, 0.2), description="weights of the three scales in the decomposition term, finest first"
    )


class SSDFusionReconstructionWeights(Section):
    """Weights of the loss terms of phase I (specification, section 7)."""

    ssim_visible: float = Field(5.0, ge=0, description="1 - SSIM, halved, of the visible reconstruction")
    ssim_infrared: float = Field(5.0, ge=0, description="1 - SSIM, halved, of the infrared reconstruction")
    image_visible: float = Field(1.0, ge=0, description="errors of values and gradients of the visible reconstruction")
    image_infrared: float = Field(1.0, ge=0, description="the same of the infrared reconstruction")
    decomposition: float = Field(2.0, ge=0, description="correlation of detail against correlation of base features")
    gradient: float = Field(5.0, ge=0, description="L1 between the gradients of the visible image and its copy")


class SSDFusionReconstruction(SSDFusionPhase):
    """Phase I: both sources are taken apart and rebuilt, each by itself."""

    epochs: int = Field(21, ge=1, description="passes over the training patches [epochs]")
    residual: Literal["infrared", "own"] = Field(
        "infrared", description="image added before the decoder's sigmoid: infrared to both copies, or each its own"
    )
    weights: SSDFusionReconstructionWeights = SSDFusionReconstructionWeights()


class SSDFusionFusionWeights(Section):
    """Weights of the loss terms of phase II (specification, sections 8 and 9)."""

    intensity: float = Field(1.0, ge=0, description="local error against the source of more contrast, or infrared")
    gradient: float = Field(10.0, ge=0, description="L1 to the stronger gradient of the two sources")
    decomposition: float = Field(2.0, ge=0, description="correlation of detail against correlation of base features")


class SSDFusionFusion(SSDFusionPhase):
    """Phase II: the network learns to fuse, with fresh moments and schedule."""

    epochs: int = Field(61, ge=1, description="passes over the training patches [epochs]")
    mask_classes: tuple[int, ...] | None = Field(
        None,
        description="classes whose pixels are taken from the infrared source whatever its contrast; null: all but 0, "
        "as upstream; none of them ([]) where labels say nothing of the sources",
    )
    weights: SSDFusionFusionWeights = SSDFusionFusionWeights()


class SSDFusionMetaWeights(SSDFusionFusionWeights):
    """Weights of the loss terms of phase III (specification, sections 9 and 10)."""

    meta_0: float = Field(5.0, ge=0, description="squared difference of the meta features at full size")
    meta_1: float = Field(2.0, ge=0, description="the same at half the size")
    meta_2: float = Field(1.0, ge=0, description="the same at a quarter of the size")


class SSDFusionMeta(MetaSettings):
    """Phase III, once a round."""

    levels: tuple[float, float, float] = Field(
        (1.0, 0.5, 0.2), description="weights of the three scales in the decomposition term, finest first"
    )
    mask_classes: tuple[int, ...] | None = Field(
        None,
        description="classes whose pixels are taken from the infrared source whatever its contrast; null: all but 0, "
        "as upstream; none of them ([]) where labels say nothing of the sources",
    )
    weights: SSDFusionMetaWeights = SSDFusionMetaWeights()


class SSDFusionSettings(MethodSettings):
    """SSDFusion; the defaults are the published hyper-parameters."""

    network: SSDFusionNetwork = SSDFusionNetwork()
    reconstruction: SSDFusionReconstruction = SSDFusionReconstruction()
    fusion: SSDFusionFusion = SSDFusionFusion()
    meta: SSDFusionMeta = SSDFusionMeta()
    fuse: FuseSettings = FuseSettings(stretch=False, rounding="truncate", chroma="clamped")


METHOD = Method(
    title="SSDFusion",
    source="Ming et al., Pattern Recognition 2025, doi 10.1016/j.patcog.2025.111457",
    module="decofuse.models.ssdfusion",
    network="SSDFusion",
    phases={"reconstruction": LABELLED_PATCHES, "fusion": LABELLED_PATCHES},
    tasks={"infrared-visible": LUMA_FROM_LUMA, "multi-exposure": LUMA_FROM_LUMA},
    settings=SSDFusionSettings,
    upstream="YiXian-Xiao/SSDFusion",
    licence="MIT",
    sizes="at least 38 x 38; padded by reflection",
    meta="decofuse.models.ssdfusion_meta",
    whole="attention between channels and gates from global means, over the whole image",
    quirks=(
        "the channel norms return their input unchanged (`network.norm`)",
        "both sources are rebuilt with the infrared image as residual (`reconstruction.residual`)",
        "the residual is added before the decoder's sigmoid, so a copy cannot come from it alone",
        "the finest fusion module and the downsampler keep their initial weights in both phases",
        "every labelled object is taken from the infrared image, whatever its class",
        "the test script pads images by 64 pixels or more, the evaluation does not (`network.margin`)",
        "one epoch more than configured in each phase (in `epochs`)",
        "8-bit output is truncated (`fuse.rounding`)",
    ),
)
