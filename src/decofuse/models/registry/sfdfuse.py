"""SFDFuse in the registry."""

from typing import Literal

from pydantic import Field, model_validator

from decofuse.models.registry.method import LUMA_FROM_GREY, PATCHES, Method, MethodSettings
from decofuse.settings import FuseSettings, PatchPhaseSettings, Section, StepSchedule

_SCHEDULE = StepSchedule(step_epochs=10)


class SFDFuseNetwork(Section):
    """Size of the SFDFuse network; the defaults are those of the published code."""

    channels: int = Field(64, ge=4, description="width of every feature [channels]; a multiple of 4 and of heads")
    heads: int = Field(8, ge=1, description="attention heads")
    blocks: int = Field(
        2, ge=1, description="transformer blocks, then as many ConvFormers, in the encoder; the same in the decoder"
    )
    detail_nodes: int = Field(3, ge=1, description="invertible nodes of the encoder's detail branch")
    drop_path: float = Field(
        0.1, ge=0, lt=1, description="chance that a sample's branch in a ConvFormer is left out in training"
    )
    wavelet: Literal["fixed", "learned"] = Field(
        "fixed", description="Haar filters: fixed as the published code has them, or learned as its picture says"
    )

    @model_validator(mode="after")
    def _divisible(self) -> "SFDFuseNetwork":
        if self.channels % self.heads or self.channels % 4:
            raise ValueError(f"channels {self.channels} is not a multiple of 4 and of heads {self.heads}")
        return self


class SFDFuseReconstructionWeights(Section):
    """Weights of the loss terms of phase I."""

    ssim_visible: float = Field(5.0, ge=0, description="1 - SSIM of the visible reconstruction")
    ssim_infrared: float = Field(5.0, ge=0, description="1 - SSIM of the infrared reconstruction")
    mse_visible: float = Field(1.0, ge=0, description="mean squared error of the visible reconstruction")
    mse_infrared: float = Field(1.0, ge=0, description="mean squared error of the infrared reconstruction")
    decomposition: float = Field(2.0, ge=0, description="correlation of detail against correlation of base features")
    gradient: float = Field(5.0, ge=0, description="L1 between the gradients of the visible image and its copy")


class SFDFuseReconstruction(PatchPhaseSettings):
    """Phase I: both sources are taken apart and rebuilt."""

    epochs: int = Field(30, ge=1, description="passes over the training patches [epochs]")
    schedule: StepSchedule = _SCHEDULE
    infrared_detail: Literal["visible", "infrared"] = Field(
        "visible", description="source of the detail that the infrared image is rebuilt from; infrared is corrected"
    )
    weights: SFDFuseReconstructionWeights = SFDFuseReconstructionWeights()


class SFDFuseFusionWeights(Section):
    """Weights of the loss terms of phase II."""

    intensity: float = Field(1.0, ge=0, description="L1 to the brighter source")
    gradient: float = Field(10.0, ge=0, description="L1 to the stronger gradient of the two sources")
    ssim: float = Field(
        1.0, ge=0, description="1 - SSIM to the brighter source; 0 is the other loss that the published code may mean"
    )
    decomposition: float = Field(2.0, ge=0, description="correlation of detail against correlation of base features")


class SFDFuseFusion(PatchPhaseSettings):
    """Phase II: all parts learn to fuse, the autoencoder's learning rate and moments carried on."""

    epochs: int = Field(60, ge=1, description="passes over the training patches [epochs]")
    schedule: StepSchedule = _SCHEDULE
    weights: SFDFuseFusionWeights = SFDFuseFusionWeights()


class SFDFuseSettings(MethodSettings):
    """SFDFuse; the defaults are the published hyper-parameters."""

    network: SFDFuseNetwork = SFDFuseNetwork()
    reconstruction: SFDFuseReconstruction = SFDFuseReconstruction()
    fusion: SFDFuseFusion = SFDFuseFusion()
    fuse: FuseSettings = FuseSettings(rounding="truncate")


METHOD = Method(
    title="SFDFuse",
    source="Zhang, Spatial and Frequency Feature Decomposition for Visible and Infrared Image Fusion, code of 2025",
    module="decofuse.models.sfdfuse",
    network="SFDFuse",
    phases={"reconstruction": PATCHES, "fusion": PATCHES},
    tasks={"infrared-visible": LUMA_FROM_GREY},
    settings=SFDFuseSettings,
    upstream="zxp771/SFDFuse",
    licence="none stated",
    sizes="at least 3 x 3; odd sides are padded inside",
    whole="attention between channels and weights from global means, over the whole image",
    quirks=(
        "phase I rebuilds the infrared image from the visible detail (`infrared_detail`)",
        "the file of the phase II loss is missing: of the two it may be, the one with an SSIM term (`weights.ssim`)",
        "the wavelet called learnable has fixed filters (`network.wavelet`)",
        "the visible image is added before the decoder's sigmoid",
        "a gradient term of the visible image alone in phase I",
        "base and detail leave the encoder normalised, without a residual",
        "a class that the decoder names does not exist and is never called; it is left out",
        "results are stretched to their own range and truncated (`fuse.stretch`, `fuse.rounding`)",
    ),
)
