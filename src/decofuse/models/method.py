"""What a fusion method declares: its network, its training phases, and how upstream names its tensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn


class Fuser(nn.Module):
    """A module that fuses two registered images; what inference needs to know of any method."""

    smallest: ClassVar[int] = 1  # smallest image side that `fuse` accepts [pixels]

    def fuse(self, source_a: Tensor, source_b: Tensor) -> Tensor:
        """Fuse the luma of two images.

        Args:
            source_a: visible (or first) source, N×1×H×W, in [0, 1], H and W at least `smallest`.
            source_b: infrared (or second) source, same shape.

        Returns:
            Fused luma, N×1×H×W, in [0, 1].
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Phase:
    """One training stage: the total loss is Σ weight · term, the weights are settings of the same names.

    Attributes:
        trains: names of the network's child modules that are optimised; all others are frozen.
        terms: (network, batch, **options) -> scalar loss terms by name, not weighted; `batch["visible"]` and
            `batch["infrared"]` are N×1×H×W in [0, 1]. Options are the settings that only this phase has.
        previous: phase whose weights and optimiser state this one starts from; None starts from initialisation.
    """

    trains: tuple[str, ...]
    terms: Callable[..., dict[str, Tensor]]
    previous: str | None = None


@dataclass(frozen=True)
class Upstream:
    """How an upstream checkpoint names what this project names otherwise.

    Attributes:
        parts: checkpoint key -> child module of the network.
        names: dotted run of name segments -> its replacement ("" drops it), applied in order on whole segments.
    """

    parts: Mapping[str, str]
    names: Mapping[str, str]

    def translate(self, part: str, name: str) -> str:
        """This project's name of tensor `name` of checkpoint part `part`.

        The prefix `module.`, which nn.DataParallel adds, is dropped.

        Raises:
            KeyError: the checkpoint has a part that the method does not.
        """
        dotted = f".{name.removeprefix('module.')}."
        for old, new in self.names.items():
            dotted = dotted.replace(f".{old}.", f".{new}." if new else ".")
        return self.parts[part] + dotted.rstrip(".")
