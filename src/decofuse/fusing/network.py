"""From published weights to a network that fuses."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from decofuse.errors import UserError
from decofuse.models.method import Fuser
from decofuse.training.checkpoint import WEIGHTS, fill_network, load_weights


def method_of(folder: Path) -> str:
    """Name of the method that the weights in `folder` say they are of; `load_network` checks the rest.

    Raises:
        UserError: there are no weights, or they say no such thing.
    """
    path = folder / WEIGHTS
    try:
        with safe_open(path, "pt") as file:
            return str(json.loads((file.metadata() or {})["decofuse"])["method"])
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: expected weights, found no such file; give the folder that holds {WEIGHTS}"
        ) from error
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: expected weights of this project, found a damaged or foreign file; "
            "train again, or turn published weights into ours with decofuse import-weights"
        ) from error


def load_network(build: Callable[..., Fuser], method: str, phases: Sequence[str], folder: Path | None) -> Fuser:
    """Build a method's network at the size that its weights were trained with, and fill it.

    Args:
        build: network class; called without arguments for a fuser without training.
        method: name of the method that the weights must be of.
        phases: training phases of which they must be one's; none for a fuser without training.
        folder: folder with the weights; None for a fuser without training.

    Raises:
        UserError: weights are needed and not given, or the file is not the one that is needed.
    """
    if not phases:
        return build()
    if folder is None:
        raise UserError(f"{method}: expected --weights, the folder of its trained weights, found none; train it first")
    tensors, provenance = load_weights(folder / WEIGHTS, method, phases)
    try:
        network = build(**provenance.network)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{folder / WEIGHTS}: expected the size of a {method} network, found another: {error}"
        ) from error
    fill_network(network, tensors, folder / WEIGHTS)
    return network
