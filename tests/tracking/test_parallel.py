"""Several jobs that log to one database at once, and to a real server: nothing is lost, nothing fails."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decofuse.tracking.run import PARENT_RUN
from decofuse.tracking.store import close_reproduction, open_reproduction

mlflow = pytest.importorskip("mlflow")

JOB = Path(__file__).with_name("jobs.py")
JOBS = 4
LONG_S = float(os.environ.get("DECOFUSE_TEST_LOGGING_S", "600"))


def run_jobs(uri, parent, seconds, where):
    """Start the jobs at one moment; steps that each has logged, after checking that none complained."""
    env = os.environ | {"MLFLOW_TRACKING_URI": uri, PARENT_RUN: parent}
    pipe = subprocess.PIPE
    started = {
        name: subprocess.Popen(
            [sys.executable, str(JOB), name, str(seconds)], cwd=where, env=env, stdout=pipe, stderr=pipe, text=True
        )
        for name in (f"job {number}" for number in range(JOBS))
    }
    steps = {}
    for name, process in started.items():
        output, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
        steps[name] = int(output)
    return steps


def check(uri, parent, steps):
    """Every metric of every job is there, and every run is closed."""
    client = mlflow.MlflowClient(uri)
    top = client.get_run(parent)
    runs = client.search_runs([top.info.experiment_id], f"tags.mlflow.parentRunId = '{parent}'")
    assert {run.info.run_name for run in runs} == set(steps)
    for run in runs:
        count = steps[run.info.run_name]
        assert run.info.status == "FINISHED"
        for name, value in (("loss", lambda step: 1 / (step + 1)), ("step", float)):
            found = client.get_metric_history(run.info.run_id, name)
            assert [(one.step, one.value) for one in found] == [(step, value(step)) for step in range(count)]


def log_at_once(tmp_path, monkeypatch, seconds):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    parent = open_reproduction("many", {}, tmp_path / "parent")
    steps = run_jobs(uri, parent, seconds, tmp_path)
    assert min(steps.values()) > seconds
    check(uri, parent, steps)
    print(f"{sum(steps.values())} steps of two metrics from {JOBS} jobs in {seconds:g} s, none lost")


def test_four_jobs_log_to_one_database(tmp_path, monkeypatch):
    log_at_once(tmp_path, monkeypatch, 5)


@pytest.mark.slow
def test_four_jobs_log_to_one_database_for_long(tmp_path, monkeypatch):
    """For ten minutes, or DECOFUSE_TEST_LOGGING_S seconds."""
    log_at_once(tmp_path, monkeypatch, LONG_S)


def test_jobs_that_create_the_database_at_once_all_succeed(tmp_path):
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    steps = run_jobs(uri, "", 1, tmp_path)
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("decofuse").experiment_id])
    assert {run.info.run_name: run.data.metrics["step"] + 1 for run in runs} == steps


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server(folder):
    """A real tracking server on this machine; its address."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    words = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store = ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "files")]
    with (folder / "server.log").open("w") as log:
        command = [sys.executable, "-m", "mlflow", "server", *words, *store]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=without_tracking())
    try:
        deadline = time.monotonic() + 180
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None and time.monotonic() < deadline, (folder / "server.log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def without_tracking():
    return {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}


def test_a_server_is_one_variable_away(tmp_path, monkeypatch):
    """Jobs log to it, and artifacts lie with the server, not with the client."""
    monkeypatch.chdir(tmp_path)
    with server(tmp_path) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        parent = open_reproduction("far", {"seed": 0}, tmp_path / "parent")
        check(address, parent, run_jobs(address, parent, 3, tmp_path))
        (tmp_path / "table.md").write_text("# Table\n")
        close_reproduction(tmp_path / "parent", {"EN": 7.0}, [tmp_path / "table.md"], failed=False)
        run = mlflow.MlflowClient(address).get_run(parent)
        assert (run.info.status, run.data.metrics) == ("FINISHED", {"EN": 7.0})
    assert [path.read_text() for path in (tmp_path / "files").rglob("table.md")] == ["# Table\n"]
    assert not (tmp_path / "mlartifacts").exists()


def test_a_server_that_is_gone_stops_no_stage(tmp_path):
    env = os.environ | {
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    }
    done = subprocess.run(
        [sys.executable, str(JOB), "alone", "1"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, int(done.stdout) > 0) == (0, True)
    assert done.stderr.count("tracking is switched off for alone") == 1
