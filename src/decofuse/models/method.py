"""What a fusion method declares: its network, its training phases, and how upstream names its tensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

from torch import Tensor, nn


class Fuser(nn.Module):
    """A module that fuses two registered images; what inference needs to know of any method."""

    smallest: ClassVar[int] = 1  # smallest image side that `fuse` accepts [pixels]

    def fuse(self, source_a: Tensor, source_b: Tensor) -> Tensor:
        """Fuse two images of any size from `smallest` on, in evaluation mode.

        Args:
            source_a: visible (or first) source in [0, 1], N×1×H×W or N×3×H×W as the registry declares for the task.
            source_b: infrared (or second) source, same N, H and W.

        Returns:
            Fused luma, N×1×H×W, or RGB, N×3×H×W where the registry says so; in [0, 1].
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Custom:
    """Parameters that AdamW treats in their own way, as mmsegmentation's custom keys do: the head's come first.

    Attributes:
        head: parts of names of the head's parameters, whose learning rate is higher.
        undecayed: parts of names of other parameters, which are not decayed.
    """

    head: tuple[str, ...] = ()
    undecayed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Phase:
    """One training stage: the total loss is Σ weight · term, the weights are settings of the same names.

    The network is in training mode; its random choices (drop path, dropout, a coin flip in `terms`) come from torch's
    default generator, which the loop seeds for each step.

    Attributes:
        trains: names of the network's child modules that are optimised; all others are frozen.
        terms: (network, batch, **options) -> scalar loss terms by name, not weighted; `batch` is what the samples of
            the phase give. Options are the settings that only this phase has.
        previous: phase, or phases, whose weights this one starts from; None starts from initialisation.
        carries: whether moments and learning-rate schedule of that phase go on; False starts them anew.
        joint: whether one optimiser holds all that is trained, so that the gradient is clipped as a whole; else each
            part has its own.
        smallest_batch: samples that a step needs at least; a smaller last batch of an epoch is left out.
        custom: parameters that AdamW treats in their own way.
    """

    trains: tuple[str, ...]
    terms: Callable[..., dict[str, Tensor]]
    previous: str | tuple[str, ...] | None = None
    carries: bool = True
    joint: bool = False
    smallest_batch: int = 1
    custom: Custom | None = None


@dataclass(frozen=True)
class Upstream:
    """How an upstream checkpoint names what this project names otherwise.

    Attributes:
        parts: checkpoint key -> child module of the network; the key "" is a checkpoint of one flat state dict, the
            child "" the network itself.
        names: dotted run of name segments -> its replacement ("" drops it), applied in order on whole segments.
        unused: shell patterns of `<part>.<name>` (of `<name>` in part "") that upstream stores and never uses; they
            have no place in the network.
    """

    parts: Mapping[str, str]
    names: Mapping[str, str]
    unused: tuple[str, ...] = ()

    def translate(self, part: str, name: str) -> str | None:
        """This project's name of tensor `name` of checkpoint part `part`; None if upstream never uses it.

        The prefix `module.`, which nn.DataParallel adds, is dropped.

        Raises:
            KeyError: the checkpoint has a part that the method does not.
        """
        bare = name.removeprefix("module.")
        if any(fnmatchcase(f"{part}.{bare}" if part else bare, pattern) for pattern in self.unused):
            return None
        dotted = f".{bare}."
        for old, new in self.names.items():
            dotted = dotted.replace(f".{old}.", f".{new}." if new else ".")
        return (self.parts[part] + dotted).strip(".")
