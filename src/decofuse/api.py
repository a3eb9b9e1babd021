"""DecoFuse from Python: load a trained or imported method once, then fuse NumPy arrays.

>>> from decofuse.api import load
>>> fuser = load(method="average")
>>> fused = fuser.fuse(visible, infrared)  # HxW or HxWx3 uint8 or uint16, fused at the same size and depth
"""

from pathlib import Path

import torch

from decofuse.errors import UserError
from decofuse.fusing.image_fuser import ImageFuser
from decofuse.fusing.network import load_network, method_of
from decofuse.models.registry import METHODS

__all__ = ["ImageFuser", "load"]


def load(
    weights: str | Path | None = None,
    *,
    method: str | None = None,
    task: str = "infrared-visible",
    device: torch.device | str | None = None,
    stretch: bool | None = None,
    max_memory: int | None = None,
) -> ImageFuser:
    """Make a method ready to fuse.

    Args:
        weights: folder that holds weights.safetensors of the method's last phase, or of a meta phase.
        method: name of a method without training, instead of weights.
        task: what the sources are: infrared-visible, medical, multi-exposure or multi-focus.
        device: where to compute; None takes CUDA where there is one, else the CPU.
        stretch: whether each result is stretched to the full range; None does as the published code.
        max_memory: see `ImageFuser`.

    Raises:
        UserError: neither or both of weights and method, weights that are not usable, or a task that the method does
            not serve.
    """
    if (weights is None) == (method is None):
        raise UserError("expected either the folder of trained weights or the name of a method without training")
    folder = None if weights is None else Path(weights)
    name = str(method) if folder is None else method_of(folder)
    untrained = [known for known, entry in METHODS.items() if not entry.phases]
    if name not in METHODS or (folder is None and name not in untrained):
        expected = ", ".join(untrained if folder is None else METHODS)
        raise UserError(f"{folder or 'method'}: expected one of {expected}, found {name!r}")
    entry = METHODS[name]
    if task not in entry.tasks:
        raise UserError(f"{name}: expected a task that it serves ({', '.join(entry.tasks)}), found {task!r}")
    network = load_network(entry.build, name, entry.fusing_phases, folder)
    settings = entry.settings().fuse
    if stretch is not None:
        settings = settings.model_copy(update={"stretch": stretch})
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return ImageFuser(network, entry.tasks[task], settings, chosen, entry.reach, max_memory)
