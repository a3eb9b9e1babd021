"""FSIDFusion in the registry."""

from typing import Literal

from pydantic import Field, model_validator

from decofuse.models.registry.method import LUMA_FROM_GREY, PATCHES, Method, MethodSettings
from decofuse.settings import FuseSettings, PatchPhaseSettings, Section


class FSIDFusionNetwork(Section):
    """Size of the FSIDFusion network; the defaults are the published ones."""

    channels: int = Field(
        64, ge=4, description="width of every feature [channels]; a multiple of 4, of both heads and of reduction"
    )
    heads: int = Field(8, ge=1, description="attention heads of encoder and decoder")
    blocks: int = Field(4, ge=1, description="transformer blocks in the encoder, and as many in the decoder")
    detail_nodes: int = Field(3, ge=1, description="invertible nodes of each detail branch of the encoder")
    fusion_nodes: int = Field(4, ge=1, description="invertible nodes of the layer that fuses the specific features")
    interaction_heads: int = Field(2, ge=1, description="attention heads of the interaction")
    reduction: int = Field(4, ge=1, description="how much the attentional fusion narrows its features [ratio]")

    @model_validator(mode="after")
    def _divisible(self) -> "FSIDFusionNetwork":
        if any(self.channels % divisor for divisor in (4, self.heads, self.interaction_heads, self.reduction)):
            raise ValueError(
                f"channels {self.channels} is not a multiple of 4, of heads {self.heads}, of interaction_heads "
                f"{self.interaction_heads} and of reduction {self.reduction}"
            )
        return self


class FSIDFusionReconstructionWeights(Section):
    """Weights of the loss terms of phase I (specification, section 4)."""

    ssim_visible: float = Field(5.0, ge=0, description="1 - SSIM of the visible reconstruction")
    ssim_infrared: float = Field(5.0, ge=0, description="1 - SSIM of the infrared reconstruction")
    mse_visible: float = Field(1.0, ge=0, description="mean squared error of the visible reconstruction")
    mse_infrared: float = Field(1.0, ge=0, description="mean squared error of the infrared reconstruction")
    gradient_visible: float = Field(5.0, ge=0, description="L1 between the gradients of the visible image and its copy")


class FSIDFusionFusionWeights(FSIDFusionReconstructionWeights):
    """Weights of the loss terms of phase II: those of phase I as a regulariser, and two of fusion."""

    intensity: float = Field(1.0, ge=0, description="L1 to the brighter source")
    gradient: float = Field(100.0, ge=0, description="L1 to the stronger gradient of the two sources")


class FSIDFusionReconstruction(PatchPhaseSettings):
    """Phase I: both sources are taken apart and rebuilt."""

    epochs: int = Field(40, ge=1, description="passes over the training patches [epochs]")
    ssim: Literal["kornia_0.2", "kornia_0.5"] = Field(
        "kornia_0.2", description="form of the SSIM loss: kornia_0.2 as upstream ran it, kornia_0.5 the later one"
    )
    weights: FSIDFusionReconstructionWeights = FSIDFusionReconstructionWeights()


class FSIDFusionFusion(PatchPhaseSettings):
    """Phase II: all parts learn to fuse, the autoencoder's learning rate and moments carried on."""

    epochs: int = Field(80, ge=1, description="passes over the training patches [epochs]")
    ssim: Literal["kornia_0.2", "kornia_0.5"] = Field(
        "kornia_0.2", description="form of the SSIM loss of the regulariser, as in phase I"
    )
    weights: FSIDFusionFusionWeights = FSIDFusionFusionWeights()


class FSIDFusionSettings(MethodSettings):
    """FSIDFusion; the defaults are the published hyper-parameters."""

    network: FSIDFusionNetwork = FSIDFusionNetwork()
    reconstruction: FSIDFusionReconstruction = FSIDFusionReconstruction()
    fusion: FSIDFusionFusion = FSIDFusionFusion()
    fuse: FuseSettings = FuseSettings(stretch=True, rounding="truncate")


METHOD = Method(
    title="FSIDFusion",
    source="Wan et al., Feature Space Interaction Decomposition Fusion, code of 2025",
    module="decofuse.models.fsidfusion",
    network="FSIDFusion",
    phases={"reconstruction": PATCHES, "fusion": PATCHES},
    tasks={"infrared-visible": LUMA_FROM_GREY, "medical": LUMA_FROM_GREY},
    settings=FSIDFusionSettings,
    upstream="CheeseWSQ/IF-FSIDFusion",
    licence="none stated",
    sizes="at least 2 x 2",
    whole="attention between channels and weights from global means, over the whole image",
    quirks=(
        "SSIM of kornia 0.2 (`ssim`)",
        "specific features are summed and fused by invertible nodes; the paper's picture shows a transformer on both",
        "a gradient term of the visible image alone in the reconstruction loss",
        "batch norm over a map of 1 x 1: a training step needs two samples, a last batch of one is left out",
        "results are stretched to their own range before saving (`fuse.stretch`), and truncated (`fuse.rounding`)",
    ),
)
