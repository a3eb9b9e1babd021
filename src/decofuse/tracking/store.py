"""What both the recorder of a stage and the run of a whole reproduction ask of MLflow.

Importing this module takes more than a second, because it imports MLflow.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

# Before MLflow is imported: it would report its use to its makers.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")  # a minute, not four, until a server counts as gone

import mlflow
import tenacity
from mlflow.exceptions import MlflowException
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from decofuse.tracking.code import code_version
from decofuse.tracking.run import flatten

EXPERIMENT = "decofuse"

_T = TypeVar("_T")
_SQLITE = "sqlite:///"
_LOCK = 0xDEC0F05E  # any number that other users of the database do not lock


def connect() -> None:
    """Choose the tracking server and the experiment; a database is created where there is none."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters arrives as an exception
    os.environ.pop("MLFLOW_RUN_ID", None)  # it would win over every run that is named here
    uri = os.environ["MLFLOW_TRACKING_URI"]
    mlflow.set_tracking_uri(uri)
    with _turn(uri):
        retried(_choose_experiment, uri)


def retried(action: Callable[..., _T], *arguments: Any) -> _T:
    """Call, again and again for a minute if it fails for what may pass: a locked database, a busy server."""
    patiently = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_may_pass),
        wait=tenacity.wait_random_exponential(0.05, 5),
        stop=tenacity.stop_after_delay(60),
        reraise=True,
    )
    return patiently(action, *arguments)


def open_run(
    name: str,
    params: Mapping[str, Any],
    resume: Path | None,
    *,
    parent: str | None = None,
    digests: Sequence[str] = (),
    system_metrics: bool = False,
) -> str:
    """Start a run, or continue the unfinished one of the same parameters and inputs; it becomes MLflow's active run.

    Args:
        name: what a person finds the run by.
        params: {dotted key: value}.
        resume: file that names the unfinished run.
        parent: id of the run above.
        digests: of the inputs.
        system_metrics: whether load, memory, disk and network are recorded.

    Returns:
        The run's id.
    """
    given = hashlib.sha256(json.dumps([dict(params), list(digests)], sort_keys=True).encode()).hexdigest()
    run = None
    if resume and resume.is_file() and (words := resume.read_text().split()):
        try:
            if words[1:] == [given]:
                run = retried(lambda: mlflow.start_run(run_id=words[0], log_system_metrics=system_metrics))
            else:
                retried(mlflow.MlflowClient().set_terminated, words[0], "KILLED")
        except MlflowException as error:
            if _may_pass(error):
                raise
            # Otherwise the run, or the whole database, was deleted since: a new run it is.
    if run is None:
        run = retried(lambda: mlflow.start_run(run_name=name, log_system_metrics=system_metrics))
    run_id: str = run.info.run_id
    if resume:
        resume.parent.mkdir(parents=True, exist_ok=True)
        resume.write_text(f"{run_id} {given}")  # in place: the recorder holds a lock on this file
    if parent:
        retried(mlflow.set_tag, "mlflow.parentRunId", parent)
    if "error" in run.data.tags:
        retried(mlflow.delete_tag, "error")
    retried(mlflow.set_tags, {"stage": name, **code_version()})
    retried(mlflow.log_params, dict(params))
    return run_id


def open_reproduction(preset: str, params: Mapping[str, Any], resume: Path) -> str:
    """Create the database where there is none, open the parent run of a reproduction, and return its id.

    Args:
        preset: names the run.
        params: all parameters of the run.
        resume: file that keeps the id until the reproduction ends; a killed one is continued.
    """
    connect()
    run_id = open_run(f"reproduce {preset}", flatten(params), resume)
    retried(mlflow.set_tag, "preset", preset)
    retried(mlflow.end_run, "RUNNING")
    return run_id


def close_reproduction(resume: Path, metrics: Mapping[str, float], artifacts: Sequence[Path], failed: bool) -> None:
    """Close the parent run with the results of the whole reproduction."""
    connect()
    retried(lambda: mlflow.start_run(run_id=resume.read_text().split()[0]))
    retried(mlflow.log_metrics, dict(metrics))
    for path in artifacts:
        retried(mlflow.log_artifact, str(path))
    retried(mlflow.end_run, "FAILED" if failed else "FINISHED")
    resume.unlink()


@contextlib.contextmanager
def _turn(uri: str) -> Iterator[None]:
    """Processes that open a database take turns: most of several that create its tables at once would fail."""
    if uri.startswith(_SQLITE):
        path = Path(f"{uri.removeprefix(_SQLITE).partition('?')[0]}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    elif uri.startswith("postgresql"):
        with retried(create_engine(uri, poolclass=NullPool).connect) as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})  # held until it is closed
            yield
    else:
        yield


def _choose_experiment(uri: str) -> None:
    # A server knows where its artifacts go; for a database they go beside it.
    if not uri.startswith("http") and mlflow.get_experiment_by_name(EXPERIMENT) is None:
        mlflow.create_experiment(EXPERIMENT, (Path.cwd() / "mlartifacts").as_uri())
    mlflow.set_experiment(EXPERIMENT)


def _may_pass(error: BaseException) -> bool:
    # BAD_REQUEST: two runs recorded the same dataset at the same moment. OperationalError: a locked database, where
    # MLflow does not make an error of its own of it.
    passing = ("TEMPORARILY_UNAVAILABLE", "BAD_REQUEST", "REQUEST_LIMIT_EXCEEDED")
    return isinstance(error, OperationalError) or (isinstance(error, MlflowException) and error.error_code in passing)
