"""The command line: help, start-up, refusals, and a training that is killed for real."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decofuse import config, stages
from decofuse.files import sha256
from decofuse.models.psfusion import PSFusion
from decofuse.training.checkpoint import WEIGHTS, Provenance, save_weights

ROOT = Path(__file__).parents[1]
COMMANDS = (
    *("comparison", "config", "dataset", "download", "evaluate", "explain", "export", "fuse", "generate", "grid"),
    *("import-weights", "parity", "patches", "report", "score", "table", "train", "verify"),
)


def decofuse(*words, cwd=ROOT, **kwargs):
    command = [sys.executable, "-m", "decofuse.cli", *map(str, words)]
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DECOFUSE_"))}
    env["PYTHONPATH"] = str(ROOT / "src")
    return subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs
    )


def finish(*words, cwd=ROOT):
    process = decofuse(*words, cwd=cwd)
    out, error = process.communicate()
    return process.returncode, out, error


def test_help_lists_every_command():
    code, out, _ = finish("--help")
    assert code == 0
    assert all(f" {command} " in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    code, out, _ = finish(command, "--help")
    assert code == 0
    assert "Usage" in out
    assert "--help" in out


@pytest.mark.parametrize("module", ["decofuse", "decofuse.cli", "decofuse.stages"])
def test_start_up_loads_neither_torch_nor_mlflow(module):
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'mlflow', 'cv2', 'h5py'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "average", "fusion", "--data", "x", "--out", "y"], "expected a method with training (cddfuse, "),
        (["train", "cddfuse", "meta", "--data", "x", "--out", "y"], "expected a phase of cddfuse (reconstruction"),
        (["generate", "cdfuse", "--manifest", "x", "--out", "y"], "expected a method (average, laplacian, cddfuse, "),
        (["generate", "cddfuse", "--manifest", "scenes/x", "--out", "y"], "cddfuse: expected --weights"),
        (["patches", "--manifest", "none.csv", "--out", "y"], "none.csv: expected a manifest, found No such file"),
        (["patches", "--manifest", "none.csv", "--out", "y", "--settings", "{"], "--settings: expected a JSON object"),
        (["config", "--preset", "moon"], "params.yaml: preset: expected one of camvid-exposure, demo"),
        (["dataset", "moon", "--out", "y"], "params.yaml: nothing there for moon"),
        (
            ["parity", "--golden", "none.npz", "--manifest", "none.json", "--method", "cddfuse"],
            "none.json: expected a manifest",
        ),
        (["parity", "--golden", "docs"], "docs: expected golden vectors of cddfuse, fsidfusion"),
        (["import-weights", "none.pth", "--method", "cddfuse", "--out", "y"], "none.pth: expected"),
    ],
)
def test_a_mistake_ends_with_one_line(words, message):
    code, out, error = finish(*words)
    assert code == 1
    assert not out
    assert len(error.splitlines()) == 1, error
    assert error.startswith("decofuse: error: ")
    assert message in error


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Patches of the smoke preset, and its parameters."""
    folder = tmp_path_factory.mktemp("made here")
    resolved = stages.resolve(config.load(ROOT / "params.yaml", "smoke"))
    scenes = json.dumps(stages.dataset(resolved, "scenes-smoke"))
    for words in (
        ["dataset", "scenes-smoke", "--settings", scenes, "--out", "data"],
        [
            "patches",
            "--manifest",
            "data/manifest.csv",
            "--settings",
            json.dumps(stages.patches(resolved)),
            "--out",
            "p.h5",
        ],
    ):
        code, _, error = finish(*words, cwd=folder)
        assert code == 0, error
    return folder, resolved


def training(resolved, phase, out, *more):
    settings = json.dumps(stages.train(resolved, "cddfuse", phase))
    return ["train", "cddfuse", phase, "--settings", settings, "--data", "p.h5", "--out", out, *more]


def test_an_encoder_that_there_is_not_is_told_in_one_line(made):
    values = stages.segment(stages.resolve(config.load(ROOT / "params.yaml", "smoke-rounds")))
    values["labels.data"] = values["labels.scenes-smoke"]
    values["segmentation.network"] = {"model": "unet", "encoder": "nonsense", "decoder": [8] * 5, "weights": ""}
    words = ["--manifest", "data/manifest.csv", "--settings", json.dumps(values), "--out", "none"]
    code, _, error = finish("segment", "visible", *words, cwd=made[0])
    assert code == 1 and error.count("\n") == 1, error
    assert "the network of unet: unet: expected an encoder of timm" in error and not (made[0] / "none").exists()


def test_a_networks_own_head_is_scored_and_one_for_other_classes_refused(made):
    folder, file = made[0], made[0] / "with a head.yaml"
    file.write_text("preset: smoke-rounds\nrun: [ssdfusion, psfusion]\n")
    resolved = stages.resolve(config.load(file, presets=ROOT / "workflow/presets"))
    slice_ = stages.predict_head(resolved, "scenes-smoke", "psfusion")
    settings = json.dumps({key.replace("scenes-smoke", "data"): value for key, value in slice_.items()})
    results = {}
    for classes in (len(slice_["labels.scenes-smoke"]["names"]), 15):
        size = {"channels": 8, "blocks": [1, 1, 1, 1], "classes": classes}
        about = Provenance("psfusion", "joint", size, {})
        save_weights(folder / f"head {classes}" / WEIGHTS, PSFusion(**size).state_dict(), about)
        words = ["--manifest", "data/manifest.csv", "--weights", f"head {classes}", "--out", f"predicted {classes}"]
        results[classes] = finish("predict-head", "psfusion", *words, "--settings", settings, cwd=folder)
    (right, (code, _, error)), (_, (refused, _, line)) = results.items()
    assert code == 0, error
    scores = json.loads((folder / f"predicted {right}" / "scores.json").read_text())
    assert scores["input"] == "psfusion-head" and 0 <= scores["mean"]["mIoU"] <= 1
    assert (refused, line.count("\n")) == (1, 1), line
    assert f"head 15: expected a head for {right} classes, found one for 15" in line


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("roadscene-small", "expected a dataset roadscene with label classes"),
        ("smoke-rounds", "whose classes params.yaml tells (scenes-smoke), found the folder data"),
    ],
)
def test_without_known_labels_nothing_is_segmented(made, tmp_path, preset, message):
    (tmp_path / "params.yaml").write_text(f"preset: {preset}\n")
    (tmp_path / "workflow").symlink_to(ROOT / "workflow")
    words = ["--manifest", str(made[0] / "data/manifest.csv"), "--out", "none"]
    code, _, error = finish("segment", "visible", *words, cwd=tmp_path)
    assert (code, error.count("\n")) == (1, 1), error
    assert message in error


def test_killed_training_ends_in_the_same_bits(made):
    """kill -9 again and again, the same command each time; weights, moments and curves equal an uninterrupted run."""
    folder, resolved = made
    assert finish(*training(resolved, "reconstruction", "whole"), cwd=folder)[0] == 0
    kills = 0
    command = training(resolved, "reconstruction", "cut", "--save-every", "0")
    while not (folder / "cut/weights.safetensors").exists():
        process = decofuse(*command, cwd=folder)
        before = states(folder / "checkpoints/cut")
        while process.poll() is None and (kills >= 3 or states(folder / "checkpoints/cut") in (before, set())):
            time.sleep(0.01)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        _, error = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), error
    assert kills == 3
    for name in ("weights.safetensors", "optimizer.safetensors", "history.csv", "metrics.json"):
        assert sha256(folder / "cut" / name) == sha256(folder / "whole" / name), name
    assert not list((folder / "checkpoints").rglob("state.pt"))


def means_alone(resolved):
    """Settings of a training whose loss is a mean over samples: parts of a batch add up to the batch."""
    settings = stages.train(resolved, "cddfuse", "reconstruction")
    section = settings["methods.cddfuse.reconstruction"]
    changed = {**section, "weights": {**section["weights"], "decomposition": 0.0}, "epochs": 3}
    return ["--settings", json.dumps({**settings, "methods.cddfuse.reconstruction": changed})]


def same_curves(one, other):
    rows = [list(csv.DictReader((folder / "history.csv").open())) for folder in (one, other)]
    assert len(rows[0]) == 3
    for row, expected in zip(*rows, strict=True):
        for name, value in expected.items():
            if "decomposition" not in name:
                assert float(row[name]) == pytest.approx(float(value), rel=2e-3), name


def test_two_processes_follow_the_curve_of_one_also_when_one_goes_on(made):
    folder, resolved = made
    command = [*training(resolved, "reconstruction", "alone")[:3], "--data", "p.h5", *means_alone(resolved)]
    assert finish(*command, "--out", "alone", cwd=folder)[0] == 0
    two = [*command, "--out", "two", "--processes", "2"]
    code, _, error = finish(*two, cwd=folder)
    assert code == 0, error
    same_curves(folder / "two", folder / "alone")
    assert error.count("epoch 3 of 3") == 1  # one process tells

    cut = [*command, "--out", "one after two", "--save-every", "0"]
    process = decofuse(*cut, "--processes", "2", cwd=folder)
    while process.poll() is None and not states(folder / "checkpoints"):
        time.sleep(0.01)
    assert process.poll() is None
    process.terminate()
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert finish(*cut, cwd=folder)[0] == 0
    same_curves(folder / "one after two", folder / "alone")


def test_what_several_processes_cannot_do_is_told_once(made):
    folder, resolved = made
    command = [*training(resolved, "reconstruction", "none")[:3], *means_alone(resolved), "--processes", "2"]
    code, _, error = finish(*command, "--data", "nowhere.h5", "--out", "none", cwd=folder)
    assert code == 1
    assert error.count("nowhere.h5: expected a file to train from, found none") == 1
    assert "Traceback" not in error


def states(folder):
    """The saved states, by when they were written."""
    found = set()
    for path in folder.rglob("state.pt"):
        try:
            found.add(path.stat().st_mtime_ns)
        except FileNotFoundError:
            continue
    return found


def test_a_phase_refuses_the_wrong_start(made):
    folder, resolved = made
    if not (folder / "whole").exists():
        assert finish(*training(resolved, "reconstruction", "whole"), cwd=folder)[0] == 0
    code, _, error = finish(*training(resolved, "fusion", "out", "--start", "nowhere"), cwd=folder)
    assert (code, len(error.splitlines())) == (1, 1)
    assert "nowhere/weights.safetensors: expected a file to train from, found none" in error
    assert not (folder / "out").exists()
