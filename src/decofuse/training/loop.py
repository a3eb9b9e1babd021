"""The training loop: one for every method and phase. It knows no method, no file format and no tracker."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from decofuse.errors import UserError
from decofuse.seeding import epoch_order, seed_for
from decofuse.settings import PhaseSettings
from decofuse.training.checkpoint import ResumeState
from decofuse.training.optimiser import PartOptimizer, learning_rate
from decofuse.training.parallel import ALONE, Group

_LOG = logging.getLogger(__name__)

Terms = Callable[[nn.Module, Mapping[str, Tensor]], dict[str, Tensor]]
Row = dict[str, float]


class Samples(Protocol):
    """Training samples with random access; made as (path or paths, split=, settings=, seed=, fixed=)."""

    def __len__(self) -> int:
        """Samples of an epoch."""
        ...

    def batch(self, indices: NDArray[np.int64], step: int, first: int = 0) -> Mapping[str, NDArray[Any]]:
        """Samples by index, each key N × …; what is random in them depends on the seed, `step` and the position.

        The position counts from `first`, for a part of a batch. For fixed samples (validation) what is random depends
        on the seed and the index instead.
        """
        ...

    def close(self) -> None:
        """Free what is held open."""
        ...


@dataclass(frozen=True)
class Task:
    """What is to be trained.

    Attributes:
        network: all parts, on its device, the untrained ones frozen.
        terms: loss terms of a batch, unweighted.
        weights: weight of each term; the loss is their weighted sum.
        settings: epochs, batch size, optimiser, schedule.
        train: samples trained on.
        val: samples validated on after each epoch; may be empty.
        place: what the order of samples and the random choices of a step depend on besides it: (seed, method, phase).
        epochs_before: for each part, epochs of earlier phases that its learning-rate schedule counts.
        smallest_batch: a smaller last batch of an epoch is left out.
        before_epoch: called with the number of an epoch before its first step; what it does to the network depends on
            that number alone, and what it returns becomes part of the epoch's row.
        measure: scores of the network in evaluation mode, after each epoch, by name; they become part of its row.
        measure_every: epochs from one measuring to the next; the last epoch is always measured.
        best: the score of which the largest is best; empty to keep no best weights.
        group: the processes that train together.
    """

    network: nn.Module
    terms: Terms
    weights: Mapping[str, float]
    settings: PhaseSettings
    train: Samples
    val: Samples
    place: tuple[int | str, ...]
    epochs_before: Mapping[str, int]
    smallest_batch: int = 1
    before_epoch: Callable[[int], Row] = lambda _epoch: {}
    measure: Callable[[], Row] = dict
    measure_every: int = 1
    best: str = ""
    group: Group = ALONE


@dataclass
class Best:
    """The highest score so far, and the state of the network that had it."""

    score: float
    epoch: int
    network: dict[str, Tensor]


def run(
    task: Task,
    optimizer: PartOptimizer,
    resume: ResumeState,
    log: Callable[[int, Row], None],
    save_every_s: float = 30.0,
) -> tuple[list[Row], Best | None]:
    """Train to the end from wherever `resume` stands: one row of means an epoch, and the best state if one is kept.

    The weights and the rows do not depend on whether, when and how often the training was interrupted.

    Args:
        task: what is to be trained; `task.network` holds the result.
        optimizer: optimiser of the trained parts, moments of earlier phases loaded.
        resume: where the unfinished state is kept; the caller holds its lock.
        log: called with (step, values) after each step: loss terms, learning rates, gradient norms, samples a second.
        save_every_s: seconds between two saves of the state.

    Raises:
        UserError: the loss or a gradient is not finite; the last good state is kept.
    """
    if not _steps(task):
        raise UserError(
            f"training {'.'.join(map(str, task.place[1:]))}: expected at least {task.smallest_batch} samples a step, "
            f"found {len(task.train)} in all and batches of {task.settings.batch_size}; use more data or larger batches"
        )
    with task.group.first_alone():
        position = _Position.restore(task, optimizer, resume)
    task.network.train()
    save = _Saving(resume, save_every_s if task.group.rank == 0 else math.inf)
    quiet = None if task.group.rank == 0 else True  # None: where there is no terminal
    bar = tqdm(total=task.settings.epochs * _steps(task), initial=position.step, disable=quiet, dynamic_ncols=True)
    bar.set_description(f"{task.place[-1]}")
    with bar:
        while position.epoch < task.settings.epochs:
            if position.step == position.epoch * _steps(task):
                position.extra = task.before_epoch(position.epoch)
            for batch in _batches(task, position):
                started = time.perf_counter()
                rates = _rates(task, optimizer, position.epoch, position.step)
                optimizer.set_rates(rates)
                values = _step(task, optimizer, batch, position.step, resume)
                position.add(values)
                speed = batch.size / (time.perf_counter() - started)
                log(position.step, {**values, **{f"lr.{k}": v for k, v in rates.items()}, "samples_per_s": speed})
                bar.update()
                bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)
                save.if_due(position, task, optimizer)
            rates = _rates(task, optimizer, position.epoch, position.step - 1)
            row = position.finish_epoch(rates, {**validate(task, position.step), **_measured(task, position.epoch)})
            position.keep_best(task)
            log(position.step, {key: value for key, value in row.items() if key.startswith("val.")})
            save.if_due(position, task, optimizer)
            if bar.disable and task.group.rank == 0:
                _report(task, position)
    return position.rows, position.best


def _measured(task: Task, epoch: int) -> Row:
    if (epoch + 1) % task.measure_every and epoch + 1 != task.settings.epochs:
        return {}
    task.network.eval()
    with torch.no_grad():
        scores = task.measure()
    task.network.train()
    return scores


def validate(task: Task, step: int) -> Row:
    """Mean loss terms over the validation samples, in evaluation mode, as `val.<term>`; empty without any.

    Args:
        task: what is trained.
        step: steps trained so far; it decides no random choice, only losses that change with time.
    """
    totals: Row = {}
    task.network.eval()
    with torch.no_grad():
        for first in range(0, len(task.val), task.settings.batch_size):
            indices = np.arange(first, min(first + task.settings.batch_size, len(task.val)))
            batch = _to_device(task.val.batch(indices, step), task.network)
            _seed(*task.place, "validation", first)
            for name, value in _loss(task, batch).items():
                totals[name] = totals.get(name, 0.0) + value.item() * len(indices)
    task.network.train()
    return {f"val.{name}": value / len(task.val) for name, value in totals.items()}


def _report(task: Task, position: "_Position") -> None:
    """A line an epoch where there is no terminal for a bar."""
    row = position.rows[-1]
    validation = f", validation {row['val.loss']:.4f}" if "val.loss" in row else ""
    _LOG.info(
        "%s: epoch %d of %d, loss %.4f%s", task.place[-1], position.epoch, task.settings.epochs, row["loss"], validation
    )


class _Position:
    """How far the training has come, and the sums of the epoch under way."""

    def __init__(self) -> None:
        self.epoch = self.step = 0
        self.sums: Row = {}
        self.extra: Row = {}
        self.rows: list[Row] = []
        self.best: Best | None = None

    @classmethod
    def restore(cls, task: Task, optimizer: PartOptimizer, resume: ResumeState) -> "_Position":
        state = resume.load()
        position = cls()
        if state is None:
            return position
        task.network.load_state_dict(state["network"])
        optimizer.load_tensors(state["optimizer"])
        for name in ("epoch", "step", "sums", "extra", "rows"):
            setattr(position, name, state[name])
        position.best = Best(**state["best"]) if state["best"] else None
        return position

    def state(self, task: Task, optimizer: PartOptimizer) -> dict[str, Any]:
        return {
            "network": task.network.state_dict(),
            "optimizer": optimizer.tensors(),
            "epoch": self.epoch,
            "step": self.step,
            "sums": self.sums,
            "extra": self.extra,
            "rows": self.rows,
            "best": vars(self.best) if self.best else None,
        }

    def add(self, values: Row) -> None:
        self.step += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.sums["steps"] = self.sums.get("steps", 0) + 1

    def finish_epoch(self, rates: Row, validation: Row) -> Row:
        steps = self.sums.pop("steps")
        means = {name: value / steps for name, value in self.sums.items()}
        self.epoch += 1
        lr = {f"lr.{part}": rate for part, rate in rates.items()}
        self.rows.append({"epoch": self.epoch, **means, **self.extra, **lr, **validation})
        self.sums, self.extra = {}, {}
        return self.rows[-1]

    def keep_best(self, task: Task) -> None:
        """Keep the network's state if it has the highest score so far; the earlier one of two that are equal."""
        score = self.rows[-1].get(task.best, -math.inf)
        if score > (self.best.score if self.best else -math.inf):
            state = {name: tensor.detach().cpu().clone() for name, tensor in task.network.state_dict().items()}
            self.best = Best(score, self.epoch, state)


class _Saving:
    """Saves the state now and then."""

    def __init__(self, resume: ResumeState, every_s: float) -> None:
        self._resume, self._every_s, self._at = resume, every_s, time.monotonic()

    def if_due(self, position: _Position, task: Task, optimizer: PartOptimizer) -> None:
        if time.monotonic() - self._at > self._every_s:
            self._resume.save(position.state(task, optimizer))
            self._at = time.monotonic()


@dataclass(frozen=True)
class _Batch:
    """The samples of a batch that this process computes, on its device, their share of it, and its size."""

    samples: dict[str, Tensor]
    share: float
    size: int


def _steps(task: Task) -> int:
    """Steps of an epoch."""
    whole, rest = divmod(len(task.train), task.settings.batch_size)
    return whole * (task.settings.batch_size >= task.smallest_batch) + (rest >= task.smallest_batch)


def _rates(task: Task, optimizer: PartOptimizer, epoch: int, step: int) -> Row:
    settings = task.settings
    return {
        name: learning_rate(
            settings.optimizer,
            settings.schedule,
            task.epochs_before.get(parts[0], 0) + epoch,
            step,
            settings.epochs * _steps(task),
        )
        for name, parts in optimizer.groups.items()
    }


def _batches(task: Task, position: _Position) -> Iterator[_Batch]:
    """The rest of the epoch's batches, the next one made while the current one is computed."""
    order = epoch_order(len(task.train), *task.place, position.epoch)
    size = task.settings.batch_size
    began = position.step
    first = began - position.epoch * _steps(task)
    chunks = [order[start * size : (start + 1) * size] for start in range(first, _steps(task))]
    parts = [task.group.part(len(chunk), task.smallest_batch) for chunk in chunks]
    with ThreadPoolExecutor(1) as reader:
        waiting = deque[Future[Mapping[str, NDArray[Any]]]]()
        for ahead in range(len(chunks) + 1):
            if ahead < len(chunks):
                part, _ = parts[ahead]
                waiting.append(reader.submit(task.train.batch, chunks[ahead][part], began + ahead, part.start))
            if ahead:
                samples = _to_device(waiting.popleft().result(), task.network)
                yield _Batch(samples, parts[ahead - 1][1], len(chunks[ahead - 1]))


def _to_device(batch: Mapping[str, NDArray[Any]], network: nn.Module) -> dict[str, Tensor]:
    device = next(network.parameters()).device
    return {key: torch.from_numpy(values).to(device, non_blocking=True) for key, values in batch.items()}


def _loss(task: Task, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    terms = task.terms(task.network, batch)
    return {"loss": torch.stack([task.weights[name] * term for name, term in terms.items()]).sum(), **terms}


def _step(task: Task, optimizer: PartOptimizer, batch: _Batch, step: int, resume: ResumeState) -> Row:
    optimizer.instance.zero_grad(set_to_none=True)
    # Another process draws other numbers for its part.
    _seed(*task.place, "step", step, *([task.group.rank] if task.group.rank else []))
    values = _loss(task, batch.samples)
    values["loss"].backward()  # type: ignore[no-untyped-call]
    row = task.group.average(task.network, values, batch.share)
    row |= {f"gradient_norm.{part}": norm.item() for part, norm in optimizer.clip().items()}
    wrong = next((name for name, value in row.items() if not math.isfinite(value)), None)
    if wrong is not None:
        kept = f"the state of an earlier step is kept in {resume.folder}" if resume.path.exists() else "nothing is kept"
        raise UserError(
            f"training {'.'.join(map(str, task.place[1:]))}: {wrong} is {row[wrong]} at step {step + 1}, "
            f"expected a finite number; {kept}; try a lower learning rate"
        )
    optimizer.instance.step()
    return row


def _seed(*where: int | str) -> None:
    """Seed torch's generators. Without CUDA, `torch.manual_seed` would note where it was called: 2 ms a time."""
    seed = seed_for(*where)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
