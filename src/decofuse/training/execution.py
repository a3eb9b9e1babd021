"""How a network is computed in training: precision, recomputed activations, compilation.

All three are applied from outside, to the network's parts, so that networks and losses know nothing of them: what
leaves a part is float32 again, and losses are always computed in float32.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from decofuse.settings import PhaseSettings


def prepare(parts: Iterable[nn.Module], settings: PhaseSettings, device: torch.device) -> None:
    """Make parts of a network, each of which is called as a module, compute on `device` as the settings say.

    Modules of a class with `recomputable = True` are those whose activations `checkpointing` computes again; they
    hold no batch norm, whose statistics would count twice.
    """
    for part in parts:
        for module in part.modules() if settings.checkpointing else ():
            if getattr(module, "recomputable", False):
                module.forward = functools.partial(checkpoint, module.forward, use_reentrant=False)
        if settings.compile:
            part.compile()
        if settings.precision == "bfloat16":
            part.forward = _in_bfloat16(part.forward, device.type)


def _in_bfloat16(forward: Callable[..., Any], device: str) -> Callable[..., Any]:
    @functools.wraps(forward)
    def wrapped(*inputs: Any, **named: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            return _in_float32(forward(*inputs, **named))

    return wrapped


def _in_float32(value: Any) -> Any:
    """Tensors in float32, named and plain tuples of them included."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, tuple):
        parts = [_in_float32(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value
