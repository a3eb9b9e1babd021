"""The typed pieces that params.yaml is made of: shared by every stage, free of heavy imports.

Every field carries its default, its bounds and its unit; unknown keys are refused.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A section of params.yaml: immutable, strict about types, closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ScenesSettings(Section):
    """The procedural street scenes of the embedded dataset."""

    train: int = Field(48, ge=1, description="pairs of the training split")
    val: int = Field(4, ge=0, description="pairs of the validation split")
    test: int = Field(8, ge=1, description="pairs of the test split")
    height: int = Field(480, ge=64, description="image height [pixels]")
    width: int = Field(640, ge=64, description="image width [pixels]")
    seed: int = Field(0, ge=0, description="seed of the generator; scene i depends on (seed, split, i) alone")


class PatchSettings(Section):
    """How images are cut into training patches."""

    size: int = Field(128, ge=8, description="side of a square patch [pixels]")
    stride: int = Field(200, ge=1, description="distance between patch corners [pixels]")
    low_contrast: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="a pair is dropped if (p90 - p10) / p90 of the luma of either patch is below this [ratio]",
    )
    keep_black: bool = Field(
        True, description="keep a patch whose p90 is 0, as upstream does (its 0/0 compares false); false drops it"
    )


class AdamSettings(Section):
    """Adam, one instance a part of the network (its state is per parameter, so one instance with groups is equal)."""

    learning_rate: float = Field(1e-4, gt=0, description="initial learning rate of a part that starts fresh")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the first moment")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of the second moment")
    epsilon: float = Field(1e-8, gt=0, description="added to the denominator")
    weight_decay: float = Field(0.0, ge=0, description="L2 penalty")
    clip_norm: float | None = Field(0.01, gt=0, description="largest total L2 norm of a gradient; null: not clipped")


class SGDSettings(Section):
    """Stochastic gradient descent with momentum, neither dampened nor Nesterov's."""

    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="share of the last update in the next one")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty on every parameter")
    clip_norm: float | None = Field(None, gt=0, description="largest total L2 norm of a gradient; null: not clipped")


class AdamWSettings(Section):
    """Adam with decoupled weight decay, as segmentation networks are trained (mmsegmentation's custom keys)."""

    learning_rate: float = Field(6e-5, gt=0, description="peak learning rate")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the first moment")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of the second moment")
    epsilon: float = Field(1e-8, gt=0, description="added to the denominator")
    weight_decay: float = Field(0.01, ge=0, description="decay of the weights, those of norms left out")
    head_factor: float = Field(10.0, gt=0, description="the head's learning rate over the backbone's")
    clip_norm: float | None = Field(None, gt=0, description="largest total L2 norm of a gradient; null: not clipped")


class StepSchedule(Section):
    """Step decay: the rate is multiplied by `factor` each `step_epochs` epochs in which a part was trained."""

    step_epochs: int = Field(20, ge=1, description="epochs between two decays [epochs]")
    factor: float = Field(0.5, gt=0, le=1, description="multiplier at each decay")
    floor: float = Field(1e-6, ge=0, description="the rate never falls below this")


class MilestoneSchedule(Section):
    """The rate is multiplied by `factor` at each milestone."""

    milestones: tuple[int, ...] = Field(description="epochs before which the rate falls, in order [epochs]")
    factor: float = Field(0.5, gt=0, le=1, description="multiplier at each milestone")


class CosineSchedule(Section):
    """Cosine annealing with warm restarts, a step an epoch (Loshchilov and Hutter, SGDR, ICLR 2017)."""

    first_cycle: int = Field(1, ge=1, description="length of the first cycle [epochs]")
    growth: int = Field(2, ge=1, description="each cycle is this many times as long as the one before")
    floor: float = Field(1e-9, ge=0, description="rate that a cycle falls towards")


class PolySchedule(Section):
    """Exponential warm-up, then polynomial decay to 0 at the last step."""

    warmup_steps: int = Field(1000, ge=0, description="steps of the warm-up [steps]")
    warmup_rate: float = Field(1e-5, gt=0, description="rate of the first step of the warm-up")
    power: float = Field(0.9, gt=0, description="exponent of the decay")


class LinearPolySchedule(Section):
    """Linear warm-up, then polynomial decay towards 0 at a step that may lie beyond the last one."""

    warmup_steps: int = Field(1500, ge=0, description="steps of the warm-up [steps]")
    warmup_factor: float = Field(1e-6, gt=0, le=1, description="share of the peak rate at the first step")
    power: float = Field(1.0, gt=0, description="exponent of the decay")
    end: int | None = Field(
        160_000, ge=1, description="step at which the rate would be 0, after the warm-up; null: the last one [steps]"
    )


class PatchSampling(Section):
    """How a phase takes patches."""

    flip: bool = Field(False, description="flip each patch at random, left-right and upside down, each with chance 1/2")
    background: Literal["keep", "drop"] = Field(
        "keep", description="drop: leave out patches whose label is class 0 throughout (where there are labels)"
    )


class ViewSampling(Section):
    """How degraded views of single images are made."""

    size: int = Field(256, ge=8, description="side of a view [pixels]")
    cells: int = Field(
        13,
        ge=1,
        description="coarse cells along a side of a view that are shown or hidden; fine ones are twice as many, or "
        "one more. For smaller views take fewer: 13 * size / 224 * 16 / patch suits the patches of DeFusion++ [cells]",
    )
    jitter: float = Field(
        0.1, gt=0, le=1, description="smallest factor of brightness, contrast and saturation; each is drawn up to 1"
    )

    @model_validator(mode="after")
    def _cells_fit(self) -> "ViewSampling":
        if 2 * self.cells + 1 > self.size:
            raise ValueError(f"2 x {self.cells} + 1 cells do not fit into size {self.size}")
        return self


class PairSampling(Section):
    """How infrared-visible pairs are cropped."""

    size: int = Field(224, ge=8, description="side of a square crop, the same part of both sources [pixels]")


class LabelledCropSampling(Section):
    """How crops of labelled images are taken, and which maps are made of their labels."""

    size: int = Field(256, ge=32, multiple_of=32, description="side of a square crop [pixels]; a multiple of 32")
    boundary_radius: int = Field(
        1, ge=1, le=16, description="a pixel lies on a boundary if one this near has another label [pixels]"
    )
    mask_classes: tuple[int, ...] = Field(
        (1, 2, 3), description="classes of salient targets; of MSRS: car, person and bike"
    )


class MetaCropSampling(Section):
    """How crops of labelled images are taken in the meta phase, flipped and turned at random."""

    size: int = Field(256, ge=32, multiple_of=32, description="side of a square crop [pixels]; a multiple of 32")


class PhaseSettings(Section):
    """What every training phase has; a method's phase adds its loss weights `weights` and its own options."""

    epochs: int = Field(ge=1, description="passes over the training samples [epochs]")
    batch_size: int = Field(8, ge=1, description="samples a step; the last batch of an epoch may be smaller")
    optimizer: AdamSettings | SGDSettings | AdamWSettings = AdamSettings()
    schedule: StepSchedule | MilestoneSchedule | CosineSchedule | PolySchedule | LinearPolySchedule = StepSchedule()
    data: Section = PatchSampling()
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: convolutions and products in bfloat16 (autocast), weights in float32"
    )
    checkpointing: bool = Field(
        False, description="compute activations again in the backward pass instead of keeping them: less memory"
    )
    compile: bool = Field(False, description="compile the network first (torch.compile)")


class PatchPhaseSettings(PhaseSettings):
    """A phase on patches with Adam and step decay: the form of CDDFuse and its relatives."""

    optimizer: AdamSettings = AdamSettings()
    schedule: StepSchedule = StepSchedule()
    data: PatchSampling = PatchSampling()


class MetaSettings(PhaseSettings):
    """The meta phase of a round: the network learns to fuse on, a segmentation network as the teacher of its details.

    The published settings are SSDFusion's; a method adds its loss weights, `meta_<i>` for each level among them.
    """

    epochs: int = Field(51, ge=1, description="passes over the training images, one crop of each [epochs]")
    batch_size: int = Field(2, ge=1, description="crops of an outer step; those of an inner step are single")
    optimizer: AdamSettings = AdamSettings()
    schedule: MilestoneSchedule = MilestoneSchedule(milestones=())
    data: MetaCropSampling = MetaCropSampling()
    interval: int = Field(5, ge=1, description="epochs from one inner phase to the next [epochs]")
    held_out: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="share of the training images that is kept out of the inner phase and sets its length",
    )
    inner_learning_rate: float = Field(1e-4, gt=0, description="of the meta modules in the inner phase (plain SGD)")
    inner_clip_norm: float | None = Field(
        0.01,
        gt=0,
        description="largest L2 norm of their gradient; upstream's, with its rate, moves them by 1e-6 a step at most, "
        "so that they stay as they were drawn; null: not clipped",
    )
    learn_modules: bool = Field(
        False, description="train the meta modules in the outer steps too; upstream leaves them out"
    )
    normalise: bool = Field(
        False, description="normalise fused images for the teacher as in its own training; upstream does not"
    )


class FuseSettings(Section):
    """How a network's output becomes an 8-bit image."""

    stretch: bool = Field(
        True, description="stretch each result from its own minimum and maximum to 0-255, as upstream does"
    )
    rounding: Literal["half_down", "nearest", "truncate"] = Field(
        "half_down", description="how 0-255 becomes 8 bits; half_down is what CDDFuse's image writer did"
    )
    chroma: Literal["opencv", "clamped"] = Field(
        "opencv",
        description="how colour is put back beside fused luma: opencv inverts the split exactly, on 8 bits; clamped is "
        "PSFusion's and SSDFusion's, on floats (rounded factors, Cb and Cr kept in [0, 1])",
    )


Colour = Literal["grey", "luma", "rgb"]


class Views(Section):
    """What a network is given and gives, all in [0, 1].

    `grey` is luma in 8-bit levels over 255 (as OpenCV reads a file as grey), N×1×H×W; `luma` is Y = 0.299 R + 0.587 G
    + 0.114 B of RGB / 255, not rounded, N×1×H×W; `rgb` is N×3×H×W, a grey image three times the same.
    """

    source_a: Colour
    source_b: Colour
    fused: Literal["luma", "rgb"]
