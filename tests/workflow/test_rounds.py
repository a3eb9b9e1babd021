"""Segmentation and rounds in the graph; that they run is a long test."""

import json
from pathlib import Path

import pytest


def planned(unrun, params="preset: smoke-rounds\n"):
    """Jobs of a run where nothing has run."""
    (unrun.root / "params.yaml").write_text(params)
    return unrun.plan("smoke-rounds")


def jobs_of_round(number):
    return {
        f"Training ssdfusion, meta phase of round {number}",
        f"Fusing scenes-smoke with ssdfusion-round{number}",
        f"Scoring ssdfusion-round{number} on scenes-smoke",
        f"Fusing the training images with ssdfusion-round{number}",
        f"Training segmentation on ssdfusion-round{number}, number 0",
        f"Predicting the labels of scenes-smoke from ssdfusion-round{number}",
    }


def test_a_further_round_adds_its_own_jobs_alone(unrun):
    one = planned(unrun)
    two = planned(unrun, "preset: smoke-rounds\nrounds: 2\n")
    assert one < two and two - one == jobs_of_round(2)


def test_every_input_is_segmented_as_often_as_asked(unrun):
    jobs = planned(unrun, "preset: smoke-rounds\nrounds: 0\nsegmentation: {seeds: 2}\n")
    inputs = ("visible", "infrared", "average", "ssdfusion")
    assert {job for job in jobs if "Training segmentation" in job} == {
        f"Training segmentation on {name}, number {number}" for name in inputs for number in range(2)
    }
    assert not any("round" in job for job in jobs if "smoke-rounds" not in job)


def test_without_seeds_there_is_no_segmentation(unrun):
    jobs = planned(unrun, "preset: smoke-rounds\nrounds: 0\nsegmentation: {seeds: 0}\n")
    assert not any("segmentation" in job or "labels" in job for job in jobs)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("meta: [average]", "meta: no such name 'average'"),
        ("segmentation: {seeds: 0}", "rounds: need a training dataset with labels"),
    ],
)
def test_rounds_that_cannot_be_are_refused_in_one_line(unrun, params, message):
    (unrun.root / "params.yaml").write_text(f"preset: smoke-rounds\n{params}\n")
    output = unrun.run("snakemake", "-n", check=False)
    assert message in output and "Traceback" not in output


@pytest.mark.slow
def test_a_round_runs_and_a_second_one_leaves_it_alone(new_project):
    project = new_project
    project.run("snakemake", "--config", "preset=smoke-rounds")
    results = project.root / "results/smoke-rounds"
    first = results / "training/ssdfusion/meta-1/weights.safetensors"
    before = first.read_bytes(), first.stat().st_mtime_ns
    scores = json.loads((results / "segmentation.json").read_text())["scenes-smoke"]
    assert set(scores) == {"visible", "infrared", "average", "ssdfusion", "ssdfusion-round1"}
    assert all(0 <= value <= 1 for value in scores.values())
    assert (results / "overlays-scenes-smoke.png").stat().st_size > 10_000
    (project.root / "params.yaml").write_text("preset: smoke-rounds\nrounds: 2\n")
    project.run("snakemake")
    assert (first.read_bytes(), first.stat().st_mtime_ns) == before
    assert Path(results / "training/ssdfusion/meta-2/weights.safetensors").is_file()
    assert project.plan("smoke-rounds") == set()
    drawn = {f"{what} of smoke-rounds" for what in ("Writing down the parameters", "Writing the report")}
    drawn |= {"Drawing the predicted labels of scenes-smoke", "Comparing the inputs of segmentation of smoke-rounds"}
    project.edit("src/decofuse/segmentation/overlay.py", "import numpy as np", "import math\nimport numpy as np")
    assert project.plan("smoke-rounds") == drawn
    project.edit("src/decofuse/training/meta_phase.py", "SPLIT_SEED = 42", "SPLIT_SEED = 43")
    scores = {"Gathering the scores of smoke-rounds"}
    assert project.plan("smoke-rounds") == drawn | jobs_of_round(1) | jobs_of_round(2) | scores
    project.close()
