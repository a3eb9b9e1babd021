"""Tracking: what is recorded, and that it never stops a stage."""

import logging

import pytest

from decofuse.tracking.run import PARENT_RUN, Tracker, close_reproduction, open_reproduction

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('a b')}/mlflow.db"


@pytest.fixture
def tracked(database, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_stage_is_recorded_below_its_reproduction(tracked, monkeypatch):
    (tracked / "in.csv").write_text("a\n")
    (tracked / "out.json").write_text("{}")
    parent = open_reproduction("demo", {"seed": 0}, tracked / "parent")
    monkeypatch.setenv(PARENT_RUN, parent)
    with Tracker("train x", {"a": {"b": 1}}, [tracked / "in.csv"]) as run:
        for step in range(500):
            run.log(step, {"loss": float(step)})
        run.artifact(tracked / "out.json")
    close_reproduction(tracked / "parent", {"scenes.x.EN": 7.0}, [tracked / "out.json"], failed=False)
    client = mlflow.MlflowClient()
    top = client.get_run(parent)
    assert (top.info.status, top.data.metrics["scenes.x.EN"], top.data.params["seed"]) == ("FINISHED", 7.0, "0")
    (child,) = client.search_runs([top.info.experiment_id], f"tags.mlflow.parentRunId = '{parent}'")
    assert (child.info.run_name, child.info.status, child.data.params) == ("train x", "FINISHED", {"a.b": "1"})
    assert len(client.get_metric_history(child.info.run_id, "loss")) == 500
    assert child.inputs.dataset_inputs[0].dataset.digest
    assert [file.path for file in client.list_artifacts(child.info.run_id)] == ["out.json"]
    assert any(tag.startswith("sha256.") for tag in child.data.tags)


def test_a_killed_stage_goes_on_in_the_same_run(tracked):
    file = tracked / "run"
    with pytest.raises(KeyboardInterrupt), Tracker("train", {}, resume=file):
        first = file.read_text()
        raise KeyboardInterrupt
    with Tracker("train", {}, resume=file):
        assert file.read_text() == first
    assert not file.exists()
    assert mlflow.MlflowClient().get_run(first).info.status == "FINISHED"


def test_a_failure_is_recorded(tracked):
    with pytest.raises(ZeroDivisionError), Tracker("stage", {}, resume=tracked / "run"):
        run_id = (tracked / "run").read_text()
        _ = 1 / 0
    run = mlflow.MlflowClient().get_run(run_id)
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", "division by zero")


def test_a_tracking_failure_does_not_stop_the_stage(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/no/such/folder/mlflow.db")
    reached = False
    with caplog.at_level(logging.WARNING), Tracker("stage", {}) as run:
        run.log(0, {"loss": 1.0})
        run.artifact(tmp_path / "missing")
        reached = True
    assert reached
    assert [record.message for record in caplog.records if "switched off" in record.message]


def test_nothing_is_recorded_without_a_server(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with Tracker("stage", {}) as run:
        run.log(0, {"loss": 1.0})
    assert not list(tmp_path.iterdir())
