"""The training stage: from samples (and the weights of the phase before) to published weights."""

import contextlib
import csv
import functools
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from decofuse.errors import UserError
from decofuse.files import sha256, write_json, write_text
from decofuse.models.method import Phase
from decofuse.seeding import seed_for
from decofuse.settings import PhaseSettings
from decofuse.training.checkpoint import (
    BEST,
    OPTIMIZER,
    WEIGHTS,
    Provenance,
    ResumeState,
    fill_network,
    load_weights,
    save_weights,
)
from decofuse.training.execution import prepare
from decofuse.training.loop import Best, Row, Samples, Task, run
from decofuse.training.optimiser import PartOptimizer
from decofuse.training.parallel import joined


@dataclass(frozen=True)
class Extras:
    """What a phase does beside optimising its parts.

    Attributes:
        reads: further files that decide the result, such as the weights of a teacher.
        decides: what else decides the result.
        ready: called with the network, the training and the validation samples once, before the training.
        before_epoch: see `decofuse.training.loop.Task`, with the network as first argument.
        measure: see `decofuse.training.loop.Task`, with the network as argument.
        measure_every: see `decofuse.training.loop.Task`.
        best: see `decofuse.training.loop.Task`.
        files: published files, each with the part of the network that it holds ("" is the whole network); the weights
            of the phase before go into that of weights.safetensors.
        moments: whether the optimiser's state is published, for a phase that carries on with it.
    """

    reads: Sequence[Path] = ()
    decides: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    ready: Callable[[Any, Any, Any], None] = lambda _network, _training, _val: None
    before_epoch: Callable[[Any, int], Row] = lambda _network, _epoch: {}
    measure: Callable[[Any], Row] = lambda _network: {}
    measure_every: int = 1
    best: str = ""
    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({WEIGHTS: ""}))
    moments: bool = True


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
        extras: what else the phase does.
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
    extras: Extras = Extras()


def train(
    job: Job,
    *,
    data: Sequence[Path],
    start: Path | None,
    out: Path,
    states: Path,
    device: torch.device,
    log: Callable[[int, Row], None],
    save_every_s: float = 30.0,
) -> Row:
    """Train one phase and publish weights, optimiser state, curves and a summary in `out`.

    Several processes may do so together, each called alike, see `decofuse.training.parallel`; the first one publishes.

    Args:
        job: what to train.
        data: what the samples are read from: HDF5 patches, or a manifest and perhaps an index of fused images.
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
    declared, settings = job.declaration, job.settings
    with joined(device) as group, contextlib.ExitStack() as held:
        with group.first_alone():
            resume = ResumeState(states / _digest(job, data, start))
            if group.rank == 0:
                held.enter_context(resume.lock())
            training, val = (held.enter_context(_samples(job, data, split)) for split in ("train", "val"))
            network, epochs = _begin(job, training, val, start, device)
            optimizer = PartOptimizer(network, declared.trains, settings.optimizer, declared.joint, declared.custom)
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
            before_epoch=functools.partial(job.extras.before_epoch, network),
            measure=functools.partial(job.extras.measure, network),
            measure_every=job.extras.measure_every,
            best=job.extras.best,
            group=group,
        )
        rows, best = run(task, optimizer, resume, log, save_every_s)
        group.wait()  # a process may still be reading the state that is removed below
        if group.rank == 0:
            trained = {part: epochs.get(part, 0) + settings.epochs for part in declared.trains}
            provenance = Provenance(job.method, job.phase, job.network, epochs | trained)
            if job.extras.moments:
                save_weights(out / OPTIMIZER, optimizer.tensors(), provenance)
            _publish(job, network=network, best=best, provenance=provenance, rows=rows, out=out)
            resume.remove()
    return rows[-1]


def _begin(
    job: Job, training: Samples, val: Samples, start: Path | None, device: torch.device
) -> tuple[nn.Module, dict[str, int]]:
    """The network as the training finds it, on its device, and the epochs that its parts were trained before."""
    network = _network(job)
    epochs = _start(job, network, start) if start else {}
    job.extras.ready(network, training, val)
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, part in network.named_children():
        part.requires_grad_(name in job.declaration.trains)
    fusing = network.get_submodule(job.extras.files[WEIGHTS])
    others = [part for part in network.children() if part is not fusing]
    prepare([*fusing.children(), *(others if fusing is not network else [])], job.settings, device)
    return network, epochs


def _samples(job: Job, data: Sequence[Path], split: str) -> "contextlib.closing[Samples]":
    """The samples of a split; those of the validation are the same each time."""
    seed = seed_for(job.seed, job.method, job.phase, split)
    samples = job.samples(*data, split=split, settings=job.settings.data, seed=seed, fixed=split == "val")
    return contextlib.closing(samples)


def _network(job: Job) -> nn.Module:
    """A fresh network whose weights depend on (seed, method) alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(job.seed, job.method, "initial weights"))
        try:
            return job.build(**job.network)
        except ValueError as error:  # what a setting allows, a library or the other settings may not
            raise UserError(f"the network of {job.method}: {error}") from error


def _start(job: Job, network: nn.Module, start: Path) -> dict[str, int]:
    tensors, before = load_weights(start / WEIGHTS, job.method, job.declaration.previous)
    fill_network(network.get_submodule(job.extras.files[WEIGHTS]), tensors, start / WEIGHTS)
    return before.epochs


def _digest(job: Job, data: Sequence[Path], start: Path | None) -> str:
    carried = [OPTIMIZER] if job.declaration.carries else []
    inputs = [*data, *job.extras.reads, *(start / name for name in [WEIGHTS, *carried] if start)]
    if missing := next((path for path in inputs if not path.is_file()), None):
        raise UserError(f"{missing}: expected a file to train from, found none; run the stage before this one")
    everything = {
        "network": job.network,
        "options": dict(job.options),
        "weights": dict(job.weights),
        "settings": job.settings.model_dump(),
        "seed": job.seed,
        "code": job.code,
        "decides": dict(job.extras.decides),
        "threads": torch.get_num_threads(),
        "inputs": [sha256(path) for path in inputs],
    }
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:16]


def _publish(
    job: Job, *, network: nn.Module, best: Best | None, provenance: Provenance, rows: list[Row], out: Path
) -> None:
    """Curves and a summary, then the best weights and last the weights."""
    table = io.StringIO()
    writer = csv.DictWriter(table, [*dict.fromkeys(name for row in rows for name in row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "history.csv", table.getvalue())
    summary = {name: value for name, value in rows[-1].items() if not name.startswith("lr.")}
    write_json(out / "metrics.json", summary | ({"best.epoch": best.epoch, "best.score": best.score} if best else {}))
    states = {name: network.get_submodule(part).state_dict() for name, part in job.extras.files.items()}
    if job.extras.best:
        # Without validation samples there is no score, and the last weights are the best known.
        save_weights(out / BEST, best.network if best else states[WEIGHTS], provenance)
    for name in sorted(states, key=lambda name: name == WEIGHTS):
        save_weights(out / name, states[name], provenance)
