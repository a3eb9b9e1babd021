"""Training in several processes, each of which computes its part of every batch.

The processes are started by torchrun, or by `decofuse train --processes`. All hold the same weights: gradients, batch
statistics and what is recorded are averaged after each step, weighted by the samples of each part. Every random choice
is that of one process, but for what a network itself draws in a step. So the curve is that of one process with the
same batches, up to the order of sums, wherever the loss is a mean over samples; a loss that is not, and batch norm, see
the part of their process, as usual.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass(frozen=True)
class Group:
    """This process among those that train together.

    Attributes:
        rank: its number; process 0 alone writes files.
        count: number of processes.
    """

    rank: int = 0
    count: int = 1

    def part(self, samples: int, smallest: int) -> tuple[slice, float]:
        """The samples of a batch that this process computes, and their share of the batch.

        Where not every process gets `smallest` samples, the last ones compute the first part again, with share 0.
        """
        parts = min(self.count, max(1, samples // smallest))
        number = self.rank if self.rank < parts else 0
        first, end = (samples * edge // parts for edge in (number, number + 1))
        return slice(first, end), (end - first) / samples * (self.rank < parts)

    def average(self, network: nn.Module, values: dict[str, Tensor], share: float) -> dict[str, float]:
        """Give gradients and batch statistics their mean over all processes, weighted by `share`; the mean of values.

        Args:
            network: has the gradient of this process's part; all parameters have one in every process, or none does.
            values: scalars, the same names in every process.
            share: of this process's part.
        """
        if self.count == 1:
            return {name: value.item() for name, value in values.items()}
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
        statistics = [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]
        scalars = [value.detach() for value in values.values()]
        tensors = [*gradients, *statistics, *scalars]
        flat = torch.cat([tensor.flatten() for tensor in tensors]) * share
        distributed.all_reduce(flat)
        means = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view_as(tensor))
        return {name: value.item() for name, value in zip(values, scalars, strict=True)}

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            distributed.barrier()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """A block that process 0 goes through before all others: what is wrong is found and told once."""
        if self.rank:
            distributed.barrier()
        yield
        if self.rank == 0 and self.count > 1:
            distributed.barrier()


ALONE = Group()


@contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """Meet the other processes as torchrun's variables say (WORLD_SIZE, RANK, MASTER_ADDR, ...); alone without them.

    Args:
        device: where this process computes; it decides how they talk, by NCCL on GPUs and Gloo on CPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
