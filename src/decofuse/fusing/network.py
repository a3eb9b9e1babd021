"""From published weights to a network that fuses."""

from collections.abc import Callable
from pathlib import Path

from decofuse.errors import UserError
from decofuse.models.method import Fuser
from decofuse.training.checkpoint import WEIGHTS, fill_network, load_weights


def load_network(build: Callable[..., Fuser], method: str, phase: str | None, folder: Path | None) -> Fuser:
    """Build a method's network at the size that its weights were trained with, and fill it.

    Args:
        build: network class; called without arguments for a fuser without training.
        method: name of the method that the weights must be of.
        phase: training phase that they must come from; None for a fuser without training.
        folder: folder with the weights; None for a fuser without training.

    Raises:
        UserError: weights are needed and not given, or the file is not the one that is needed.
    """
    if phase is None:
        return build()
    if folder is None:
        raise UserError(f"{method}: expected --weights, the folder of its trained weights, found none; train it first")
    tensors, provenance = load_weights(folder / WEIGHTS, method, phase)
    network = build(**provenance.network)
    fill_network(network, tensors, folder / WEIGHTS)
    return network
