"""The workflow, run for real at its smallest scale: what runs, what does not, and what DVC and MLflow hold then."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from decofuse.models.registry import METHODS

ROOT = Path(__file__).parents[2]


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


def test_the_report_is_written_last_and_shown_first(project):
    root = project.root / "results"
    page = (root / "smoke/report.html").read_text()
    assert (root / "report.html").read_text() == page
    trainings = sum(len(method.phases) for method in METHODS.values())
    assert f">train</th><td>{trainings}</td>" in page  # time and memory of every training
    (link,) = re.findall(r'<a href="(http://127\.0\.0\.1:5000/#/experiments/\d+/runs/\w+)">this run</a>', page)
    assert link and ">train cddfuse fusion</a>" in page


def test_lost_benchmark_files_rerun_nothing(project):
    logs = project.root / "logs"
    logs.rename(project.root / "logs-away")
    try:
        assert project.plan() == set()
    finally:
        shutil.rmtree(logs, ignore_errors=True)
        (project.root / "logs-away").rename(logs)


def test_snakemake_reports_with_captions(project, tmp_path):
    project.snakemake("--report", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Sources and fused images of scenes-smoke" in page and "All of the run on one page" in page


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


def test_code_that_a_pull_brought_is_not_taken_for_the_code_that_ran(project):
    """dvc.lock moved and results/smoke/params.yaml is of the old code: DVC finds the grid clean, and it is stale."""
    project.edit("src/decofuse/grid.py", "GAP = ", "GAP = 2 * ")
    (project.root / ".snakemake/decofuse/dvc.lock.sha256").unlink()
    assert project.would_run() == {
        "Writing down the parameters of smoke",
        "Drawing the picture grid of scenes-smoke",
        "Writing the report of smoke",
    }


def test_a_lost_image_is_made_again(project):
    images = project.root / "results/smoke/fused/scenes-smoke/average/images"
    lost = sorted(images.glob("*.png"))[0]
    content = lost.read_bytes()
    lost.unlink()
    output = project.snakemake("--", lost.parents[1].relative_to(project.root) / "index.csv")
    assert f"{lost.relative_to(project.root)} is missing" in output
    assert lost.read_bytes() == content
    assert project.plan() == set()


def test_a_wrong_parameter_is_refused_in_one_line_before_any_job(project):
    (project.root / "params.yaml").write_text("preset: smoke\npatches: {sise: 3}\n")
    output = project.snakemake(check=False)
    assert "decofuse: error: params.yaml: patches.sise: unknown key; did you mean size?" in output
    assert "Traceback" not in output
    assert "Job" not in output


def test_locks_of_a_run_that_lives_stay_whoever_came_before_it(tmp_path):
    """The second of three runs outlives the first one, a dry run perhaps: the third finds its locks in use."""
    lock = tmp_path / ".snakemake/locks/0.input.lock"
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'workflow')!r})\nimport reproduction as r; r._unlock_if_stale()"
    first, second, third = (code, f"{code}; open({str(lock)!r}, 'w').close()", code)

    def started(code):
        words = [sys.executable, "-c", f"{code}\nprint(flush=True); sys.stdin.read()"]
        run = subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        run.stdout.readline()
        return run

    lock.parent.mkdir(parents=True)
    one, two = started(first), started(second)
    one.communicate()
    three = started(third)
    assert lock.exists()
    for run in (two, three):
        run.communicate()
    started(third).communicate()
    assert not lock.exists()


def test_a_run_that_was_killed_goes_on(project, other):
    """kill -9 of Snakemake and all its jobs in the middle of a training; the same command ends in the same bits."""
    made = Path("results/smoke/training/cddfuse/fusion")
    shutil.rmtree(other.root / made)
    target = ("--", made / "weights.safetensors")
    process = subprocess.Popen(
        ["snakemake", "--config", "preset=smoke", *target],
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
    assert "left by a run that was killed" in other.snakemake(*target)
    for name in ("weights.safetensors", "optimizer.safetensors", "history.csv"):
        assert (other.root / made / name).read_bytes() == (project.root / made / name).read_bytes()
    assert other.would_run() == set()
    assert "up to date" in other.run("dvc", "status")


def test_lint_finds_nothing_but_the_missing_conda_files(project):
    """Every rule runs in the one locked environment that runs Snakemake, so none names its own."""
    found = re.findall(r"^ +\* (.+?):", project.run("snakemake", "--lint", check=False), re.MULTILINE)
    assert set(found) <= {"Specify a conda environment or container for each rule."}
