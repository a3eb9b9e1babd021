"""The training stage: from samples (and the weights of the phase before) to published weights."""

import contextlib
import csv
import functools
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from decofuse.errors import UserError
from decofuse.files import sha256, write_json, write_text
from decofuse.models.method import Phase
from decofuse.seeding import seed_for
from decofuse.settings import PhaseSettings
from decofuse.training.checkpoint import (
    OPTIMIZER,
    WEIGHTS,
    Provenance,
    ResumeState,
    fill_network,
    load_weights,
    save_weights,
)
from decofuse.training.execution import prepare
from decofuse.training.loop import Row, Samples, Task, run
from decofuse.training.optimiser import PartOptimizer


@dataclass(frozen=True)
class Job:
    """One phase of one method.

    Attributes:
        method: name of the method.
        phase: name of the phase.
        build: network class or builder; called with `network` as keyword arguments.
        network: size of the network.
        declaration: which parts train, which losses, which phase comes before.
        options: further keyword arguments of the declaration's `terms`.
        weights: weight of each loss term.
        settings: epochs, batch size, optimiser, schedule.
        samples: makes the training samples, see `decofuse.training.loop.Samples`.
        seed: seed of the run.
        code: digest of the code that runs; a resume state of other code is not used.
    """

    method: str
    phase: str
    build: Callable[..., nn.Module]
    network: dict[str, Any]
    declaration: Phase
    options: Mapping[str, Any]
    weights: Mapping[str, float]
    settings: PhaseSettings
    samples: Callable[..., Samples]
    seed: int
    code: str


def train(
    job: Job,
    *,
    data: Path,
    start: Path | None,
    out: Path,
    states: Path,
    device: torch.device,
    log: Callable[[int, Row], None],
    save_every_s: float = 30.0,
) -> Row:
    """Train one phase and publish weights, optimiser state, curves and a summary in `out`.

    Args:
        job: what to train.
        data: what the samples are read from: HDF5 patches or a manifest.
        start: folder published by the phase before; None for a first phase.
        out: folder that gets weights.safetensors, optimizer.safetensors, history.csv and metrics.json.
        states: folder of resume states of this output; one is named after a digest of all that decides the result.
        device: where to compute.
        log: see `decofuse.training.loop.run`.
        save_every_s: seconds between two saves of the resume state.

    Returns:
        The last epoch's row.

    Raises:
        UserError: the data or the weights do not fit, or the training diverged.
    """
    resume = ResumeState(states / _digest(job, data, start))
    declared, settings = job.declaration, job.settings
    with resume.lock(), _samples(job, data, "train") as training, _samples(job, data, "val") as val:
        network = _network(job).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        epochs = _start(job, network, start) if start else {}
        for name, part in network.named_children():
            part.requires_grad_(name in declared.trains)
        prepare(network, settings, device)
        optimizer = PartOptimizer(network, declared.trains, settings.optimizer, declared.joint)
        if start and declared.carries:
            optimizer.load_tensors(load_weights(start / OPTIMIZER, job.method, declared.previous)[0])
        task = Task(
            network=network,
            terms=functools.partial(declared.terms, **job.options),
            weights=job.weights,
            settings=settings,
            train=training,
            val=val,
            place=(job.seed, job.method, job.phase),
            epochs_before=epochs if declared.carries else {},
            smallest_batch=declared.smallest_batch,
        )
        rows = run(task, optimizer, resume, log, save_every_s)
        trained = {part: epochs.get(part, 0) + settings.epochs for part in declared.trains}
        _publish(job, network=network, optimizer=optimizer, epochs=epochs | trained, rows=rows, out=out)
    resume.remove()
    return rows[-1]


def _samples(job: Job, data: Path, split: str) -> "contextlib.closing[Samples]":
    """The samples of a split; those of the validation are the same each time."""
    seed = seed_for(job.seed, job.method, job.phase, split)
    return contextlib.closing(job.samples(data, split, job.settings.data, seed, split == "val"))


def _network(job: Job) -> nn.Module:
    """A fresh network whose weights depend on (seed, method) alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(job.seed, job.method, "initial weights"))
        return job.build(**job.network)


def _start(job: Job, network: nn.Module, start: Path) -> dict[str, int]:
    tensors, before = load_weights(start / WEIGHTS, job.method, job.declaration.previous)
    fill_network(network, tensors, start / WEIGHTS)
    return before.epochs


def _digest(job: Job, data: Path, start: Path | None) -> str:
    inputs = [data, *([start / WEIGHTS, start / OPTIMIZER] if start else [])]
    if missing := next((path for path in inputs if not path.is_file()), None):
        raise UserError(f"{missing}: expected a file to train from, found none; run the stage before this one")
    everything = {
        "network": job.network,
        "options": dict(job.options),
        "weights": dict(job.weights),
        "settings": job.settings.model_dump(),
        "seed": job.seed,
        "code": job.code,
        "threads": torch.get_num_threads(),
        "inputs": [sha256(path) for path in inputs],
    }
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:16]


def _publish(
    job: Job, *, network: nn.Module, optimizer: PartOptimizer, epochs: dict[str, int], rows: list[Row], out: Path
) -> None:
    provenance = Provenance(job.method, job.phase, job.network, epochs)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[-1]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "history.csv", table.getvalue())
    write_json(out / "metrics.json", {name: value for name, value in rows[-1].items() if not name.startswith("lr.")})
    save_weights(out / OPTIMIZER, optimizer.tensors(), provenance)
    save_weights(out / WEIGHTS, network.state_dict(), provenance)
