"""One process that forks the recorders of all stages."""

import os
import time
from pathlib import Path

import pytest

from decofuse.tracking.channel import RECORDER, OwnRecorder, SharedRecorder
from decofuse.tracking.run import PARENT_RUN, Tracker
from decofuse.tracking.server import RecorderServer

mlflow = pytest.importorskip("mlflow")


@pytest.fixture
def serving(tmp_path, monkeypatch):
    """Starts a server for a tracking database, and waits until it can be reached."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PARENT_RUN, raising=False)
    monkeypatch.setenv(RECORDER, "")
    servers = []

    def start(uri):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        servers.append(RecorderServer())
        deadline = time.monotonic() + 120
        while not Path(os.environ[RECORDER]).exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_stages_at_once_are_recorded_by_forks_of_one_process(serving, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    server = serving(uri)
    with Tracker("a", {"x": 1}, resume=tmp_path / "kept") as first, Tracker("b", {"x": 2}) as second:
        assert isinstance(first._recorder, SharedRecorder)
        for step in range(100):
            first.log(step, {"loss": 1.0 / (step + 1)})
            second.log(step, {"loss": 2.0})
    assert not (tmp_path / "kept").exists()
    server.close()  # waits for what is still at work
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("decofuse").experiment_id])
    assert {(run.info.run_name, run.info.status, run.data.params["x"]) for run in runs} == {
        ("a", "FINISHED", "1"),
        ("b", "FINISHED", "2"),
    }
    assert all(len(client.get_metric_history(run.info.run_id, "loss")) == 100 for run in runs)


def test_why_a_fork_gave_up_is_told_by_the_stage(serving, tmp_path, capfd):
    (tmp_path / "file").touch()
    serving(f"sqlite:///{tmp_path}/file/mlflow.db")
    with Tracker("stage", {}) as run:
        for step in range(3):
            run.log(step, {"loss": 1.0})
    error = capfd.readouterr().err
    assert error.count("decofuse: warning: tracking is switched off for stage:") == 1, error


def test_a_stage_that_cannot_reach_the_server_has_a_recorder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv(RECORDER, str(tmp_path / "gone"))
    with Tracker("a", {}) as run:
        assert isinstance(run._recorder, OwnRecorder)
    assert mlflow.MlflowClient(uri).get_experiment_by_name("decofuse")
