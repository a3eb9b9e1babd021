"""What params.yaml says of segmentation; plain values, cheap to import."""

from typing import Literal

from pydantic import Field, model_validator

from decofuse.segmentation.registry import Network, SegNeXtNetwork
from decofuse.settings import AdamWSettings, LinearPolySchedule, PhaseSettings, Section

Loss = Literal["cross_entropy", "ohem", "lovasz"]


class SegmentationSampling(Section):
    """How crops are taken of labelled images, in the order of these fields (as mmsegmentation's pipeline)."""

    fit: tuple[int, int] = Field(
        (2048, 512), description="longer and shorter side that an image is scaled to fit into at ratio 1 [pixels]"
    )
    ratio: tuple[float, float] = Field((0.5, 2.0), description="that scale is multiplied by a random factor from here")
    size: int = Field(512, ge=32, multiple_of=32, description="side of a square crop [pixels]; a multiple of 32")
    most: float = Field(
        0.75, gt=0, le=1, description="a crop with a larger share of one class is drawn again, up to ten times"
    )
    aimed: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of crops that are drawn to show a class: one of the image's, each as likely but the first, "
        "and one of its pixels anywhere in the crop",
    )
    flip: bool = Field(True, description="flip left-right with chance 1/2")
    photometric: bool = Field(True, description="change brightness, contrast, saturation and hue, each with chance 1/2")

    @model_validator(mode="after")
    def _ordered(self) -> "SegmentationSampling":
        if not 0 < self.ratio[0] <= self.ratio[1] or min(self.fit) < 1:
            raise ValueError(f"fit and ratio must be positive and ratio in order, found {self.fit} and {self.ratio}")
        return self


class SegmentationTraining(PhaseSettings):
    """How a segmentation network is trained; the defaults are those of SSDFusion's rounds on MSRS (24,000 steps)."""

    epochs: int = Field(353, ge=1, description="passes over the training images, one crop of each [epochs]")
    batch_size: int = Field(16, ge=1, description="crops a step")
    optimizer: AdamWSettings = AdamWSettings()
    schedule: LinearPolySchedule = LinearPolySchedule()
    data: SegmentationSampling = SegmentationSampling()
    loss: Loss = Field(
        "cross_entropy",
        description="cross_entropy: mean over all pixels, ignored ones in the denominator; ohem: of the hard pixels "
        "alone; lovasz: Lovász-softmax over the classes present, as upstream for PST900",
    )
    hard_threshold: float = Field(
        0.7, gt=0, lt=1, description="ohem: a pixel is hard if its class has a lower probability"
    )
    hard_share: float = Field(
        0.25, gt=0, le=1, description="ohem: share of the labelled pixels that is learnt at least"
    )
    measure_every: int = Field(1, ge=1, description="epochs from one score on the val split to the next [epochs]")
    class_weights: Literal["equal", "rare"] = Field(
        "equal",
        description="rare: classes weigh 1 / ln(1.02 + share of the training pixels) (ENet), of mean 1; cross_entropy "
        "alone knows them",
    )

    @model_validator(mode="after")
    def _weighed(self) -> "SegmentationTraining":
        if self.class_weights == "rare" and self.loss != "cross_entropy":
            raise ValueError(f"class_weights: rare goes with loss: cross_entropy alone, found loss: {self.loss}")
        return self


class SegmentationSettings(Section):
    """The comparison of inputs by the segmentation network that each of them trains; where there are labels."""

    seeds: int = Field(
        3, ge=0, le=20, description="trainings an input, each from a seed of its own; 0: no segmentation"
    )
    network: Network = SegNeXtNetwork()
    training: SegmentationTraining = SegmentationTraining()
    predict_fit: tuple[int, int] | None = Field(
        (640, 480),
        description="longer and shorter side that an image is scaled to fit into before its labels are predicted; "
        "they are scored at its own size; null: its own size [pixels]",
    )
    weights: Literal["last", "best"] = Field(
        "last", description="which weights are scored, and teach: the last, or those best on the val split"
    )
