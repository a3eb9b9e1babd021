"""One MLflow run a stage, below the run of the whole reproduction.

MLflow lives in a process of its own, `decofuse.tracking.recorder`: importing it and talking to a database or server
take seconds that no stage waits for. In the workflow one such process serves all stages (`decofuse.tracking.server`),
else each has its own. Tracking never decides whether a stage succeeds: what fails is reported once and
switches it off for the rest of the stage. It is on where MLFLOW_TRACKING_URI is set, as the workflow does.
"""

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from decofuse.tracking.channel import Channel, open_channel

PARENT_RUN = "DECOFUSE_PARENT_RUN"

_LOG = logging.getLogger(__name__)
_PATIENCE_S = 600.0  # for the recorder to finish: on a crowded machine MLflow's import alone may take a minute


class Tracker:
    """A context in which a stage's parameters, inputs, curves and artifacts are recorded.

    Args:
        name: what a person finds the run by, such as `train cddfuse fusion`.
        params: the stage's slice of the parameters, {dotted key: value}.
        inputs: input files, recorded as datasets with their digests.
        resume: file that keeps the run's id until the stage ends, so that a stage that is started again after a
            kill, with the same parameters and inputs, continues in the same run.
    """

    def __init__(
        self, name: str, params: Mapping[str, Any], inputs: Sequence[Path] = (), resume: Path | None = None
    ) -> None:
        """Nothing is recorded before the context is entered."""
        self._name = name
        self._opening = {
            "name": name,
            "params": flatten(params),
            "inputs": [path.as_posix() for path in inputs],
            "resume": str(resume) if resume else None,
        }
        self._recorder: Channel | None = None

    def __enter__(self) -> Self:
        """Start the recorder, which opens the run; the stage does not wait for it.

        Of several processes that train together, the first one is recorded.
        """
        if os.environ.get("MLFLOW_TRACKING_URI") and os.environ.get("RANK", "0") == "0":
            self._recorder = open_channel()
            self._send("open", self._opening)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the run: FINISHED, or FAILED with the error as a tag."""
        self._send("close", None if error is None else str(error)[:500] or type(error).__name__)
        if self._recorder is not None and not self._recorder.finish(_PATIENCE_S):
            _LOG.warning("tracking of %s is incomplete: it did not end within %g s", self._name, _PATIENCE_S)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record values of one step."""
        self._send("metrics", step, int(time.time() * 1000), dict(values))

    def artifact(self, path: Path) -> None:
        """Record an output: its SHA-256 as a tag `sha256.<path>`, and a copy if it is small enough to look at."""
        self._send("artifact", path.as_posix())

    def confusion(self, scores: Path) -> None:
        """Record the confusion matrices of a file of segmentation scores as a picture."""
        self._send("confusion", scores.as_posix())

    def model(self, weights: Path, register: bool) -> None:
        """Record trained weights as a model that is named after the run.

        Args:
            weights: a safetensors file; DVC's digest of it (MD5) and the code version become tags.
            register: make it the next version of the registered model of the same name.
        """
        self._send("model", weights.as_posix(), register)

    def _send(self, *message: object) -> None:
        if self._recorder is None:
            return
        try:
            self._recorder.send(json.dumps(message).encode() + b"\n")
        except OSError:  # the recorder gave up
            self._recorder.finish(_PATIENCE_S)
            self._recorder = None


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
