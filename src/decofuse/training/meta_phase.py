"""The meta phase of a round as a job of the training stage; its steps are in `decofuse.training.meta`."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset, random_split

from decofuse.data.labelled_crops import ColourCrops
from decofuse.errors import UserError
from decofuse.models.meta import Interface, MetaNetwork, Teacher
from decofuse.models.method import Phase
from decofuse.seeding import epoch_order, seed_for
from decofuse.segmentation.segmenter import load_segmenter
from decofuse.settings import MetaSettings
from decofuse.training.checkpoint import WEIGHTS
from decofuse.training.loop import Row
from decofuse.training.meta import MetaTask, inner_steps
from decofuse.training.stage import Extras, Job

PHASE = "meta"
MODULES = "modules.safetensors"
SPLIT_SEED = 42  # of the part that is held out, as upstream

Batch = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Method:
    """What the meta phase needs to know of a method.

    Attributes:
        name: its name.
        build: network class; called with `network` as keyword arguments.
        network: size of the network.
        interface: see `Interface`.
        previous: phases whose weights a round can start from.
    """

    name: str
    build: Callable[..., nn.Module]
    network: dict[str, Any]
    interface: Interface[Any]
    previous: tuple[str, ...]


def meta_job(  # noqa: PLR0917
    method: Method,
    settings: MetaSettings,
    teacher: Path,
    classes: int,
    manifest: Path,
    number: int,
    seed: int,
    code: str,
) -> Job:
    """A job for `decofuse.training.stage.train`: it starts from weights that fuse, and gives such again.

    Args:
        method: what learns.
        settings: schedule, weights, inner phase.
        teacher: weights of the segmentation network that was trained on the images that the start fuses.
        classes: number of classes of it.
        manifest: manifest of the training dataset.
        number: of the round, from 1; every round has its own meta modules, order and crops.
        seed: seed of the run.
        code: digest of the code that runs.
    """
    own = set(type(settings).model_fields) - set(MetaSettings.model_fields) - {"weights"}
    fuse = functools.partial(method.interface.fuse, **{name: getattr(settings, name) for name in own})
    weights: dict[str, float] = settings.weights.model_dump()  # type: ignore[attr-defined]
    place = seed_for(seed, "round", number)
    inner = InnerPhase(fuse, weights, settings, manifest, (place, method.name, PHASE))
    return Job(
        method=method.name,
        phase=PHASE,
        build=functools.partial(start_of_meta, method, teacher, classes, settings.normalise),
        network=method.network,
        declaration=Phase(
            trains=("fusion", "meta") if settings.learn_modules else ("fusion",),
            terms=functools.partial(meta_phase_terms, fuse=fuse, weights=weights),
            previous=method.previous,
            carries=False,
            joint=True,
        ),
        options={},
        weights=weights,
        settings=settings,
        samples=ColourCrops,
        seed=place,
        code=code,
        extras=Extras(
            reads=(teacher,),
            before_epoch=inner,
            files=MappingProxyType({WEIGHTS: "fusion", MODULES: "meta"}),
            moments=False,
        ),
    )


def start_of_meta(method: Method, teacher: Path, classes: int, normalise: bool, **network: Any) -> MetaNetwork:
    """The network of a meta phase: the conversion of a checkpoint that fuses into the start of phase III.

    The stage fills `fusion` with the tensors of the phase before, under the names that they have; the meta modules are
    drawn afresh, and counters and moments start anew (upstream: utils/convert_checkpoint.py, II to III).

    Args:
        method: which network.
        teacher: weights of the segmentation network.
        classes: number of classes of it.
        normalise: whether it gets normalised images.
        network: size of the network.

    Raises:
        UserError: the teacher's file is no segmentation network for these classes.
    """
    fusion = method.build(**network)
    segmenter = load_segmenter(teacher, classes)
    modules = method.interface.modules(fusion, segmenter.network.channels)
    return MetaNetwork(fusion, modules, Teacher(segmenter if normalise else segmenter.network))


def meta_phase_terms(
    network: MetaNetwork, batch: Batch, fuse: Callable[..., Any], weights: Mapping[str, float]
) -> dict[str, Tensor]:
    """Fusion terms and meta terms of an outer step."""
    fusion, meta = _task(network, fuse, weights).terms(batch)
    return {**fusion, **meta}


@dataclasses.dataclass
class InnerPhase:
    """The inner phase, before the first step of every `interval`-th epoch, on single crops.

    The training images are split once (upstream's 80 % and 20 %, seed 42). The phase goes through as many of the larger
    part as the smaller one has; upstream pairs the two and never uses the batches of the smaller.

    Attributes:
        fuse: the method's, options given.
        weights: of all loss terms.
        settings: of the phase.
        manifest: of the training dataset.
        place: (seed, method, phase).
    """

    fuse: Callable[..., Any]
    weights: Mapping[str, float]
    settings: MetaSettings
    manifest: Path
    place: tuple[int | str, ...]

    def __call__(self, network: MetaNetwork, epoch: int) -> Row:
        """Train the meta modules; the mean of the weighted meta loss and the number of steps.

        Raises:
            UserError: no image is held out, or the meta loss is not finite.
        """
        if epoch % self.settings.interval:
            return {}
        learning = [parameter.requires_grad for parameter in network.meta.parameters()]
        network.meta.requires_grad_(True)
        losses = []
        task = _task(network, self.fuse, self.weights)
        steps = inner_steps(
            task,
            self._batches(epoch, next(network.parameters()).device),
            self.settings.inner_learning_rate,
            self.settings.inner_clip_norm,
        )
        for step in steps:
            meta = {name: term for name, term in step.terms.items() if name.startswith("meta_")}
            losses.append(task.loss(meta).item())
        for parameter, was in zip(network.meta.parameters(), learning, strict=True):
            parameter.requires_grad_(was)
        network.zero_grad(set_to_none=True)
        if not all(map(math.isfinite, losses)):
            raise UserError(
                f"training {'.'.join(map(str, self.place[1:]))}: the meta loss of the inner phase is not finite in "
                f"epoch {epoch + 1}; try a lower inner_learning_rate"
            )
        return {"inner.meta": sum(losses) / len(losses), "inner.steps": len(losses)} if losses else {}

    def _batches(self, epoch: int, device: torch.device) -> Iterator[dict[str, Tensor]]:
        samples = ColourCrops(self.manifest, "train", self.settings.data, seed_for(*self.place, "inner"), fixed=False)
        if int(len(samples) * self.settings.held_out) < 1:
            raise UserError(
                f"{self.manifest}: expected training images of which held_out = {self.settings.held_out} is at least "
                f"one, found {len(samples)}; use more images or a larger held_out"
            )
        part, length = inner_part(len(samples), self.settings.held_out)
        order = epoch_order(len(part), *self.place, "inner", epoch)[:length]
        for number, chosen in enumerate(order):
            batch = samples.batch(np.array([part[chosen]]), step=epoch * len(samples) + number)
            torch.manual_seed(seed_for(*self.place, "inner", epoch, number))
            yield {key: torch.from_numpy(values).to(device) for key, values in batch.items()}


def inner_part(count: int, held_out: float) -> tuple[Sequence[int], int]:
    """Images of the larger part of a fixed random split, and how many of them an inner phase takes."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    numbers = TensorDataset(torch.arange(count))
    larger, smaller = random_split(numbers, [1 - held_out, held_out], generator=generator)
    return larger.indices, min(len(larger), len(smaller))


def _task(network: MetaNetwork, fuse: Callable[..., Any], weights: Mapping[str, float]) -> MetaTask[nn.Module]:
    return MetaTask(network.fusion, network.meta, fuse, network.teacher, weights)
