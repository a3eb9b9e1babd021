"""The workflow, run for real at its smallest scale: what runs, what does not, and what DVC and MLflow hold then."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from decofuse.models.registry import METHODS

AFTER_FUSION = {
    "Writing down the parameters of smoke",
    "Training cddfuse, phase fusion",
    "Fusing scenes-smoke with cddfuse",
    "Scoring cddfuse on scenes-smoke",
    "Drawing the picture grid of scenes-smoke",
    "Gathering the scores of smoke",
    "Comparing the scores of smoke with published numbers",
}
WEIGHT = "methods: {cddfuse: {fusion: {weights: {gradient: 5.0}}}}\n"


def test_a_run_makes_every_artifact(project):
    root = project.root / "results/smoke"
    table = json.loads((root / "metrics.json").read_text())["scenes-smoke"]
    assert set(table) == set(METHODS)
    assert set(table["cddfuse"]) == {"EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM"}
    assert (root / "grid-scenes-smoke.png").is_file()
    assert {path.name for path in root.glob("benchmark.*")} == {"benchmark.csv", "benchmark.md", "benchmark.html"}
    for name, method in METHODS.items():
        for phase in method.phases:
            made = {path.name for path in (root / "training" / name / phase).iterdir()}
            assert made == {"weights.safetensors", "optimizer.safetensors", "history.csv", "metrics.json"}
        assert len(list((root / "fused/scenes-smoke" / name / "images").glob("*.png"))) == 2


def test_nothing_half_written_or_unfinished_is_left(project):
    assert not list(project.root.rglob("state.pt"))
    assert not [path for folder in ("data", "results") for path in (project.root / folder).rglob(".*")]


def test_a_second_run_has_nothing_to_do(project):
    assert "Nothing to be done" in project.snakemake()
    assert "up to date" in project.run("dvc", "status")


def test_the_stages_run_below_one_parent(project):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{project.root}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'decofuse'")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "reproduce smoke"]
    children = {run.info.run_name: run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    assert {"dataset scenes-smoke", "patches scenes-smoke", "train cddfuse fusion", "grid scenes-smoke"} <= set(
        children
    )
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert parent.data.metrics["scenes-smoke.cddfuse.EN"] > 0
    training = children["train cddfuse fusion"]
    assert training.data.params["methods.cddfuse.fusion.weights.gradient"] == "10.0"
    assert len(client.get_metric_history(training.info.run_id, "loss")) > 1
    assert "sha256.results/smoke/training/cddfuse/fusion/weights.safetensors" in training.data.tags
    assert training.data.tags["git.commit"]
    assert {"lr.encoder", "gradient_norm.encoder", "samples_per_s"} <= set(training.data.metrics)


def test_trained_weights_are_models_with_the_digest_that_dvc_recorded(project):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{project.root}/mlflow.db")
    experiment = client.get_experiment_by_name("decofuse").experiment_id
    lock = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]
    recorded = {out["path"]: out["md5"] for stage in lock.values() for out in stage["outs"]}
    models = {model.name: model.tags for model in client.search_logged_models([experiment])}
    assert set(models) == {f"{name}-{phase}" for name, method in METHODS.items() for phase in method.phases}
    assert all(recorded[tags["dvc.path"]] == tags["dvc.md5"] for tags in models.values())


def test_a_loss_weight_reruns_that_phase_and_what_follows(project):
    (project.root / "params.yaml").write_text(f"preset: smoke\n{WEIGHT}")
    assert project.would_run() == AFTER_FUSION


@pytest.mark.parametrize(
    ("file", "old", "new", "jobs"),
    [
        (
            "src/decofuse/models/sfdfuse.py",
            "nn.LeakyReLU(0.01)",
            "nn.LeakyReLU(0.02)",
            {job.replace("cddfuse", "sfdfuse") for job in AFTER_FUSION} | {"Training sfdfuse, phase reconstruction"},
        ),
        (
            "src/decofuse/data/labelled_crops.py",
            "PCG64(",
            "PCG64DXSM(",
            {job.replace("cddfuse", "psfusion").replace("phase fusion", "phase joint") for job in AFTER_FUSION},
        ),
        (
            "src/decofuse/models/cddfuse.py",
            '"""CDDFuse: ',
            '"""The network CDDFuse: ',
            {"Writing down the parameters of smoke"},
        ),
        (
            "src/decofuse/grid.py",
            "GAP = ",
            "GAP = 2 * ",
            {"Writing down the parameters of smoke", "Drawing the picture grid of scenes-smoke"},
        ),
        (
            "src/decofuse/reports/page_html.py",
            "1.6rem",
            "1.7rem",
            {"Writing down the parameters of smoke", "Comparing the scores of smoke with published numbers"},
        ),
        (
            "workflow/published.csv",
            "cddfuse,tno,EN,7.12",
            "cddfuse,tno,EN,7.13",
            {"Comparing the scores of smoke with published numbers"},
        ),
        ("workflow/presets/msrs.yaml", "epochs: 40", "epochs: 41", set()),
        ("params.yaml", "preset: demo", "preset: demo  # mine", {"Writing down the parameters of smoke"}),
        ("README.md", "# DecoFuse", "# DecoFuse!", set()),
    ],
)
def test_an_edit_reruns_what_depends_on_it(project, file, old, new, jobs):
    project.edit(file, old, new)
    assert project.would_run() == jobs


def test_code_that_a_pull_brought_is_not_taken_for_the_code_that_ran(project):
    """dvc.lock moved and results/smoke/params.yaml is of the old code: DVC finds the grid clean, and it is stale."""
    project.edit("src/decofuse/grid.py", "GAP = ", "GAP = 2 * ")
    (project.root / ".snakemake/decofuse/dvc.lock.sha256").unlink()
    assert project.would_run() == {"Writing down the parameters of smoke", "Drawing the picture grid of scenes-smoke"}


def test_a_touched_input_reruns_nothing(project):
    (project.root / "data/scenes-smoke/manifest.csv").touch()
    assert project.would_run() == set()


def test_a_lost_image_is_made_again(project):
    images = project.root / "results/smoke/fused/scenes-smoke/average/images"
    lost = sorted(images.glob("*.png"))[0]
    content = lost.read_bytes()
    lost.unlink()
    output = project.snakemake()
    assert f"{lost.relative_to(project.root)} is missing" in output
    assert lost.read_bytes() == content
    assert project.would_run() == set()


def test_a_wrong_parameter_is_refused_in_one_line_before_any_job(project):
    (project.root / "params.yaml").write_text("preset: smoke\npatches: {sise: 3}\n")
    output = project.snakemake(check=False)
    assert "decofuse: error: params.yaml: patches.sise: unknown key; did you mean size?" in output
    assert "Traceback" not in output
    assert "Job" not in output


def test_a_clone_has_everything_after_dvc_pull(project, tmp_path):
    project.run("dvc", "remote", "add", "-q", "-d", "storage", tmp_path / "remote")
    project.run("dvc", "push", "-q")
    project.commit()
    clone = type(project)(tmp_path / "clone here")
    project.git("clone", "-q", project.root, clone.root)
    clone.run("dvc", "pull", "-q")
    assert clone.would_run() == set()
    assert "Nothing to be done" in clone.snakemake("-n")
    for name in ("metrics.json", "training/cddfuse/fusion/weights.safetensors"):
        assert (clone.root / "results/smoke" / name).read_bytes() == (
            project.root / "results/smoke" / name
        ).read_bytes()


def test_dvc_repro_and_snakemake_agree(project, tmp_path):
    """After `dvc repro` with a changed weight Snakemake has nothing to do, and the same weights come out."""
    other = type(project)(tmp_path / "other")
    shutil.copytree(project.root, other.root, symlinks=True)
    (other.root / "params.yaml").write_text(f"preset: smoke\n{WEIGHT}")
    output = other.run("dvc", "repro")
    assert "Running stage 'smoke--train--cddfuse--fusion'" in output
    assert "Running stage 'smoke--train--cddfuse--reconstruction'" not in output
    assert other.would_run() == set()
    assert "up to date" in other.run("dvc", "status")
    by_dvc = (other.root / "results/smoke/training/cddfuse/fusion/weights.safetensors").read_bytes()
    assert by_dvc != (project.root / "results/smoke/training/cddfuse/fusion/weights.safetensors").read_bytes()


def test_a_run_that_was_killed_goes_on(project, tmp_path):
    """kill -9 of Snakemake and all its jobs in the middle of a training; the same command ends in the same bits."""
    other = type(project)(tmp_path / "other")
    shutil.copytree(project.root, other.root, symlinks=True)
    made = Path("results/smoke/training/cddfuse/fusion")
    shutil.rmtree(other.root / made)
    process = subprocess.Popen(
        ["snakemake", "--config", "preset=smoke"],
        cwd=other.root,
        env=other.env,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list((other.root / "checkpoints" / made).glob("*/lock")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (other.root / made / "weights.safetensors").exists()
    assert "left by a run that was killed" in other.snakemake()
    for name in ("weights.safetensors", "optimizer.safetensors", "history.csv"):
        assert (other.root / made / name).read_bytes() == (project.root / made / name).read_bytes()
    assert other.would_run() == set()
    assert "up to date" in other.run("dvc", "status")


def test_dvc_shows_metrics_and_plots(project):
    shown = json.loads(project.run("dvc", "metrics", "show", "--json"))
    assert "results/smoke/metrics.json" in json.dumps(shown)
    plots = yaml.safe_load((project.root / "dvc.yaml").read_text())["plots"]
    assert {"results/smoke/training/cddfuse/fusion/history.csv"} <= {next(iter(plot)) for plot in plots}
    project.run("dvc", "plots", "show", "--json")


def test_lint_finds_nothing_but_the_missing_conda_files(project):
    """Every rule runs in the one locked environment that runs Snakemake, so none names its own."""
    found = re.findall(r"^ +\* (.+?):", project.run("snakemake", "--lint", check=False), re.MULTILINE)
    assert set(found) <= {"Specify a conda environment or container for each rule."}
