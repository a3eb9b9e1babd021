"""CDDFuse in the registry."""

from typing import Literal

from pydantic import Field, model_validator

from decofuse.models.registry.method import LUMA_FROM_GREY, PATCHES, Method, MethodSettings
from decofuse.settings import MetaSettings, PatchPhaseSettings, Section


class CDDFuseNetwork(Section):
    """Size of the CDDFuse network; the defaults are the paper's."""

    channels: int = Field(64, ge=4, description="width of every feature [channels]; a multiple of 4 and of heads")
    heads: int = Field(8, ge=1, description="attention heads")
    blocks: int = Field(4, ge=1, description="transformer blocks in the encoder, and as many in the decoder")
    detail_nodes: int = Field(3, ge=1, description="invertible nodes of the encoder's detail branch")
    skip: Literal["visible", "sum", "none"] = Field(
        "visible", description="image added before the decoder's sigmoid when fusing; medical models: sum or none"
    )

    @model_validator(mode="after")
    def _divisible(self) -> "CDDFuseNetwork":
        if self.channels % self.heads or self.channels % 4:
            raise ValueError(f"channels {self.channels} is not a multiple of 4 and of heads {self.heads}")
        return self


class CDDFuseReconstructionWeights(Section):
    """Weights of the loss terms of phase I (specification, section 4)."""

    ssim_visible: float = Field(5.0, ge=0, description="1 - SSIM of the visible reconstruction")
    ssim_infrared: float = Field(5.0, ge=0, description="1 - SSIM of the infrared reconstruction")
    mse_visible: float = Field(1.0, ge=0, description="mean squared error of the visible reconstruction")
    mse_infrared: float = Field(1.0, ge=0, description="mean squared error of the infrared reconstruction")
    decomposition: float = Field(2.0, ge=0, description="correlation of detail against correlation of base features")
    gradient: float = Field(5.0, ge=0, description="L1 between the gradients of the visible image and its copy")


class CDDFuseReconstruction(PatchPhaseSettings):
    """Phase I: both sources are taken apart and rebuilt."""

    epochs: int = Field(40, ge=1, description="passes over the training patches [epochs]")
    ssim: Literal["kornia_0.2", "kornia_0.5"] = Field(
        "kornia_0.2", description="form of the SSIM loss: kornia_0.2 as upstream ran it, kornia_0.5 the later one"
    )
    weights: CDDFuseReconstructionWeights = CDDFuseReconstructionWeights()


class CDDFuseFusionWeights(Section):
    """Weights of the loss terms of phase II (specification, section 4)."""

    intensity: float = Field(1.0, ge=0, description="L1 to the brighter source")
    gradient: float = Field(10.0, ge=0, description="L1 to the stronger gradient of the two sources")
    decomposition: float = Field(2.0, ge=0, description="correlation of detail against correlation of base features")


class CDDFuseFusion(PatchPhaseSettings):
    """Phase II: all parts learn to fuse, the autoencoder's learning rate and moments carried on."""

    epochs: int = Field(80, ge=1, description="passes over the training patches [epochs]")
    weights: CDDFuseFusionWeights = CDDFuseFusionWeights()


class CDDFuseMetaWeights(CDDFuseFusionWeights):
    """Weights of the loss terms of a meta phase; there is none published, that of the meta term is SSDFusion's."""

    meta_0: float = Field(5.0, ge=0, description="squared difference of the meta features")


class CDDFuseMeta(MetaSettings):
    """SSDFusion's phase III for CDDFuse, whose authors have none: once a round."""

    weights: CDDFuseMetaWeights = CDDFuseMetaWeights()


class CDDFuseSettings(MethodSettings):
    """CDDFuse; the defaults are the published hyper-parameters."""

    network: CDDFuseNetwork = CDDFuseNetwork()
    reconstruction: CDDFuseReconstruction = CDDFuseReconstruction()
    fusion: CDDFuseFusion = CDDFuseFusion()
    meta: CDDFuseMeta = CDDFuseMeta()


METHOD = Method(
    title="CDDFuse",
    source="Zhao et al., CVPR 2023, arXiv 2211.14461",
    module="decofuse.models.cddfuse",
    network="CDDFuse",
    phases={"reconstruction": PATCHES, "fusion": PATCHES},
    tasks={"infrared-visible": LUMA_FROM_GREY, "medical": LUMA_FROM_GREY, "multi-exposure": LUMA_FROM_GREY},
    settings=CDDFuseSettings,
    upstream="Zhaozixiang1228/MMIF-CDDFuse",
    licence="none stated",
    sizes="at least 2 x 2",
    meta="decofuse.models.cddfuse_meta",
    whole="attention between channels, over the whole image",
    quirks=(
        "SSIM of kornia 0.2 (`ssim`)",
        "the visible image is added before the decoder's sigmoid (`skip`)",
        "a gradient term of the visible image alone in phase I",
        "results are stretched to their own range before saving (`fuse.stretch`)",
    ),
)
