"""Published weights (safetensors) and private resume state."""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from decofuse.errors import UserError
from decofuse.files import atomic

FORMAT = "decofuse-weights-1"
WEIGHTS = "weights.safetensors"
BEST = "best.safetensors"
OPTIMIZER = "optimizer.safetensors"


@dataclass(frozen=True)
class Provenance:
    """What published weights say of themselves.

    Attributes:
        method: name of the method.
        phase: training phase that made them.
        network: keyword arguments that the network was built with.
        epochs: for each part of the network, in how many epochs it was trained so far, earlier phases included.
    """

    method: str
    phase: str
    network: dict[str, Any]
    epochs: dict[str, int]


def save_weights(path: Path, tensors: dict[str, Tensor], provenance: Provenance) -> None:
    """Write tensors and their provenance as one safetensors file, atomically."""
    # One key, so that the header's bytes do not depend on the order of a hash map.
    about = {"decofuse": json.dumps({"format": FORMAT, **vars(provenance)}, sort_keys=True)}
    with atomic(path) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, about)


def load_weights(
    path: Path, method: str | Sequence[str], phase: str | Sequence[str] | None
) -> tuple[dict[str, Tensor], Provenance]:
    """Read a file of `save_weights` onto the CPU.

    Args:
        path: the file.
        method: name that it must bear, or several of which one will do.
        phase: phase that it must come from, or several of which one will do.

    Raises:
        UserError: the file is missing, is no safetensors file, was not written by this project, or is not of this
            method and phase.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("decofuse", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if about.pop("format", None) != FORMAT:
            raise UserError(f"{path}: expected DecoFuse weights ({FORMAT}), found a safetensors file of another origin")
        provenance = Provenance(**about)
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected weights, found no such file; train first") from error
    except (SafetensorError, json.JSONDecodeError, TypeError) as error:
        raise UserError(f"{path}: expected a safetensors file, found a damaged or foreign one; train again") from error
    names, phases = ([one] if isinstance(one, str) else list(one or ["None"]) for one in (method, phase))
    if provenance.method not in names or provenance.phase not in phases:
        raise UserError(
            f"{path}: expected weights of {' or '.join(names)} after {' or '.join(phases)}, "
            f"found {provenance.method} after {provenance.phase}; give the folder of that phase"
        )
    return tensors, provenance


def fill_network(
    network: nn.Module, tensors: Mapping[str, Tensor], path: Path, labels: Mapping[str, str] | None = None
) -> None:
    """Copy `tensors` into `network`, all of them or none.

    Args:
        network: on any device.
        tensors: its whole state by name.
        path: where they come from, for the error.
        labels: what the error calls a tensor, where that is not its name.

    Raises:
        UserError: a tensor is missing, extra, of another shape or kind, or not finite; the line names `path` and the
            first few tensors.
    """
    own, shown = network.state_dict(), labels or {}
    problems = [f"{name} is missing" for name in own.keys() - tensors.keys()]
    problems += [f"{shown.get(name, name)} is not known" for name in tensors.keys() - own.keys()]
    for name in own.keys() & tensors.keys():
        found, expected, label = tensors[name], own[name], shown.get(name, name)
        if found.shape != expected.shape:
            problems.append(f"{label} has shape {tuple(found.shape)}, expected {tuple(expected.shape)}")
        elif found.is_floating_point() != expected.is_floating_point():
            problems.append(f"{label} holds {found.dtype}, expected {expected.dtype}")
        elif found.is_floating_point() and not bool(found.isfinite().all()):
            problems.append(f"{label} holds values that are not finite")
    if problems:
        first = ", ".join(sorted(problems)[:3]) + (f" (and {len(problems) - 3} more)" if len(problems) > 3 else "")
        raise UserError(f"{path}: does not fit the network: {first}; use weights of the same method and settings")
    network.load_state_dict(tensors)


class ResumeState:
    """The state of one unfinished training in a folder of its own, outside the declared outputs of a stage."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: named after a digest of everything that decides the result."""
        self.folder = folder
        self.path = folder / "state.pt"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; the lock goes with the process, however it ends.

        Raises:
            UserError: another process trains the same thing (an orphan of a killed run, for instance).
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"{self.folder}: another process trains the same thing; wait for it or end it"
                ) from error
            yield

    def save(self, state: dict[str, Any]) -> None:
        """Replace the stored state atomically."""
        with atomic(self.path) as temporary:
            torch.save(state, temporary)

    def load(self) -> dict[str, Any] | None:
        """The stored state on the CPU, read as plain data; None if there is none.

        Raises:
            UserError: the file is damaged.
        """
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises many types on damaged files
            raise UserError(f"{self.path}: the resume state is damaged; delete {self.folder} to start over") from error
        return state

    def remove(self) -> None:
        """Forget the state: the training has been published."""
        shutil.rmtree(self.folder, ignore_errors=True)
