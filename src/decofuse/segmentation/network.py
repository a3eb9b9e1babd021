"""What training, scoring and the meta phase need to know of any segmentation network."""

import functools
import importlib
from typing import ClassVar

import torch
from torch import Tensor, nn


class SegmentationNetwork(nn.Module):
    """A network that classifies each pixel of normalised RGB images, N×3×H×W, H and W multiples of 32.

    Attributes:
        channels: of the maps of `features`.
        head_names: parts of names of the head's parameters, whose learning rate is higher; what is left is the
            backbone. A class attribute `head` would hide the child module of that name.
        undecayed: parts of names of other parameters, which get no weight decay.
    """

    channels: tuple[int, ...]
    head_names: ClassVar[tuple[str, ...]] = ("head",)
    undecayed: ClassVar[tuple[str, ...]] = ("norm",)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """The backbone's maps at a quarter, an eighth, a sixteenth and a thirty-second of the size.

        Args:
            image: RGB, N×3×H×W, normalised as for the training of the weights.

        Returns:
            Finest first, N×C×H/s×W/s with s = 4, 8, 16, 32 and C of `channels`.
        """
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """Logits, N×classes×H×W, of such images."""
        raise NotImplementedError

    def given_name(self, name: str) -> str | None:
        """This network's name of a tensor that the library of its pretrained weights calls `name`.

        A name that the library does not have becomes one that the network does not have; None is a head's tensor,
        which a pretrained backbone may bring along.
        """
        raise NotImplementedError


@functools.cache
def import_torchvision() -> torch.library.Library | None:
    """Import torchvision, of which timm and transformers take parts that need none of its compiled operators.

    A build for CUDA cannot load them beside a CPU build of PyTorch, and then fails because it describes the results of
    two that nobody declared. Declared and never called, they do no harm.

    Returns:
        What declares the two, as long as it lives; None where nothing was missing.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            library.define(schema)  # type: ignore[no-untyped-call]
        importlib.import_module("torchvision")
        return library
    return None
