"""One MLflow run a stage, below the run of the whole reproduction.

Tracking never decides whether a stage succeeds: the first failure is reported once and switches it off for the
rest of the stage. It is on where MLFLOW_TRACKING_URI is set, as the workflow does.
"""

import contextlib
import logging
import os
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from decofuse.files import sha256, write_text

EXPERIMENT = "decofuse"
PARENT_RUN = "DECOFUSE_PARENT_RUN"

_LOG = logging.getLogger(__name__)
_BATCH = 200  # metrics a call: one synchronous call costs about 20 ms
_BATCH_S = 5.0


class Tracker:
    """A context in which a stage's parameters, inputs, curves and artifacts are recorded.

    Args:
        name: what a person finds the run by, such as `train cddfuse fusion`.
        params: the stage's slice of the parameters, {dotted key: value}.
        inputs: input files, recorded as datasets with their digests.
        resume: file that keeps the run's id until the stage ends, so that a stage that is started again after a
            kill continues in the same run.
    """

    def __init__(
        self, name: str, params: Mapping[str, Any], inputs: Sequence[Path] = (), resume: Path | None = None
    ) -> None:
        """Nothing is recorded before the context is entered."""
        self._name = name
        self._params = params
        self._inputs = inputs
        self._resume = resume
        self._run_id = ""
        self._waiting: list[tuple[str, float, int, int]] = []
        self._sent_at = time.monotonic()
        self._on = bool(os.environ.get("MLFLOW_TRACKING_URI"))

    def __enter__(self) -> Self:
        """Open the run."""
        self._try(self._open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the run: FINISHED, or FAILED with the error as a tag."""
        self._try(lambda: self._close(error))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record values of one step; they are sent in batches."""
        if self._on:
            now = int(time.time() * 1000)
            self._waiting += [(name, value, now, step) for name, value in values.items()]
            if len(self._waiting) >= _BATCH or time.monotonic() - self._sent_at > _BATCH_S:
                self._try(self._send)

    def artifact(self, path: Path) -> None:
        """Record an output: its SHA-256 as a tag `sha256.<path>`, and a copy if it is small enough to look at."""

        def record() -> None:
            import mlflow  # costs 1.4 s; only stages that track pay it

            mlflow.set_tag(f"sha256.{path.as_posix()}", sha256(path))
            if path.stat().st_size < 10_000_000 and path.suffix in (".png", ".csv", ".json", ".md", ".html", ".yaml"):
                mlflow.log_artifact(str(path))

        self._try(record)

    def _open(self) -> None:
        import mlflow

        _quiet()
        # A run id in the environment would win over the parent given here.
        os.environ.pop("MLFLOW_RUN_ID", None)
        mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
        mlflow.set_experiment(EXPERIMENT)
        mlflow.set_system_metrics_sampling_interval(2)
        self._run_id = _open_run(self._name, self._resume, os.environ.get(PARENT_RUN), system_metrics=True)
        mlflow.set_tags({"stage": self._name, **code_version()})
        mlflow.log_params(flatten(self._params))
        for path in self._inputs:
            self._input(path)

    def _input(self, path: Path) -> None:
        import mlflow
        from mlflow.data.dataset_source_registry import resolve_dataset_source
        from mlflow.data.meta_dataset import MetaDataset

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a local file has two equal interpretations
            source = resolve_dataset_source(path.as_posix())
        mlflow.log_input(MetaDataset(source, name=path.as_posix(), digest=sha256(path)[:36]))

    def _close(self, error: BaseException | None) -> None:
        import mlflow

        self._send()
        if error is not None:
            mlflow.set_tag("error", str(error)[:500] or type(error).__name__)
        mlflow.end_run("FAILED" if error is not None else "FINISHED")
        if self._resume and error is None:
            self._resume.unlink(missing_ok=True)

    def _send(self) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        self._sent_at = time.monotonic()
        waiting, self._waiting = self._waiting, []
        client = MlflowClient()
        for first in range(0, len(waiting), 1000):
            metrics = [Metric(*metric) for metric in waiting[first : first + 1000]]
            client.log_batch(self._run_id, metrics)

    def _try(self, action: Callable[[], object]) -> None:
        if not self._on:
            return
        try:
            action()
        except Exception as error:  # whatever goes wrong with tracking must not stop the stage
            self._on = False
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            _LOG.warning("tracking is switched off for %s: %s", self._name, reason)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def code_version() -> dict[str, str]:
    """Commit of the working directory's repository and whether it was changed since; empty outside of git."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return {"git.commit": git("rev-parse", "HEAD"), "git.changed": str(bool(git("status", "--porcelain")))}
    return {}


def open_reproduction(preset: str, params: Mapping[str, Any], resume: Path) -> str:
    """Create the database where there is none, open the parent run of a reproduction, and return its id.

    One process must do this before parallel jobs start: parallel creation of an SQLite database fails.

    Args:
        preset: names the run.
        params: all parameters of the run.
        resume: file that keeps the id until the reproduction ends; a killed one is continued.
    """
    import mlflow

    _quiet()
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    uri = os.environ["MLFLOW_TRACKING_URI"]
    if uri.startswith("sqlite") and mlflow.get_experiment_by_name(EXPERIMENT) is None:
        mlflow.create_experiment(EXPERIMENT, (Path.cwd() / "mlartifacts").as_uri())
    mlflow.set_experiment(EXPERIMENT)
    run_id = _open_run(f"reproduce {preset}", resume, parent=None)
    mlflow.set_tags({"preset": preset, **code_version()})
    mlflow.log_params(flatten(params))
    mlflow.end_run("RUNNING")
    return run_id


def close_reproduction(resume: Path, metrics: Mapping[str, float], artifacts: Sequence[Path], failed: bool) -> None:
    """Close the parent run with the results of the whole reproduction."""
    import mlflow

    _quiet()
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    mlflow.start_run(run_id=resume.read_text())
    mlflow.log_metrics(dict(metrics))
    for path in artifacts:
        mlflow.log_artifact(str(path))
    mlflow.end_run("FAILED" if failed else "FINISHED")
    resume.unlink()


def _open_run(name: str, resume: Path | None, parent: str | None, system_metrics: bool = False) -> str:
    """Start a run, or continue the unfinished one that `resume` names; it becomes MLflow's active run."""
    import mlflow

    run = None
    if resume and resume.is_file():
        # The database may have been deleted since: then a new run it is.
        with contextlib.suppress(mlflow.MlflowException):
            run = mlflow.start_run(run_id=resume.read_text(), log_system_metrics=system_metrics)
    if run is None:
        run = mlflow.start_run(run_name=name, parent_run_id=parent, log_system_metrics=system_metrics)
    run_id: str = run.info.run_id
    if resume:
        write_text(resume, run_id)
    return run_id


def _quiet() -> None:
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
