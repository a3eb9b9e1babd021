"""The training of a segmentation network on one input, as a job of the training stage."""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from decofuse.errors import UserError
from decofuse.metrics.segmentation import (
    confusion_matrix,
    intersection_over_union,
    mean_intersection_over_union,
    pixel_accuracy,
)
from decofuse.seeding import seed_for
from decofuse.segmentation.crops import SegmentationCrops
from decofuse.segmentation.images import Input, LabelledImages
from decofuse.segmentation.pretrained import load_backbone
from decofuse.segmentation.segmenter import PHASE, Segmenter, phase_of
from decofuse.segmentation.settings import SegmentationSettings
from decofuse.training.loop import Row
from decofuse.training.stage import Extras, Job

MEAN_IOU = "val.mIoU"
_LOG = logging.getLogger(__name__)


def segmentation_job(
    settings: SegmentationSettings, classes: Sequence[str], given: Input, *, number: int, seed: int, code: str
) -> Job:
    """A job for `decofuse.training.stage.train`.

    Random choices depend on the seed and the number of the training, not on the input: every input has the same
    initial weights, order and crops.

    Args:
        settings: network, schedule, loss.
        classes: names of the classes.
        given: the images.
        number: which of several trainings, from 0.
        seed: seed of the run.
        code: digest of the code that runs.
    """
    network, training = settings.network, settings.training
    val = LabelledImages(given.manifest, given.index, "val", given.source, classes)
    return Job(
        method=network.model,
        phase=PHASE,
        build=Segmenter,
        network={"classes": len(classes), "network": network.model_dump(mode="json")},
        declaration=phase_of(network.model),
        options={name: getattr(training, name) for name in ("loss", "hard_threshold", "hard_share")},
        weights={"segmentation": 1.0},
        settings=training,
        samples=functools.partial(SegmentationCrops, given.source, tuple(classes)),
        seed=seed_for(seed, PHASE, number),
        code=code,
        extras=Extras(
            reads=[Path(network.weights)] if network.weights else [],
            decides={"source": given.source, "classes": list(classes), "predict_fit": settings.predict_fit},
            ready=functools.partial(_ready, rare=training.class_weights == "rare", pretrained=network.weights),
            measure=functools.partial(_measure, images=val, fit=settings.predict_fit),
            measure_every=training.measure_every,
            best=MEAN_IOU,
            moments=False,
        ),
    )


def _ready(network: Segmenter, samples: SegmentationCrops, val: SegmentationCrops, rare: bool, pretrained: str) -> None:
    """Take over the statistics of the training images, and pretrained weights if there are any."""
    pixels = samples.images.class_pixels()
    if not pixels.any():
        raise UserError(f"{samples.images.path}: expected labelled pixels in the train split, found none")
    mean, std = samples.images.moments()
    network.set_statistics(mean, std)
    samples.pad_with(mean)
    val.pad_with(mean)
    if lacking := [name for name, count in zip(samples.images.classes, pixels, strict=True) if not count]:
        _LOG.warning(
            "%s: expected every class in the train split, found no pixel of %s; they will not be learnt",
            samples.images.path,
            ", ".join(lacking),
        )
    if rare:
        weights = 1 / np.log(1.02 + pixels / pixels.sum())
        network.class_weights.copy_(torch.from_numpy(weights / weights.mean()))
    if pretrained:
        load_backbone(network.network, Path(pretrained))


def _measure(network: Segmenter, images: LabelledImages, fit: tuple[int, int] | None) -> Row:
    """mIoU, pixel accuracy and IoU of each class that is labelled, over whole images; nothing without images."""
    if not len(images):
        return {}
    confusion = torch.zeros(len(images.classes), len(images.classes), dtype=torch.int64)
    for index, pair in enumerate(images.pairs):
        predicted = torch.from_numpy(network.predict(images.rgb(index), fit, pair.stem))
        confusion += confusion_matrix(predicted, torch.from_numpy(images.label(index)), len(images.classes))
    each = intersection_over_union(confusion, "zero").tolist()
    labelled = confusion.sum(dim=1).tolist()
    return {
        MEAN_IOU: mean_intersection_over_union(confusion).item(),
        "val.pixel_accuracy": pixel_accuracy(confusion).item(),
        **{
            f"val.IoU.{name}": value for name, value, count in zip(images.classes, each, labelled, strict=True) if count
        },
    }
