"""The meta phase: a fusion network and its meta modules learn in turns, a frozen segmentation network as the teacher.

As SSDFusion's published code does it (specification, section 10.3), for any network. θ are the parameters of the
network, φ those of the meta modules. An inner phase, now and then, trains φ; an outer step, for each batch, trains θ.

The inner phase is meant as meta learning and is none: a copy θ' of the network follows the gradient of θ, but no
gradient passes from its losses to φ, and it is dropped in the end. All that the phase leaves behind is φ and the batch
statistics of the network and of the meta modules.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from decofuse.models.meta import Fusion, MetaModules, meta_terms

Batch = Mapping[str, Tensor]
N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class MetaTask(Generic[N]):
    """What the meta phase trains, on what.

    Attributes:
        network: the fusion network.
        modules: the meta modules.
        fuse: fuses a batch with the network, or with a copy.
        teach: gives the segmentation maps of fused RGB images, without gradient; called once a step.
        weights: weight of each fusion term and of each term `meta_<i>`.
    """

    network: N
    modules: MetaModules
    fuse: Callable[[N, Batch], Fusion]
    teach: Callable[[Tensor], Sequence[Tensor]]
    weights: Mapping[str, float]

    def loss(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of terms."""
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()

    def terms(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Fusion terms and meta terms of a batch; scalars, not weighted."""
        fusion = self.fuse(self.network, batch)
        return fusion.terms, meta_terms(self.modules, fusion.details, self.teach(fusion.rgb))


class InnerStep(NamedTuple):
    """What a step of the inner phase shows; valid until the next step.

    Attributes:
        terms: fusion terms and meta terms of the network, not weighted.
        copy_terms: fusion terms of the copy after its step, not weighted.
        gradient_norms: L2 norm of the gradient of each meta module, before clipping, by its path in the modules.
        copied: the copy θ'. The network's own gradients are what it followed.
    """

    terms: dict[str, Tensor]
    copy_terms: dict[str, Tensor]
    gradient_norms: dict[str, Tensor]
    copied: nn.Module


def inner_steps(
    task: MetaTask[N], batches: Iterable[Batch], learning_rate: float = 1e-4, clip_norm: float | None = 0.01
) -> Iterator[InnerStep]:
    """Train φ by the meta loss, a step of plain SGD a batch; memory does not grow with their number.

    The gradients of the network are neither cleared first nor afterwards: they add up over the phase, onto what the
    last outer step left, and the copy follows the sum. Its fusion loss is computed for its value alone: upstream also
    takes its gradient, and throws it away.

    Args:
        task: what is trained; φ and the batch statistics change.
        batches: batches of the phase.
        learning_rate: of φ and of θ'.
        clip_norm: largest L2 norm of the gradient of all of φ, and of all of θ'; None: not clipped.
    """
    task.network.train()
    task.modules.train()
    copied = copy.deepcopy(task.network)
    copy_optimizer = torch.optim.SGD(copied.parameters(), lr=learning_rate)
    optimizer = torch.optim.SGD(task.modules.parameters(), lr=learning_rate)
    limit = math.inf if clip_norm is None else clip_norm
    for batch in batches:
        optimizer.zero_grad(set_to_none=True)
        terms = _add_meta_gradient(task, batch)
        _follow(copied, task.network)
        nn.utils.clip_grad_norm_(copied.parameters(), limit)
        copy_optimizer.step()
        with torch.no_grad():
            copy_terms = task.fuse(copied, batch).terms
        norms = gradient_norms(task.modules)
        nn.utils.clip_grad_norm_(task.modules.parameters(), limit)
        optimizer.step()
        yield InnerStep(terms, copy_terms, norms, copied)


def outer_gradient(task: MetaTask[N], batch: Batch) -> dict[str, Tensor]:
    """Give θ the gradient of the whole loss of a batch, in place of any other; clipping and the step are left to do.

    φ gets none: upstream's does and never uses it.

    Returns:
        Fusion terms and meta terms, not weighted.
    """
    task.network.train()
    task.modules.train()
    task.network.zero_grad(set_to_none=True)
    fusion, meta = task.terms(batch)
    trained = [parameter for parameter in task.network.parameters() if parameter.requires_grad]
    task.loss({**fusion, **meta}).backward(inputs=trained)  # type: ignore[no-untyped-call]
    return _values({**fusion, **meta})


def gradient_norms(modules: MetaModules) -> dict[str, Tensor]:
    """L2 norm of the gradient of each extractor and transform, by its path in `modules`."""
    return {
        f"{kind}.{i}": nn.utils.get_total_norm(_gradients(module))
        for kind, levels in modules.named_children()
        for i, module in levels.named_children()
    }


def _add_meta_gradient(task: MetaTask[N], batch: Batch) -> dict[str, Tensor]:
    """Add the gradient of the meta loss to θ's and φ's; all terms of the batch, not weighted.

    The rest of the graph, that of the fusion terms, is freed on return, before the copy fuses.
    """
    fusion, meta = task.terms(batch)
    task.loss(meta).backward()  # type: ignore[no-untyped-call]
    return _values({**fusion, **meta})


def _follow(copied: nn.Module, network: nn.Module) -> None:
    """Give the copy the network's gradients."""
    for mine, theirs in zip(copied.parameters(), network.parameters(), strict=True):
        mine.grad = None if theirs.grad is None else theirs.grad.clone()


def _gradients(module: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


def _values(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: term.detach() for name, term in terms.items()}
