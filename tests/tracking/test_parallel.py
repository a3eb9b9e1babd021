"""Several jobs that log to one database at once, and to a real server: nothing is lost, nothing fails."""

import os
import pwd
import subprocess
import sys
import tempfile
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
    create_at_once(f"sqlite:///{tmp_path}/new/mlflow.db", tmp_path)


def create_at_once(uri, where):
    """Start jobs where there are no tables yet, and check that none is missing."""
    steps = run_jobs(uri, "", 1, where)
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("decofuse").experiment_id])
    assert {run.info.run_name: run.data.metrics["step"] + 1 for run in runs} == steps


@pytest.fixture
def server(tmp_path, free_port, listening):
    """The address of a real tracking server on this machine."""
    port = free_port()
    words = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", tmp_path / "files"]
    command = [sys.executable, "-m", "mlflow", "server", *words, *map(str, store)]
    with listening(command, port, tmp_path / "server.log", cwd=tmp_path, env=without_tracking()):
        yield f"http://127.0.0.1:{port}"


def without_tracking():
    return {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}


def test_a_server_is_one_variable_away(server, tmp_path, monkeypatch):
    """Jobs log to it, and artifacts lie with the server, not with the client."""
    log_to(server, tmp_path, monkeypatch)
    assert [path.read_text() for path in (tmp_path / "files").rglob("table.md")] == ["# Table\n"]
    assert not (tmp_path / "mlartifacts").exists()


def log_to(uri, tmp_path, monkeypatch):
    """Record a reproduction of several jobs at once, and check that nothing is missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    parent = open_reproduction("far", {"seed": 0}, tmp_path / "parent")
    check(uri, parent, run_jobs(uri, parent, 3, tmp_path))
    (tmp_path / "table.md").write_text("# Table\n")
    close_reproduction(tmp_path / "parent", {"EN": 7.0}, [tmp_path / "table.md"], failed=False)
    run = mlflow.MlflowClient(uri).get_run(parent)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"EN": 7.0})


@pytest.fixture
def postgresql(free_port, listening):
    """The address of a database of a PostgreSQL server of this test's own."""
    pytest.importorskip("psycopg2", reason="no driver of PostgreSQL; pip install 'decofuse[postgres]'")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        pytest.skip("no PostgreSQL server below /usr/lib/postgresql; apt-get install postgresql")
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        options = {"cwd": name}
        if os.getuid() == 0:  # as root, PostgreSQL refuses to start
            nobody = pwd.getpwnam("nobody")
            options |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(name, nobody.pw_uid, nobody.pw_gid)
        command = [folders[-1] / "initdb", "-D", "data", "-U", "decofuse", "-A", "trust", "--no-sync"]
        subprocess.run(command, capture_output=True, check=True, **options)
        command = [folders[-1] / "postgres", "-D", "data", "-k", name, "-h", "127.0.0.1", "-p", str(port)]
        with listening(command, port, Path(name) / "server.log", **options):
            yield f"postgresql://decofuse@127.0.0.1:{port}/postgres"


@pytest.mark.slow
def test_postgresql_is_one_variable_away(postgresql, tmp_path, monkeypatch):
    """Jobs log to it, and artifacts lie in the project."""
    log_to(postgresql, tmp_path, monkeypatch)
    assert [path.read_text() for path in (tmp_path / "mlartifacts").rglob("table.md")] == ["# Table\n"]


@pytest.mark.slow
def test_jobs_that_fill_an_empty_postgresql_at_once_all_succeed(postgresql, tmp_path):
    create_at_once(postgresql, tmp_path)


def test_a_server_that_is_gone_stops_no_stage(tmp_path, free_port):
    env = os.environ | {
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    }
    done = subprocess.run(
        [sys.executable, str(JOB), "alone", "1"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, int(done.stdout) > 0) == (0, True)
    assert done.stderr.count("tracking is switched off for alone") == 1
