"""One optimiser a part of the network, or one for all, and the learning rate of each at each step."""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from decofuse.settings import (
    AdamSettings,
    CosineSchedule,
    MilestoneSchedule,
    PolySchedule,
    SGDSettings,
    StepSchedule,
)

Schedule = StepSchedule | MilestoneSchedule | CosineSchedule | PolySchedule
WHOLE = "network"  # name of the one group of a joint optimiser


class PartOptimizer:
    """One optimiser a group of parts, its gradient clipped and its learning rate scheduled by itself.

    The state of Adam and SGD is per parameter, so groups of one instance equal upstream's separate instances.
    """

    def __init__(
        self, network: nn.Module, parts: Sequence[str], settings: AdamSettings | SGDSettings, joint: bool = False
    ) -> None:
        """Args: parts: names of the children of `network` that are trained; joint: whether they are one group."""
        self.groups: Mapping[str, Sequence[str]] = {WHOLE: tuple(parts)} if joint else {part: (part,) for part in parts}
        self.clip_norm = settings.clip_norm
        self.names: dict[Tensor, str] = {
            parameter: f"{part}.{name}"
            for part in parts
            for name, parameter in network.get_submodule(part).named_parameters()
        }
        self.instance = _instance(
            [
                [parameter for part in group for parameter in network.get_submodule(part).parameters()]
                for group in self.groups.values()
            ],
            settings,
        )

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """Set the learning rate of each group."""
        for name, group in zip(self.groups, self.instance.param_groups, strict=True):
            group["lr"] = rates[name]

    def clip(self) -> dict[str, Tensor]:
        """Clip each group's gradient to `clip_norm`; the norms before clipping, by group."""
        limit = math.inf if self.clip_norm is None else self.clip_norm
        return {
            name: nn.utils.clip_grad_norm_(group["params"], limit)
            for name, group in zip(self.groups, self.instance.param_groups, strict=True)
        }

    def tensors(self) -> dict[str, Tensor]:
        """The moments and step counts as `<parameter>.<exp_avg | exp_avg_sq | step | momentum_buffer>`."""
        return {
            f"{self.names[parameter]}.{key}": value
            for parameter, state in self.instance.state.items()
            for key, value in state.items()
            if value is not None
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the moments of the parameters that `tensors` knows; all others start fresh."""
        by_name = {name: parameter for parameter, name in self.names.items()}
        for key, value in tensors.items():
            name, _, kind = key.rpartition(".")
            if name in by_name:
                parameter = by_name[name]
                stored = value.clone() if kind == "step" else value.to(parameter.device, parameter.dtype, copy=True)
                self.instance.state.setdefault(parameter, {})[kind] = stored


def learning_rate(
    optimizer: AdamSettings | SGDSettings, schedule: Schedule, epoch: int, step: int = 0, steps: int = 1
) -> float:
    """Learning rate of a step.

    Args:
        optimizer: holds the initial (or peak) rate.
        schedule: how it changes.
        epoch: epochs that the part was trained in before this one, in all phases that its schedule runs through.
        step: steps of this phase before this one.
        steps: steps of this phase in all.
    """
    rate = optimizer.learning_rate
    match schedule:
        case StepSchedule():
            return max(float(rate * schedule.factor ** (epoch // schedule.step_epochs)), schedule.floor)
        case MilestoneSchedule():
            passed = sum(epoch >= milestone for milestone in schedule.milestones)
            return float(rate * schedule.factor**passed)
        case CosineSchedule():
            done, length = _cycle(schedule, epoch)
            return schedule.floor + (rate - schedule.floor) * (1 + math.cos(math.pi * done / length)) / 2
        case PolySchedule():
            warmup = schedule.warmup_steps
            if step <= warmup and warmup:
                return float(schedule.warmup_rate * (rate / schedule.warmup_rate) ** (step / warmup))
            return float(rate * (1 - (step - warmup) / (steps - warmup)) ** schedule.power)


def _cycle(schedule: CosineSchedule, epoch: int) -> tuple[int, int]:
    """Epochs into the present cycle, and its length."""
    length = schedule.first_cycle
    while epoch >= length:
        epoch -= length
        length *= schedule.growth
    return epoch, length


def _instance(groups: Iterable[list[nn.Parameter]], settings: AdamSettings | SGDSettings) -> torch.optim.Optimizer:
    parameters = [{"params": group} for group in groups]
    if isinstance(settings, SGDSettings):
        return torch.optim.SGD(
            parameters,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
    return torch.optim.Adam(
        parameters,
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
    )
