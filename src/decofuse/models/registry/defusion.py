"""DeFusion in the registry."""

from typing import Annotated, Literal

from pydantic import Field

from decofuse.models.registry.method import LUMA_FROM_GREY, RGB_FROM_RGB, Method, MethodSettings, Samples
from decofuse.settings import AdamSettings, FuseSettings, MilestoneSchedule, PhaseSettings, Section, ViewSampling

VIEWS = Samples("decofuse.data.degraded_views", "DegradedViews", reads="manifest")

_Blocks = Annotated[int, Field(ge=1)]


class DeFusionNetwork(Section):
    """Size of the DeFusion network; the defaults are those of the released weights."""

    width: int = Field(16, ge=8, multiple_of=8, description="channels of an embedding; all other widths follow from it")
    encoder_blocks: tuple[_Blocks, _Blocks, _Blocks, _Blocks, _Blocks] = Field(
        (6, 6, 4, 4, 4), description="bottlenecks in the encoder's four stages and in the joint encoder"
    )
    common_blocks: tuple[_Blocks, _Blocks, _Blocks, _Blocks] = Field(
        (2, 2, 2, 2), description="bottlenecks in the common decoder's stages; [4, 4, 6, 6] in upstream's training code"
    )
    unique_blocks: tuple[_Blocks, _Blocks, _Blocks, _Blocks] = Field(
        (4, 4, 6, 6), description="bottlenecks in the unique decoder's stages"
    )
    start: Literal["published", "grey"] = Field(
        "published",
        description="how the output layers begin; grey: at an even grey, for short runs, in which the published start "
        "often ends with black channels",
    )


class DeFusionWeights(Section):
    """Weights of the loss terms (specification, section 3.1); each term is a sum over the batch."""

    common: float = Field(1.0, ge=0, description="L1 of what both views show")
    unique_a: float = Field(1.0, ge=0, description="L1 of what only the first view shows")
    unique_b: float = Field(1.0, ge=0, description="L1 of what only the second view shows")
    fusion: float = Field(1.0, ge=0, description="L1 of the fused image, itself weighted by the annealing")


class DeFusionPhase(PhaseSettings):
    """The only phase: common and unique decomposition of degraded views."""

    epochs: int = Field(50, ge=1, description="passes over the training images [epochs]")
    batch_size: int = Field(4, ge=1, description="images a step; the last batch of an epoch may be smaller")
    optimizer: AdamSettings = AdamSettings(learning_rate=1e-3, clip_norm=None)
    schedule: MilestoneSchedule = MilestoneSchedule(milestones=(10, 20, 30, 40), factor=0.5)
    data: ViewSampling = ViewSampling()
    anneal_scale: float = Field(
        1.0,
        gt=0,
        description="factor of the step numbers at which the loss changes (3000 to 40000: before 17000 the fused image "
        "counts nothing); for a short run its number of steps over 625000",
    )
    weights: DeFusionWeights = DeFusionWeights()


class DeFusionSettings(MethodSettings):
    """DeFusion; the defaults are the published hyper-parameters."""

    network: DeFusionNetwork = DeFusionNetwork()
    cud: DeFusionPhase = DeFusionPhase()
    fuse: FuseSettings = FuseSettings(stretch=False, rounding="nearest")


METHOD = Method(
    title="DeFusion",
    source="Liang et al., ECCV 2022",
    module="decofuse.models.defusion",
    network="DeFusion",
    phases={"cud": VIEWS},
    tasks={"infrared-visible": LUMA_FROM_GREY, "multi-exposure": RGB_FROM_RGB, "multi-focus": RGB_FROM_RGB},
    settings=DeFusionSettings,
    upstream="erfect2020/DecompositionForFusion",
    licence="none stated",
    sizes="at least 17 x 17",
    whole="split attention by global means",
    onnx=("height", "width"),  # the two views go through the encoder as one batch, which is cut in half
    quirks=(
        "trained on single images, of pairs the visible one; published on 50,000 of COCO",
        "no normalisation layer, so that training starts far from images and channels can stay black (`network.start`)",
        "the order of the sources matters: infrared enters first, of other tasks source_a (upstream: the brighter "
        "exposure)",
        "the training code has a deeper common decoder than the released weights (`network.common_blocks`)",
        "the loss is a sum over the batch and changes with the step (`cud.anneal_scale`)",
        "upstream cuts results to 8 bits, here they are rounded (`fuse.rounding: truncate`)",
    ),
)
