"""Training a segmentation network: what it learns, interruption, checkpoints that do not fit."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from decofuse.errors import UserError
from decofuse.metrics.segmentation import confusion_matrix, mean_intersection_over_union
from decofuse.segmentation.crops import SegmentationCrops
from decofuse.segmentation.images import Input, LabelledImages
from decofuse.segmentation.segmenter import Segmenter, load_segmenter, segmentation_terms
from decofuse.segmentation.settings import SegmentationSettings
from decofuse.segmentation.training import segmentation_job
from decofuse.training.checkpoint import BEST
from decofuse.training.stage import _digest, train

CLASSES = ("nothing", "left", "right")
CPU = torch.device("cpu")


def settings(**training):
    network = {"widths": (8, 16, 16, 16), "depths": (1, 1, 1, 1), "ratios": (2, 2, 2, 2), "channels": 32, "rank": 4}
    return SegmentationSettings.model_validate(
        {
            "network": {"model": "segnext_t", **network, "drop_path": 0.1},
            "predict_fit": (64, 48),
            "training": {
                "epochs": 3,
                "batch_size": 2,
                "optimizer": {"learning_rate": 5e-3, "head_factor": 1.0, "clip_norm": 1.0},
                "schedule": {"warmup_steps": 2, "end": None},
                "data": {"fit": (64, 48), "ratio": (1.0, 1.2), "size": 32},
                **training,
            },
        }
    )


def run(manifest, out, *, chosen=None, states=None, classes=CLASSES, number=0, log=lambda step, values: None):
    given = Input(manifest, None, "visible")
    job = segmentation_job(chosen or settings(), classes, given, number=number, seed=0, code="code")
    where = states or out.parent / "states"
    return train(job, data=given.files, start=None, out=out, states=where, device=CPU, log=log, save_every_s=0)


def test_it_learns_what_colours_mean(tmp_path, labelled):
    manifest = labelled(tmp_path, count=5)
    data = {"fit": (128, 96), "ratio": (1.0, 1.2), "size": 64, "most": 1.0, "photometric": False}
    row = run(manifest, tmp_path / "out", chosen=settings(epochs=40, data=data))
    assert row["val.mIoU"] > 0.5  # a third of it without learning
    network = load_segmenter(tmp_path / "out" / "weights.safetensors", 3)
    images = LabelledImages(manifest, None, "val", "visible", CLASSES)
    predicted = torch.from_numpy(network.predict(images.rgb(0), (64, 48), "s0"))
    confusion = confusion_matrix(predicted, torch.from_numpy(images.label(0)), 3)
    assert mean_intersection_over_union(confusion).item() == pytest.approx(row["val.mIoU"])
    assert load_file(tmp_path / "out" / "weights.safetensors")["mean"].tolist() == pytest.approx(
        LabelledImages(manifest, None, "train", "visible", CLASSES).moments()[0].tolist()
    )


def test_the_best_weights_are_those_of_the_best_epoch(tmp_path, labelled):
    manifest = labelled(tmp_path, count=5)
    run(manifest, tmp_path / "out", chosen=settings(epochs=8))
    lines = [line.split(",") for line in (tmp_path / "out" / "history.csv").read_text().splitlines()]
    column = lines[0].index("val.mIoU")
    best = max(float(line[column]) for line in lines[1:])
    network = load_segmenter(tmp_path / "out" / BEST, 3)
    images = LabelledImages(manifest, None, "val", "visible", CLASSES)
    predicted = torch.from_numpy(network.predict(images.rgb(0), (64, 48), "s0"))
    found = mean_intersection_over_union(confusion_matrix(predicted, torch.from_numpy(images.label(0)), 3))
    assert found.item() == pytest.approx(best)


@pytest.mark.parametrize("stop_at", [1, 2, 3, 5, 6])
def test_interrupted_at_any_step_ends_in_the_same_bits(tmp_path, labelled, stop_at):
    manifest = labelled(tmp_path, count=5)
    run(manifest, tmp_path / "whole")

    def stop(step, values):
        if step == stop_at and "loss" in values:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(manifest, tmp_path / "cut", states=tmp_path / "other", log=stop)
    assert not (tmp_path / "cut" / "weights.safetensors").exists()
    run(manifest, tmp_path / "cut", states=tmp_path / "other")
    for name in ("weights.safetensors", BEST, "history.csv", "metrics.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name


def test_trainings_differ_by_their_number(tmp_path, labelled):
    manifest = labelled(tmp_path)
    outs = [tmp_path / str(number) for number in range(2)]
    for number, out in enumerate(outs):
        run(manifest, out, number=number, chosen=settings(epochs=1))
    first, second = (load_file(out / "weights.safetensors") for out in outs)
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_a_class_that_never_occurs_is_told(tmp_path, labelled, caplog):
    with caplog.at_level(logging.WARNING):
        run(labelled(tmp_path), tmp_path / "out", classes=(*CLASSES, "never"), chosen=settings(epochs=1))
    assert "expected every class in the train split, found no pixel of never" in caplog.text


def test_a_dataset_without_labels_is_refused(tmp_path, labelled):
    manifest = labelled(tmp_path)
    text = manifest.read_text().splitlines()
    Path(manifest).write_text("\n".join(",".join(line.split(",")[:-3]) for line in text) + "\n")
    with pytest.raises(UserError, match="expected a dataset with labels"):
        run(manifest, tmp_path / "out")


def test_a_checkpoint_for_other_classes_is_refused(tmp_path, labelled):
    run(labelled(tmp_path), tmp_path / "out", chosen=settings(epochs=1))
    with pytest.raises(UserError, match="expected a segmentation network for 9 classes, found one for 3"):
        load_segmenter(tmp_path / "out" / "weights.safetensors", 9)


@pytest.mark.parametrize("loss", ["cross_entropy", "ohem", "lovasz"])
def test_ignored_pixels_do_not_teach(loss):
    torch.manual_seed(0)
    network = Segmenter(3, settings().network.model_dump()).train()
    image, label = torch.rand(2, 3, 32, 32), torch.full((2, 32, 32), 255)
    term = segmentation_terms(network, {"image": image, "label": label}, loss=loss)["segmentation"]
    assert term.item() == 0


def test_a_prediction_does_not_depend_on_what_came_before():
    torch.manual_seed(0)
    network = Segmenter(3, settings().network.model_dump())
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    first = network.predict(image, None, "a")
    torch.rand(5)
    assert first.shape == (50, 70) and np.array_equal(first, network.predict(image, None, "a"))


def test_samples_know_the_mean_colour_before_the_first_crop(tmp_path, labelled):
    seen = []

    class Spy(SegmentationCrops):
        def pad_with(self, mean):
            seen.append(mean)

    manifest = labelled(tmp_path)
    given = Input(manifest, None, "visible")
    job = segmentation_job(settings(epochs=1), CLASSES, given, number=0, seed=0, code="code")
    samples, val = (
        Spy("visible", CLASSES, manifest, split=split, settings=job.settings.data, seed=0, fixed=False)
        for split in ("train", "val")
    )
    job.extras.ready(Segmenter(3, settings().network.model_dump()), samples, val)
    assert len(seen) == 2 and np.allclose(seen, samples.images.moments()[0])


@pytest.mark.parametrize(
    ("source", "classes", "fit"),
    [
        ("infrared", CLASSES, (64, 48)),
        ("visible", ("a", "b", "c"), (64, 48)),
        ("visible", CLASSES, (32, 24)),
    ],
)
def test_another_training_does_not_go_on_from_the_state_of_one_that_was_stopped(
    tmp_path, labelled, source, classes, fit
):
    manifest = labelled(tmp_path)

    def state(source, classes, fit):
        chosen = settings().model_copy(update={"predict_fit": fit})
        given = Input(manifest, None, source)
        return _digest(segmentation_job(chosen, classes, given, number=0, seed=0, code="code"), given.files, None)

    assert state("visible", CLASSES, (64, 48)) == state("visible", CLASSES, (64, 48)) != state(source, classes, fit)


def test_class_weights_are_of_cross_entropy_alone():
    with pytest.raises(ValueError, match="class_weights: rare goes with loss: cross_entropy alone, found loss: lovasz"):
        settings(loss="lovasz", class_weights="rare")


def test_an_empty_training_split_is_refused_before_anything_is_divided_by_it(tmp_path, labelled, recwarn):
    manifest = labelled(tmp_path, count=1)  # which is for validation
    with pytest.raises(UserError, match="found none"):
        run(manifest, tmp_path / "out")
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]
