"""Subcommands that train."""

import importlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decofuse import stages
from decofuse.cli.app import Settings, app, choose_device, settings_of, tracked
from decofuse.cli.processes import Processes, share_among
from decofuse.errors import UserError
from decofuse.models.registry import METHODS
from decofuse.settings import PhaseSettings

if TYPE_CHECKING:
    from decofuse.training.loop import Row
    from decofuse.training.stage import Job

STATES = Path("checkpoints")
SaveEvery = Annotated[float, typer.Option(help="Seconds between two saves of the resume state.")]
Register = Annotated[
    bool, typer.Option("--register", help="Make the weights a registered model of MLflow.", envvar="DECOFUSE_REGISTER")
]
_LOG = logging.getLogger(__name__)


@app.command()
def train(
    method: Annotated[str, typer.Argument(help="Name of the method.", show_default=False)],
    phase: Annotated[str, typer.Argument(help="Name of its training phase.", show_default=False)],
    data: Annotated[Path, typer.Option(help="HDF5 patches or manifest to train on.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder that gets weights and curves.", show_default=False)],
    start: Annotated[Path | None, typer.Option(help="Folder of the phase before; none for a first phase.")] = None,
    settings: Settings = "",
    save_every: SaveEvery = 30.0,
    register: Register = False,
    processes: Processes = 1,
) -> None:
    """Train one phase of a method. Killed at any moment, the same command goes on where it stood."""
    _check(method, phase)
    values = settings_of(settings, stages.train, method, phase)
    row = run_job(
        f"train {method} {phase}",
        values,
        lambda: make_job(method, phase, values),
        data=[data],
        start=start,
        out=out,
        save_every=save_every,
        register=register,
        processes=processes,
    )
    _LOG.info("%s %s: loss %.4f after %d epochs, in %s", method, phase, row["loss"], row["epoch"], out)


def run_job(
    name: str,
    values: dict[str, Any],
    make: "Callable[[], Job]",
    *,
    data: Sequence[Path],
    start: Path | None,
    out: Path,
    save_every: float,
    register: bool,
    processes: int,
    inputs: Sequence[Path] = (),
) -> "Row":
    """Train a job below a tracker of its own, which gets all that the job publishes; the last epoch's row.

    Args:
        name: what a person finds the run by.
        values: the stage's slice of the parameters.
        make: makes the job.
        data: see `decofuse.training.stage.train`.
        start: see there.
        out: see there.
        save_every: seconds between two saves of the resume state.
        register: see `decofuse.tracking.run.Tracker.model`.
        processes: how many share the work; the first of them is tracked.
        inputs: further files to record as inputs.

    Raises:
        typer.Exit: other processes have done it.
    """
    share_among(processes)
    device = choose_device(values["device"], values["threads"])
    from decofuse.training.checkpoint import BEST, OPTIMIZER, WEIGHTS
    from decofuse.training.stage import train as run_stage

    states = STATES / out
    read = [*data, *([start / WEIGHTS] if start else []), *inputs]
    with tracked(name, values, read, states / "run") as run:
        job = make()
        row = run_stage(
            job,
            data=data,
            start=start,
            out=out,
            states=states,
            device=device,
            log=run.log,
            save_every_s=save_every,
        )
        kept = [*([BEST] if job.extras.best else []), *([OPTIMIZER] if job.extras.moments else [])]
        for file in (*job.extras.files, *kept, "history.csv", "metrics.json"):
            run.artifact(out / file)
        run.model(out / (BEST if job.extras.best else WEIGHTS), register)
    return row


def _check(method: str, phase: str) -> None:
    trained = [name for name, entry in METHODS.items() if entry.phases]
    if method not in trained:
        raise UserError(f"train: expected a method with training ({', '.join(trained)}), found {method!r}")
    if phase not in METHODS[method].phases:
        raise UserError(f"train: expected a phase of {method} ({', '.join(METHODS[method].phases)}), found {phase!r}")


def make_job(method: str, phase: str, values: dict[str, Any]) -> "Job":
    """The training job that a stage's slice of the parameters describes."""
    from decofuse.training.stage import Job

    entry = METHODS[method]
    section: type[PhaseSettings] = entry.settings.model_fields[phase].annotation  # type: ignore[assignment]
    settings = section.model_validate_json(json.dumps(values[f"methods.{method}.{phase}"]))
    own = set(section.model_fields) - set(PhaseSettings.model_fields) - {"weights"}
    return Job(
        method=method,
        phase=phase,
        build=entry.build,
        network=values[f"methods.{method}.network"],
        declaration=importlib.import_module(entry.module).PHASES[phase],
        options={name: getattr(settings, name) for name in own},
        weights=settings.weights.model_dump(),  # type: ignore[attr-defined]
        settings=settings,
        samples=getattr(importlib.import_module(entry.phases[phase].module), entry.phases[phase].name),
        seed=values["seed"],
        code=values[f"code.train.{method}.{phase}"],
    )
