"""The process that records one stage in MLflow. It reads messages of `decofuse.tracking.run.Tracker`, a line each.

It ends when its input ends: with the stage, however that ended. It takes all messages at once and works them off, so
that a slow server or a locked database never holds up the stage.
"""

import contextlib
import fcntl
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from decofuse.files import sha256
from decofuse.tracking.run import PARENT_RUN

Message = list[Any]
Messages = queue.SimpleQueue[Message]

SHOWN = (".png", ".csv", ".json", ".md", ".html", ".yaml")  # what MLflow's page shows, or people read
LARGEST = 10_000_000
_LOG = logging.getLogger("decofuse.tracking")
_BATCH = 1000  # metrics a call, the most that MLflow takes; a call costs about 20 ms
_BATCH_S = 2.0


class Recorder:
    """One open MLflow run."""

    def __init__(self, name: str, params: dict[str, Any], inputs: list[str], resume: str | None) -> None:
        """Open the run; see `decofuse.tracking.run.Tracker`."""
        import mlflow

        from decofuse.tracking import store

        self._retried = store.retried
        self._resume = Path(resume) if resume else None
        self.name = name
        store.connect()
        self._client = mlflow.MlflowClient()
        mlflow.set_system_metrics_sampling_interval(2)
        digests = {path: sha256(Path(path)) for path in inputs}
        self._run_id = store.open_run(
            name,
            params,
            self._resume,
            parent=os.environ.get(PARENT_RUN),
            digests=list(digests.values()),
            system_metrics=True,
        )
        for path, digest in digests.items():
            self._input(path, digest)

    def metrics(self, values: list[tuple[str, float, int, int]]) -> None:
        """Record (name, value, milliseconds since 1970, step)."""
        from mlflow.entities import Metric

        for first in range(0, len(values), _BATCH):
            metrics = [Metric(*value) for value in values[first : first + _BATCH]]
            self._retried(self._client.log_batch, self._run_id, metrics)

    def artifact(self, name: str) -> None:
        """Record an output file."""
        path = Path(name)
        self._retried(self._client.set_tag, self._run_id, f"sha256.{name}", sha256(path))
        if path.stat().st_size < LARGEST and path.suffix in SHOWN:
            self._retried(self._client.log_artifact, self._run_id, name)

    def confusion(self, scores: str) -> None:
        """Record the confusion matrices of segmentation scores as a picture."""
        from decofuse.tracking.confusion import draw_confusion

        value = json.loads(Path(scores).read_text())
        matrices = [training["confusion"] for training in value["trainings"].values()]
        title = f"{value['input']} on {value['dataset']}"
        figure = draw_confusion(title, value["classes"], matrices)
        self._retried(self._client.log_figure, self._run_id, figure, "confusion.png")

    def model(self, weights: str, register: bool) -> None:
        """Record a safetensors file as a model."""
        from mlflow.entities import LoggedModelOutput

        from decofuse.tracking.code import code_version
        from decofuse.tracking.verify import checksum

        tags = {"dvc.path": weights, "dvc.md5": checksum(Path(weights)), "format": "safetensors", **code_version()}
        name = self.name.removeprefix("train ").replace(" ", "-")
        experiment = self._retried(self._client.get_run, self._run_id).info.experiment_id
        model = self._retried(
            lambda: self._client.create_logged_model(experiment, name, self._run_id, tags, model_type="safetensors")
        )
        self._retried(self._client.log_model_artifact, model.model_id, weights)
        self._retried(self._client.finalize_logged_model, model.model_id, "READY")
        self._retried(self._client.log_outputs, self._run_id, [LoggedModelOutput(model.model_id, step=0)])
        if register:
            self._register(name, model.model_id, tags)

    def close(self, status: str, error: str | None = None) -> None:
        """End the run; one that did not succeed may be continued."""
        import mlflow

        if error is not None:
            self._retried(mlflow.set_tag, "error", error)
        self._retried(mlflow.end_run, status)
        if self._resume and status == "FINISHED":
            self._resume.unlink(missing_ok=True)

    def _input(self, path: str, digest: str) -> None:
        import mlflow
        from mlflow.data.dataset_source_registry import resolve_dataset_source
        from mlflow.data.meta_dataset import MetaDataset

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a local file has two equal interpretations
            source = resolve_dataset_source(path)
        self._retried(mlflow.log_input, MetaDataset(source, name=path, digest=digest[:36]))

    def _register(self, name: str, model_id: str, tags: dict[str, str]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._retried(self._client.create_registered_model, name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        self._retried(
            lambda: self._client.create_model_version(
                name, f"models:/{model_id}", self._run_id, tags, model_id=model_id
            )
        )


def record(messages: Messages) -> None:
    """Work off the messages of one stage, whose first one opens the run."""
    _, opening = messages.get()
    recorder = None
    try:
        with _alone(opening["resume"]):
            recorder = Recorder(**opening)
            while _work(recorder, *_collect(messages)):
                pass
    except Exception as error:  # whatever goes wrong with tracking must not stop the stage
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        _LOG.warning("tracking is switched off for %s: %s", opening["name"], reason)
        with contextlib.suppress(Exception):  # at its exit MLflow would call the run finished
            if recorder is not None:
                recorder.close("FAILED", f"tracking was switched off: {reason}")
        sys.exit(1)


def _work(recorder: Recorder, metrics: list[tuple[str, float, int, int]], other: Message | None) -> bool:
    """Record metrics and what came after them; whether there is more to come."""
    recorder.metrics(metrics)
    match other:
        case None:
            return True
        case ["close", error]:
            recorder.close("FINISHED" if error is None else "FAILED", error)
        case ["end"]:  # the stage was killed before it could say anything
            recorder.close("KILLED")
        case [kind, *arguments]:
            getattr(recorder, kind)(*arguments)
            return True
    return False


def _collect(messages: Messages) -> tuple[list[tuple[str, float, int, int]], Message | None]:
    """Metrics until there are many or they have waited, and the other message that came, if one did."""
    metrics: list[tuple[str, float, int, int]] = []
    until = time.monotonic() + _BATCH_S
    while len(metrics) < _BATCH:
        try:
            message = messages.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        if message[0] != "metrics":
            return metrics, message
        _, step, now, values = message
        metrics += [(name, value, now, step) for name, value in values.items()]
    return metrics, None


@contextlib.contextmanager
def _alone(resume: str | None) -> Iterator[None]:
    """Wait for the recorder of the same stage that was killed a moment ago: both mean the same run."""
    if resume is None:
        yield
        return
    Path(resume).parent.mkdir(parents=True, exist_ok=True)
    with Path(resume).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def messages_of(stream: Iterable[bytes]) -> Messages:
    """What arrives on a stream, as it arrives; a last message `end` says that nothing more will."""
    messages: Messages = queue.SimpleQueue()

    def read() -> None:
        with contextlib.suppress(json.JSONDecodeError):  # the stage was killed in the middle of a line
            for line in stream:
                messages.put(json.loads(line))
        messages.put(["end"])

    threading.Thread(target=read, daemon=True).start()
    return messages


def warn_to(stream: TextIO) -> None:
    """Write warnings to a stream, each as a stage writes its own."""
    logging.basicConfig(format="decofuse: %(levelname)s: %(message)s", stream=stream, force=True)
    logging.addLevelName(logging.WARNING, "warning")


def outlive_signals() -> None:
    """Leave Ctrl-C and a request to end to the process that this one records for."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def main() -> None:
    """Record the stage that writes to this process's standard input."""
    outlive_signals()  # meant for the stage, which closes the run
    warn_to(sys.stderr)
    record(messages_of(sys.stdin.buffer))


if __name__ == "__main__":
    main()
