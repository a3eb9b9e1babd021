"""The typed pieces that params.yaml is made of: shared by every stage, free of heavy imports.

Every field carries its default, its bounds and its unit; unknown keys are refused.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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


class OptimizerSettings(Section):
    """Adam, one instance a part of the network (its state is per parameter, so one instance with groups is equal)."""

    learning_rate: float = Field(1e-4, gt=0, description="initial learning rate of a part that starts fresh")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the first moment")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of the second moment")
    epsilon: float = Field(1e-8, gt=0, description="added to the denominator")
    weight_decay: float = Field(0.0, ge=0, description="L2 penalty")
    clip_norm: float = Field(0.01, gt=0, description="largest total L2 norm of a part's gradient")


class ScheduleSettings(Section):
    """Step decay: the rate is multiplied by `factor` each `step_epochs` epochs in which a part was trained."""

    step_epochs: int = Field(20, ge=1, description="epochs between two decays [epochs]")
    factor: float = Field(0.5, gt=0, le=1, description="multiplier at each decay")
    floor: float = Field(1e-6, ge=0, description="the rate never falls below this")


class PhaseSettings(Section):
    """What every training phase has; a method's phase adds its loss weights."""

    epochs: int = Field(ge=1, description="passes over the training patches [epochs]")
    batch_size: int = Field(8, ge=1, description="patches a step; the last batch of an epoch may be smaller")
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()


class FuseSettings(Section):
    """How a network's output becomes an 8-bit image."""

    stretch: bool = Field(
        True, description="stretch each result from its own minimum and maximum to 0-255, as upstream does"
    )
    rounding: Literal["half_down", "nearest", "truncate"] = Field(
        "half_down", description="how 0-255 becomes 8 bits; half_down is what CDDFuse's image writer did"
    )


class EvaluationSettings(Section):
    """Conventions of the fusion metrics."""

    ssim_range: Literal["cddfuse", "standard"] = Field(
        "cddfuse", description="dynamic range L of SSIM: cddfuse 2 (on 0-255 data, as published tables), standard 255"
    )
