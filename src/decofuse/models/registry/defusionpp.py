"""DeFusion++ in the registry."""

from typing import Self

from pydantic import Field, model_validator

from decofuse.models.registry.defusion import VIEWS
from decofuse.models.registry.method import LUMA_FROM_GREY, RGB_FROM_RGB, Method, MethodSettings, Samples
from decofuse.settings import (
    AdamSettings,
    FuseSettings,
    MilestoneSchedule,
    PairSampling,
    PhaseSettings,
    Section,
    ViewSampling,
)

_PAIR = ("visible", "infrared")
PAIRS = Samples("decofuse.data.view_pairs", "Pairs", reads="manifest", roles=_PAIR)
VIEWS_AND_PAIRS = Samples("decofuse.data.view_pairs", "ViewsAndPairs", reads="manifest", roles=_PAIR)


class DeFusionPPTeacher(Section):
    """Size of the two teachers, masked autoencoders; the defaults are ViT-B/16's."""

    width: int = Field(768, ge=4, multiple_of=4, description="width of a token; a multiple of heads")
    depth: int = Field(12, ge=1, description="transformer blocks of the encoder")
    heads: int = Field(12, ge=1, description="attention heads of the encoder")
    decoder_width: int = Field(
        512, ge=4, multiple_of=4, description="width of a token in the decoder; a multiple of decoder_heads"
    )
    decoder_depth: int = Field(8, ge=1, description="transformer blocks of the decoder")
    decoder_heads: int = Field(16, ge=1, description="attention heads of the decoder")

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        for name, width, heads in (
            ("width", self.width, self.heads),
            ("decoder_width", self.decoder_width, self.decoder_heads),
        ):
            if width % heads:
                raise ValueError(f"{name} {width} is not a multiple of its {heads} heads")
        return self


class DeFusionPPNetwork(Section):
    """Size of the DeFusion++ network; the defaults are the published ones."""

    image_size: int = Field(
        224,
        ge=8,
        multiple_of=2,
        description="side of the images that are trained on; two or more patches, no part of one [pixels]",
    )
    patch: int = Field(16, ge=1, description="side of a patch [pixels]")
    width: int = Field(192, ge=4, multiple_of=4, description="width of a token; a multiple of all heads")
    depth: int = Field(12, ge=1, description="transformer blocks of the encoder")
    heads: int = Field(6, ge=1, description="attention heads of the encoder")
    last_heads: int = Field(12, ge=1, description="attention heads of the encoder's last block")
    decoder_heads: int = Field(16, ge=1, description="attention heads of all other parts")
    mlp_ratio: int = Field(4, ge=1, description="hidden width of the feed-forwards over width")
    fuse_skip: bool = Field(
        True, description="add the fused tokens to their refined form; upstream does so in one of its two networks"
    )
    tiles: bool = Field(
        False,
        description="fuse in windows of image_size that overlap by half, not as a whole: for large images and small "
        "patches, where attention to everything takes too long",
    )
    teacher: DeFusionPPTeacher = DeFusionPPTeacher()

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.image_size % self.patch or self.image_size < 2 * self.patch:
            raise ValueError(f"image_size {self.image_size} is not two or more whole patches of {self.patch}")
        for heads in (self.heads, self.last_heads, self.decoder_heads):
            if self.width % heads:
                raise ValueError(f"width {self.width} is not a multiple of {heads} heads")
        return self


class DeFusionPPCudWeights(Section):
    """Weights of the loss terms on degraded views (specification, section 6.1); each term is a sum over the batch."""

    common: float = Field(20.0, ge=0, description="L1 of what both views show")
    unique_a: float = Field(10.0, ge=0, description="L1 of what only the first view shows")
    unique_b: float = Field(10.0, ge=0, description="L1 of what only the second view shows")
    fusion_l1: float = Field(100.0, ge=0, description="L1 of the fused image")
    fusion_dssim: float = Field(50.0, ge=0, description="1 - SSIM, halved, of the fused image")
    reconstruction: float = Field(
        1.0, ge=0, description="L1, counted twice, of the image predicted from a quarter of the tokens"
    )


class DeFusionPPCud(PhaseSettings):
    """Phase I: common and unique decomposition of degraded views, and masked feature modelling."""

    epochs: int = Field(50, ge=1, description="passes over the training images [epochs]")
    batch_size: int = Field(16, ge=1, description="images a step; the last batch of an epoch may be smaller")
    optimizer: AdamSettings = AdamSettings(learning_rate=4e-4, clip_norm=20.0)
    schedule: MilestoneSchedule = MilestoneSchedule(milestones=(20, 40, 45, 47))
    data: ViewSampling = ViewSampling(size=224)
    weights: DeFusionPPCudWeights = DeFusionPPCudWeights()


class DeFusionPPMaeWeights(Section):
    """Weights of the teachers' loss terms."""

    infrared: float = Field(1.0, ge=0, description="squared error of the masked patches of infrared images")
    visible: float = Field(1.0, ge=0, description="squared error of the masked patches of visible images")


class DeFusionPPMae(PhaseSettings):
    """The teachers, each a masked autoencoder of its modality; upstream's have no public weights.

    The optimiser and its schedule are this project's choice: the published recipe is for batches of thousands.
    """

    epochs: int = Field(100, ge=1, description="passes over the training pairs [epochs]")
    batch_size: int = Field(16, ge=1, description="pairs a step; the last batch of an epoch may be smaller")
    optimizer: AdamSettings = AdamSettings(learning_rate=1e-4, clip_norm=1.0)
    schedule: MilestoneSchedule = MilestoneSchedule(milestones=(60, 80, 90))
    data: PairSampling = PairSampling()
    normalise_patches: bool = Field(
        True, description="predict patches less their mean, over their deviation, as MAE does for better features"
    )
    weights: DeFusionPPMaeWeights = DeFusionPPMaeWeights()


class DeFusionPPMcudWeights(DeFusionPPCudWeights):
    """Weights of the loss terms on degraded views, and of those on pairs (section 6.2), which are means."""

    teacher_infrared: float = Field(1.0, ge=0, description="L1 to the infrared teacher's tokens")
    teacher_visible: float = Field(1.0, ge=0, description="L1 to the visible teacher's tokens")
    agreement: float = Field(1.0, ge=0, description="L1 between the common tokens of both directions")


class DeFusionPPMcud(PhaseSettings):
    """Phase II: degraded views and infrared-visible pairs together, the teachers frozen."""

    epochs: int = Field(200, ge=1, description="passes over the training pairs [epochs]")
    batch_size: int = Field(
        16, ge=1, description="images and as many pairs a step; the last batch of an epoch may be smaller"
    )
    optimizer: AdamSettings = AdamSettings(learning_rate=1e-4, clip_norm=20.0)
    schedule: MilestoneSchedule = MilestoneSchedule(milestones=(80, 160, 180, 190))
    data: ViewSampling = ViewSampling(size=224)
    weights: DeFusionPPMcudWeights = DeFusionPPMcudWeights()


class DeFusionPPSettings(MethodSettings):
    """DeFusion++; the defaults are the published hyper-parameters, where there are such."""

    network: DeFusionPPNetwork = DeFusionPPNetwork()
    cud: DeFusionPPCud = DeFusionPPCud()
    mae: DeFusionPPMae = DeFusionPPMae()
    mcud: DeFusionPPMcud = DeFusionPPMcud()
    fuse: FuseSettings = FuseSettings(stretch=False, rounding="nearest")

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        for name, size in (
            ("cud", self.cud.data.size),
            ("mae", self.mae.data.size),
            ("mcud", self.mcud.data.size),
        ):
            if size != self.network.image_size:
                raise ValueError(f"{name}.data.size {size} is not network.image_size {self.network.image_size}")
        return self


METHOD = Method(
    title="DeFusion++",
    source="Liang et al., arXiv 2410.12274",
    module="decofuse.models.defusionpp",
    network="DeFusionPP",
    phases={"cud": VIEWS, "mae": PAIRS, "mcud": VIEWS_AND_PAIRS},
    tasks={"infrared-visible": LUMA_FROM_GREY, "multi-exposure": RGB_FROM_RGB, "multi-focus": RGB_FROM_RGB},
    settings=DeFusionPPSettings,
    upstream="erfect2020/DeFusion-plusplus",
    licence="MIT; two of its files carry the CC BY-NC header of MAE",
    sizes="any; trained on squares of one size",
    whole="attention between all patches of the image (`network.tiles` bounds it to windows)",
    onnx=(),  # a table of positions, or a number of windows, is worked out for the size
    quirks=(
        "the network is published in deleted files only; its loaders, training scripts, test class and weights are not",
        "trained on single images and on pairs, of which the visible image serves as single one",
        "the teachers' weights are not published: phase `mae` trains them",
        "the common tokens hold one image's values in the other one's attention; the direction is drawn for each batch "
        "in training, and infrared (source_a in other tasks) gives the values when fusing",
        "outputs are not bounded; they are clamped to [0, 1] when fusing",
        "the fused tokens skip the refining blocks in one of two published networks (`network.fuse_skip`)",
        "the reconstruction is counted twice (in `weights.reconstruction`)",
        "the last block of the encoder has other heads than the rest (`network.last_heads`)",
        "positions for other grids are interpolated with a scale that is 0.1 patches off",
        "upstream cuts results to 8 bits, here they are rounded (`fuse.rounding: truncate`)",
    ),
)
