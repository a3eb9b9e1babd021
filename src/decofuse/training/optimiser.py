"""Adam with one group a part of the network, and the learning rate of each part."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from decofuse.settings import OptimizerSettings, ScheduleSettings


class PartOptimizer:
    """One Adam a part, its gradient clipped and its learning rate scheduled by itself.

    Adam's state is per parameter, so groups of one instance equal upstream's separate instances.
    """

    def __init__(self, network: nn.Module, parts: Sequence[str], settings: OptimizerSettings) -> None:
        """Args: parts: names of the children of `network` that are trained."""
        self.parts = tuple(parts)
        self.clip_norm = settings.clip_norm
        self.names: dict[Tensor, str] = {
            parameter: f"{part}.{name}"
            for part in parts
            for name, parameter in network.get_submodule(part).named_parameters()
        }
        self.adam = torch.optim.Adam(
            [{"params": list(network.get_submodule(part).parameters())} for part in parts],
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
        )

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """Set the learning rate of each part."""
        for part, group in zip(self.parts, self.adam.param_groups, strict=True):
            group["lr"] = rates[part]

    def clip(self) -> dict[str, Tensor]:
        """Clip each part's gradient to `clip_norm`; the norms before clipping, by part."""
        return {
            part: nn.utils.clip_grad_norm_(group["params"], self.clip_norm)
            for part, group in zip(self.parts, self.adam.param_groups, strict=True)
        }

    def tensors(self) -> dict[str, Tensor]:
        """The moments and step counts as `<parameter>.<exp_avg | exp_avg_sq | step>`."""
        return {
            f"{self.names[parameter]}.{key}": value
            for parameter, state in self.adam.state.items()
            for key, value in state.items()
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the moments of the parameters that `tensors` knows; all others start fresh."""
        by_name = {name: parameter for parameter, name in self.names.items()}
        for key, value in tensors.items():
            name, _, kind = key.rpartition(".")
            if name in by_name:
                parameter = by_name[name]
                stored = value.clone() if kind == "step" else value.to(parameter.device, parameter.dtype, copy=True)
                self.adam.state.setdefault(parameter, {})[kind] = stored


def learning_rate(optimizer: OptimizerSettings, schedule: ScheduleSettings, epochs_trained: int) -> float:
    """Learning rate of a part that was trained in `epochs_trained` epochs so far, in all phases."""
    rate = optimizer.learning_rate * schedule.factor ** (epochs_trained // schedule.step_epochs)
    return max(rate, schedule.floor)
