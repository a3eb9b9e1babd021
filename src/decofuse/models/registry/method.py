"""What the registry knows of a method; plain values, so that reading params.yaml stays cheap."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from decofuse.settings import FuseSettings, Section, Views


class MethodSettings(Section):
    """What every method has in params.yaml; a method with training adds `network` and one section a phase."""

    fuse: FuseSettings = FuseSettings()


@dataclass(frozen=True)
class Samples:
    """Where the training samples of a phase come from.

    Attributes:
        module: module of the class.
        name: the class, see `decofuse.training.loop.Samples`.
        reads: the stage output that it reads: the HDF5 patches or the manifest of the training dataset.
        labels: whether the dataset must have labels.
        roles: sources that the dataset must have; empty for any.
        pairs: whether it must be a dataset of pairs, whatever its sources are called.
        colour: source that must be in colour, if one must.
    """

    module: str
    name: str
    reads: Literal["patches", "manifest"]
    labels: bool = False
    roles: tuple[str, ...] = ()
    pairs: bool = False
    colour: str = ""


LUMA_FROM_GREY = Views(source_a="grey", source_b="grey", fused="luma")
LUMA_FROM_LUMA = Views(source_a="luma", source_b="luma", fused="luma")
LUMA_FROM_COLOUR = Views(source_a="rgb", source_b="luma", fused="luma")
RGB_FROM_RGB = Views(source_a="rgb", source_b="rgb", fused="rgb")

PATCHES = Samples("decofuse.data.patch_samples", "PatchSamples", reads="patches", pairs=True)
LABELLED_PATCHES = Samples("decofuse.data.patch_samples", "LabelledPatchSamples", reads="patches", pairs=True)


@dataclass(frozen=True)
class Method:
    """One way to fuse.

    Attributes:
        title: name as published.
        source: where it was published, or what it is.
        module: module that holds the network class and, for trained methods, its PHASES.
        network: name of the network class in that module.
        phases: training phases in order, each with the samples that it trains on; empty for a fuser without training.
        tasks: tasks that it serves, each with what the network is given and gives.
        settings: type of its section in params.yaml.
        upstream: GitHub owner/name of the published code, empty if there is none.
        licence: licence of that code, in words.
        sizes: image sizes that the network takes, in words.
        reach: how far a source pixel can change fused ones [pixels], if `whole` is empty; else None.
        whole: operators that see the whole image, so that fusing in tiles is an approximation, in words.
        quirks: what the published code does and a reader would not expect, kept by default; an option in brackets
            switches it off.
        meta: module with META, what the meta phase asks of the method; empty if it takes no part in rounds.
        segments: whether its network gives label maps of its own (`segment`).
        onnx: axes that stay open in an ONNX model of it, the others being those of the pair that it is exported with;
            None if no other runtime gives the same.
    """

    title: str
    source: str
    module: str
    network: str
    phases: Mapping[str, Samples] = field(hash=False)
    tasks: Mapping[str, Views] = field(hash=False)
    settings: type[MethodSettings]
    upstream: str = ""
    licence: str = ""
    sizes: str = ""
    reach: int | None = None
    whole: str = ""
    quirks: tuple[str, ...] = ()
    meta: str = ""
    segments: bool = False
    onnx: tuple[Literal["batch", "height", "width"], ...] | None = ("batch", "height", "width")

    @property
    def build(self) -> Any:
        """The network class; imports it."""
        return getattr(importlib.import_module(self.module), self.network)

    @property
    def last_phase(self) -> str | None:
        """The phase whose weights fuse; None for a fuser without training."""
        return next(reversed([*self.phases]), None)

    @property
    def fusing_phases(self) -> tuple[str, ...]:
        """The phases whose weights fuse; none for a fuser without training."""
        return (*([self.last_phase] if self.last_phase else []), *(["meta"] if self.meta else []))
