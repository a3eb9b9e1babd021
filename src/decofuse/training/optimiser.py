"""One optimiser a part of the network, or one for all, and the learning rate of each at each step."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from decofuse.models.method import Custom
from decofuse.settings import (
    AdamSettings,
    AdamWSettings,
    CosineSchedule,
    LinearPolySchedule,
    MilestoneSchedule,
    PolySchedule,
    SGDSettings,
    StepSchedule,
)

Settings = AdamSettings | SGDSettings | AdamWSettings
Schedule = StepSchedule | MilestoneSchedule | CosineSchedule | PolySchedule | LinearPolySchedule
WHOLE = "network"  # name of the one group of a joint optimiser


class PartOptimizer:
    """One optimiser a group of parts, its gradient clipped and its learning rate scheduled by itself.

    The state of Adam and SGD is per parameter, so groups of one instance equal upstream's separate instances.
    """

    def __init__(
        self,
        network: nn.Module,
        parts: Sequence[str],
        settings: Settings,
        joint: bool = False,
        custom: Custom | None = None,
    ) -> None:
        """Make the optimiser.

        Args:
            network: holds the parts.
            parts: names of the children of `network` that are trained.
            settings: kind and constants.
            joint: whether they are one group.
            custom: which parameters AdamW treats in their own way; all alike when left out.
        """
        self.groups: Mapping[str, Sequence[str]] = {WHOLE: tuple(parts)} if joint else {part: (part,) for part in parts}
        self.clip_norm = settings.clip_norm
        self.names: dict[Tensor, str] = {
            parameter: f"{part}.{name}"
            for part in parts
            for name, parameter in network.get_submodule(part).named_parameters()
        }
        groups = [
            {"params": its, "group": name, **options}
            for name, group in self.groups.items()
            for options, its in _split(self._parameters(group), settings, custom or Custom())
        ]
        self.instance = _instance(groups, settings)

    def _parameters(self, group: Sequence[str]) -> dict[str, nn.Parameter]:
        """The parameters of some parts by name, in the order of the parts."""
        return {
            name: parameter
            for part in group
            for parameter, name in self.names.items()
            if name.startswith(f"{part}.") and isinstance(parameter, nn.Parameter)
        }

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """Set the learning rate of each group."""
        for group in self.instance.param_groups:
            group["lr"] = rates[group["group"]] * group.get("factor", 1.0)

    def clip(self) -> dict[str, Tensor]:
        """Clip each group's gradient to `clip_norm`; the norms before clipping, by group."""
        limit = math.inf if self.clip_norm is None else self.clip_norm
        members: dict[str, list[nn.Parameter]] = {name: [] for name in self.groups}
        for group in self.instance.param_groups:
            members[group["group"]] += group["params"]
        return {name: nn.utils.clip_grad_norm_(its, limit) for name, its in members.items()}

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


def learning_rate(optimizer: Settings, schedule: Schedule, epoch: int, step: int = 0, steps: int = 1) -> float:
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
        case PolySchedule() | LinearPolySchedule():
            return rate * _poly_share(schedule, rate, step, steps)


def _poly_share(schedule: PolySchedule | LinearPolySchedule, peak: float, step: int, steps: int) -> float:
    """Share of the peak rate at a step: the warm-up, then the decay."""
    warmup = schedule.warmup_steps
    if isinstance(schedule, PolySchedule):
        if step <= warmup and warmup:
            return float((schedule.warmup_rate / peak) ** (1 - step / warmup))
        return float((1 - (step - warmup) / (steps - warmup)) ** schedule.power)
    if step < warmup:
        return schedule.warmup_factor + (1 - schedule.warmup_factor) * step / warmup
    end = schedule.end or steps
    return float(max(0.0, 1 - (step - warmup) / max(end - warmup, 1)) ** schedule.power)


def _split(
    parameters: Mapping[str, nn.Parameter], settings: Settings, custom: Custom
) -> list[tuple[dict[str, float], list[nn.Parameter]]]:
    """The parameters by what is particular about them, in their order within."""
    if not isinstance(settings, AdamWSettings):
        return [({}, list(parameters.values()))]
    ways: dict[str, dict[str, float]] = {
        "plain": {},
        "head": {"factor": settings.head_factor},
        "undecayed": {"weight_decay": 0.0},
    }
    members: dict[str, list[nn.Parameter]] = {way: [] for way in ways}
    for name, parameter in parameters.items():
        in_head, undecayed = (any(key in name for key in keys) for keys in (custom.head, custom.undecayed))
        members["head" if in_head else "undecayed" if undecayed else "plain"].append(parameter)
    return [(ways[way], its) for way, its in members.items() if its]


def _cycle(schedule: CosineSchedule, epoch: int) -> tuple[int, int]:
    """Epochs into the present cycle, and its length."""
    length = schedule.first_cycle
    while epoch >= length:
        epoch -= length
        length *= schedule.growth
    return epoch, length


def _instance(groups: list[dict[str, Any]], settings: Settings) -> torch.optim.Optimizer:
    rate = settings.learning_rate
    if isinstance(settings, SGDSettings):
        return torch.optim.SGD(groups, lr=rate, momentum=settings.momentum, weight_decay=settings.weight_decay)
    kind = torch.optim.AdamW if isinstance(settings, AdamWSettings) else torch.optim.Adam
    return kind(
        groups,
        lr=rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
    )
