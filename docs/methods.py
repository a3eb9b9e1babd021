"""The page of the methods, made from the registry, the networks and the table of published numbers."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import torch

from decofuse.models.registry import METHODS, Method
from decofuse.published import Published, read_published

INTRODUCTION = """\
# Methods

Made from `src/decofuse/models/registry`, the networks and `workflow/published.csv` by `make docs`. The defaults of a
method are its published settings; presets make them smaller. Where the published code does what a reader would not
expect, that is kept by default and listed below, with the option that switches it off where there is one. Parameters
are those that are trained in some phase, helpers of the training included; tensors that the published code stores and
never uses have no place here.
"""

COLOUR = """\
## Colour

`grey` is 8-bit luma as OpenCV reads a file, `luma` is luma that was not rounded, `rgb` is colour, a grey image three
times the same. Where luma comes out, the chroma of the colour sources is put back beside it; where rgb comes out, the
network made the colours.
"""

TILES = """\
## Large images

What `decofuse fuse --max-memory` changes when it cuts an image into tiles. A method of bounded reach gives the same
result; one that has operators over the whole image sees a tile in its place. [fusing.md](fusing.md) has the sizes of
the differences.
"""

NUMBERS = """\
## Published numbers

As printed in the source, never computed here. They hold for the authors' training data, schedule and evaluation code;
the last column says what is known to differ from this project's evaluation.
"""


def page(root: Path) -> str:
    """The whole page."""
    published = read_published(root / "workflow/published.csv")
    parts = [INTRODUCTION, *_overview(), "", COLOUR, *_colour(), "", TILES, *_tiles(), ""]
    for name, method in METHODS.items():
        if method.phases:
            parts += [*_section(name, method), ""]
    return "\n".join([*parts, NUMBERS, *_numbers(published), ""])


def parameters(method: Method) -> int:
    """Trainable values of the network at its published size."""
    with torch.device("meta"):
        settings = method.settings()
        size = settings.network.model_dump() if method.phases else {}  # type: ignore[attr-defined]
        network = getattr(importlib.import_module(method.module), method.network)(**size)
    return sum(parameter.numel() for parameter in network.parameters())


def _overview() -> Iterator[str]:
    yield "| method | tasks | phases | parameters | image sizes | published code (licence) |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, method in METHODS.items():
        code = f"`{method.upstream}` ({method.licence})" if method.upstream else "–"
        count = f"{parameters(method):,}" if method.phases else "–"
        cells = (f"`{name}`", ", ".join(method.tasks), ", ".join(method.phases) or "–", count, method.sizes, code)
        yield f"| {' | '.join(cells)} |"


def _colour() -> Iterator[str]:
    yield "| method | tasks | first source | second source | result |"
    yield "| --- | --- | --- | --- | --- |"
    for name, method in METHODS.items():
        for views in dict.fromkeys(method.tasks.values()):
            tasks = ", ".join(task for task, its in method.tasks.items() if its == views)
            yield f"| `{name}` | {tasks} | {views.source_a} | {views.source_b} | {views.fused} |"


def _tiles() -> Iterator[str]:
    yield "| method | in tiles | why |"
    yield "| --- | --- | --- |"
    for name, method in METHODS.items():
        if method.reach is None:
            yield f"| `{name}` | an approximation | {method.whole} |"
        else:
            yield f"| `{name}` | the same | a pixel matters at most {method.reach} pixels away |"


def _section(name: str, method: Method) -> Iterator[str]:
    yield f"## {method.title} (`{name}`)"
    yield ""
    yield f"{method.source}. Phases and what they train on:"
    yield ""
    for phase, samples in method.phases.items():
        needs = [f"labels{'' if samples.labels else ' where there are any'}"] if "abelled" in samples.name else []
        sources = f"sources {' and '.join(samples.roles)}" if samples.roles else "single images"
        needs.append("pairs" if samples.pairs else sources)
        yield f"- `{phase}`: `{samples.name}` ({', '.join(needs)}), read from the {samples.reads}"
    yield ""
    yield "Kept as published:"
    yield ""
    yield from (f"- {quirk}" for quirk in method.quirks)


def _numbers(published: tuple[Published, ...]) -> Iterator[str]:
    yield "| method | dataset | numbers | source | differs |"
    yield "| --- | --- | --- | --- | --- |"
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for row in published:
        key = (row.method, row.dataset, row.source, row.differs)
        groups.setdefault(key, []).append(f"{row.metric} {row.value:g}")
    for (method, dataset, source, differs), numbers in groups.items():
        yield f"| `{method}` | {dataset} | {', '.join(numbers)} | {source} | {differs or '–'} |"
