"""Tracking: what is recorded, and that it never stops a stage."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decofuse.reports.tracked import _without_password, find_tracked
from decofuse.tracking.run import PARENT_RUN, Tracker
from decofuse.tracking.store import close_reproduction, open_reproduction

mlflow = pytest.importorskip("mlflow")
TEMPORARILY_UNAVAILABLE = mlflow.protos.databricks_pb2.TEMPORARILY_UNAVAILABLE


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('a b')}/mlflow.db"


@pytest.fixture
def tracked(database, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.delenv(PARENT_RUN, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def client(tracked, database):
    return mlflow.MlflowClient(database)


def named(client, name):
    """The runs of a name, oldest first."""
    experiment = client.get_experiment_by_name("decofuse")
    return client.search_runs([experiment.experiment_id], f"run_name = '{name}'", order_by=["start_time ASC"])


def test_a_stage_is_recorded_below_its_reproduction(tracked, client, monkeypatch):
    (tracked / "in.csv").write_text("a\n")
    (tracked / "out.json").write_text("{}")
    parent = open_reproduction("demo", {"seed": 0}, tracked / "parent")
    monkeypatch.setenv(PARENT_RUN, parent)
    with Tracker("train x", {"a": {"b": 1}}, [tracked / "in.csv"]) as run:
        for step in range(500):
            run.log(step, {"loss": float(step)})
        run.artifact(tracked / "out.json")
    close_reproduction(tracked / "parent", {"scenes.x.EN": 7.0}, [tracked / "out.json"], failed=False)
    top = client.get_run(parent)
    assert (top.info.status, top.data.metrics["scenes.x.EN"], top.data.params["seed"]) == ("FINISHED", 7.0, "0")
    (child,) = client.search_runs([top.info.experiment_id], f"tags.mlflow.parentRunId = '{parent}'")
    assert (child.info.run_name, child.info.status, child.data.params) == ("train x", "FINISHED", {"a.b": "1"})
    assert len(client.get_metric_history(child.info.run_id, "loss")) == 500
    assert child.inputs.dataset_inputs[0].dataset.digest
    assert [file.path for file in client.list_artifacts(child.info.run_id)] == ["out.json"]
    assert any(tag.startswith("sha256.") for tag in child.data.tags)
    assert client.search_runs([top.info.experiment_id], "params.`a.b` = '1'")


def test_a_model_is_logged_with_its_digests_and_registered_on_request(tracked, client):
    weights = Path("weights.safetensors")
    weights.write_bytes(b"abc")
    for register in (False, True, True):
        with Tracker("train cddfuse fusion", {}) as run:
            run.model(weights, register)
    models = client.search_logged_models([client.get_experiment_by_name("decofuse").experiment_id])
    assert len(models) == 3
    first, second = sorted(client.search_model_versions("name = 'cddfuse-fusion'"), key=lambda its: int(its.version))
    assert (int(first.version), int(second.version), second.status) == (1, 2, "READY")
    for tags in (first.tags, models[0].tags):
        assert (tags["dvc.path"], tags["dvc.md5"]) == ("weights.safetensors", "900150983cd24fb0d6963f7d28e17f72")
    uri = client.get_model_version_download_uri("cddfuse-fusion", "2")
    assert Path(mlflow.artifacts.download_artifacts(f"{uri}/weights.safetensors")).read_bytes() == b"abc"


def test_a_confusion_matrix_is_recorded_as_a_picture(tracked, client):
    scores = {"dataset": "d", "input": "fused", "classes": ["road", "car"]}
    scores["trainings"] = {"0": {"confusion": [[3, 1], [0, 0]]}, "1": {"confusion": [[4, 0], [0, 2]]}}
    Path("scores.json").write_text(json.dumps(scores))
    with Tracker("predict d fused", {}) as run:
        run.confusion(Path("scores.json"))
    (found,) = named(client, "predict d fused")
    picture = client.download_artifacts(found.info.run_id, "confusion.png")
    assert Path(picture).read_bytes().startswith(b"\x89PNG")


def killed_stage(resume, params="{}"):
    """Start a stage in a process of its own, kill it when its run is open, and wait for the run to be closed."""
    code = (
        "import sys, time; from pathlib import Path; from decofuse.tracking.run import Tracker\n"
        f"with Tracker('train', {params}, resume=Path({str(resume)!r})) as run:\n"
        "    run.log(1, {'loss': 1.0}); print('in', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        deadline = time.monotonic() + 120
        while not (resume.is_file() and resume.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)


def test_a_killed_stage_goes_on_in_the_same_run(tracked, client):
    """At once: the recorder of the killed one may still be at work."""
    resume = tracked / "run"
    killed_stage(resume)
    first = resume.read_text().split()[0]
    with Tracker("train", {}, resume=resume) as run:
        run.log(2, {"loss": 0.5})
    assert not resume.exists()
    (run,) = named(client, "train")
    assert (run.info.run_id, run.info.status) == (first, "FINISHED")
    assert [metric.step for metric in client.get_metric_history(first, "loss")] == [1, 2]


def test_a_killed_stage_with_other_parameters_is_another_run(tracked, client):
    resume = tracked / "run"
    before = len(named(client, "train"))
    killed_stage(resume, "{'a': 1}")
    with Tracker("train", {"a": 2}, resume=resume):
        pass
    killed, other = named(client, "train")[before:]
    assert (killed.info.status, killed.data.params) == ("KILLED", {"a": "1"})
    assert (other.info.status, other.data.params) == ("FINISHED", {"a": "2"})


def test_a_killed_reproduction_goes_on_in_the_same_run_unless_its_parameters_changed(tracked, client):
    resume = tracked / "parent"
    first = open_reproduction("demo", {"seed": 0}, resume)
    assert open_reproduction("demo", {"seed": 0}, resume) == first
    second = open_reproduction("demo", {"seed": 1}, resume)
    assert client.get_run(first).info.status == "KILLED"
    assert (client.get_run(second).info.status, client.get_run(second).data.params["seed"]) == ("RUNNING", "1")


def test_a_busy_server_makes_no_twin_of_a_run_that_goes_on(tracked, client, monkeypatch):
    resume, start_run, refused = tracked / "parent", mlflow.start_run, []

    def busy(*arguments, **options):
        if not refused:
            refused.append(options)
            raise mlflow.MlflowException("busy", error_code=TEMPORARILY_UNAVAILABLE)
        return start_run(*arguments, **options)

    first = open_reproduction("demo", {"seed": 2}, resume)
    monkeypatch.setattr(mlflow, "start_run", busy)
    assert open_reproduction("demo", {"seed": 2}, resume) == first
    assert refused


def test_a_run_that_was_deleted_is_begun_anew(tracked, client):
    resume = tracked / "parent"
    first = open_reproduction("demo", {"seed": 3}, resume)
    client.delete_run(first)
    assert open_reproduction("demo", {"seed": 3}, resume) != first


def test_the_report_links_to_the_runs(tracked, client, monkeypatch):
    parent = open_reproduction("demo", {}, tracked / "parent")
    monkeypatch.setenv(PARENT_RUN, parent)
    with Tracker("train x", {}):
        pass
    found = find_tracked()
    assert found.pages["this run"].startswith("http://127.0.0.1:5000/#/experiments/")
    assert found.pages["this run"].endswith(parent) and [*found.stages] == ["train x"]


@pytest.mark.parametrize("given", ["http://me:secret@there:80/x/", "http://there:80/x"])
def test_the_report_gives_no_password_away(given):
    assert _without_password(given) == "http://there:80/x"


def test_a_failure_is_recorded_and_forgotten_when_the_stage_succeeds(tracked, client):
    with pytest.raises(ZeroDivisionError), Tracker("stage", {}, resume=tracked / "run"):
        _ = 1 / 0
    (run,) = named(client, "stage")
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", "division by zero")
    with Tracker("stage", {}, resume=tracked / "run"):
        pass
    (run,) = named(client, "stage")
    assert (run.info.status, "error" in run.data.tags) == ("FINISHED", False)


def test_a_tracking_failure_does_not_stop_the_stage(monkeypatch, tmp_path, capfd):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")
    reached = False
    with Tracker("stage", {}) as run:
        run._recorder._process.wait(60)
        for step in range(3):
            run.log(step, {"loss": 1.0})
        reached = True
    assert reached
    assert capfd.readouterr().err.count("decofuse: warning: tracking is switched off for stage:") == 1


def test_a_locked_database_holds_up_neither_the_stage_nor_loses_a_metric(tracked, client, database):
    with Tracker("patient", {}) as run:
        run.log(0, {"loss": 0.0})
        deadline = time.monotonic() + 120
        while not (found := named(client, "patient")) or "loss" not in found[0].data.metrics:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        lock = sqlite3.connect(database.removeprefix("sqlite:///"), isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        for step in range(1, 20_000):
            run.log(step, {"loss": float(step)})
        assert time.monotonic() - started < 5
        time.sleep(3)
        lock.execute("ROLLBACK")
        lock.close()
    (found,) = named(client, "patient")
    assert found.info.status == "FINISHED"
    assert len(client.get_metric_history(found.info.run_id, "loss")) == 20_000
    assert "system/cpu_utilization_percentage" in found.data.metrics


def test_nothing_is_recorded_without_a_server(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with Tracker("stage", {}) as run:
        run.log(0, {"loss": 1.0})
    assert not list(tmp_path.iterdir())


def test_the_stage_itself_imports_no_mlflow(tracked):
    code = (
        "import sys; from decofuse.tracking.run import Tracker\n"
        "with Tracker('light', {}) as run: run.log(0, {'loss': 1.0})\n"
        "sys.exit('mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False).returncode == 0
