"""The registry of methods: what each is, and the typed section that it has in params.yaml.

It is an edge: stages are handed what they need from it and do not import it, so that a new entry makes
nothing run again. It imports no torch, so that reading params.yaml stays cheap.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from decofuse.settings import FuseSettings, PhaseSettings, Section


class MethodSettings(Section):
    """What every method has in params.yaml; a method with training adds `network` and one section a phase."""

    fuse: FuseSettings = FuseSettings()


class ReferenceSettings(MethodSettings):
    """A fuser without training: grey levels are kept, not stretched."""

    fuse: FuseSettings = FuseSettings(stretch=False, rounding="nearest")


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


class CDDFuseReconstruction(PhaseSettings):
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


class CDDFuseFusion(PhaseSettings):
    """Phase II: all parts learn to fuse, the autoencoder's learning rate and moments carried on."""

    epochs: int = Field(80, ge=1, description="passes over the training patches [epochs]")
    weights: CDDFuseFusionWeights = CDDFuseFusionWeights()


class CDDFuseSettings(MethodSettings):
    """CDDFuse; the defaults are the published hyper-parameters."""

    network: CDDFuseNetwork = CDDFuseNetwork()
    reconstruction: CDDFuseReconstruction = CDDFuseReconstruction()
    fusion: CDDFuseFusion = CDDFuseFusion()


@dataclass(frozen=True)
class Method:
    """One way to fuse.

    Attributes:
        title: name as published.
        source: where it was published, or what it is.
        module: module that holds the network class and, for trained methods, its PHASES.
        network: name of the network class in that module.
        phases: training phases in order; empty for a fuser without training.
        tasks: tasks that it serves.
        settings: type of its section in params.yaml.
    """

    title: str
    source: str
    module: str
    network: str
    phases: tuple[str, ...]
    tasks: tuple[str, ...]
    settings: type[MethodSettings]


ALL_TASKS = ("infrared-visible", "medical", "multi-exposure", "multi-focus")

METHODS: dict[str, Method] = {
    "average": Method(
        title="Average",
        source="mean of the two sources",
        module="decofuse.models.reference",
        network="Average",
        phases=(),
        tasks=ALL_TASKS,
        settings=ReferenceSettings,
    ),
    "laplacian": Method(
        title="Laplacian pyramid",
        source="Burt and Adelson 1983; strongest detail, mean residual",
        module="decofuse.models.reference",
        network="Laplacian",
        phases=(),
        tasks=ALL_TASKS,
        settings=ReferenceSettings,
    ),
    "cddfuse": Method(
        title="CDDFuse",
        source="Zhao et al., CVPR 2023, arXiv 2211.14461",
        module="decofuse.models.cddfuse",
        network="CDDFuse",
        phases=("reconstruction", "fusion"),
        tasks=("infrared-visible",),
        settings=CDDFuseSettings,
    ),
}
