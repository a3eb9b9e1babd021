"""Subcommands that fuse: a split of a dataset, or a person's own images and videos."""

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decofuse import stages
from decofuse.cli.app import (
    SKIPPED,
    Manifest,
    Settings,
    Threads,
    app,
    choose_device,
    settings_of,
    sources_of,
    task_of,
    tracked,
)
from decofuse.errors import UserError
from decofuse.models.registry import METHODS

if TYPE_CHECKING:
    from decofuse.fusing.inputs import Files

_LOG = logging.getLogger(__name__)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


Splits = Annotated[
    list[str] | None, typer.Option(help="Split of the dataset; may be given several times. [default: test]")
]


@app.command()
def generate(
    method: Annotated[str, typer.Argument(help="Name of the method.", show_default=False)],
    manifest: Manifest,
    out: Annotated[Path, typer.Option(help="Folder that gets images/, luma/ and index.csv.", show_default=False)],
    weights: Annotated[Path | None, typer.Option(help="Folder of the trained weights.")] = None,
    settings: Settings = "",
    split: Splits = None,
) -> None:
    """Fuse splits of a dataset: colour is kept, and an index with checksums is written last."""
    if method not in METHODS:
        raise UserError(f"generate: expected a method ({', '.join(METHODS)}), found {method!r}")
    entry = METHODS[method]
    dataset = manifest.parent.name
    values = settings_of(settings, stages.generate, dataset, method, only={"test": (dataset,), "run": (method,)})
    device = choose_device(values["device"], values["threads"])
    from decofuse.fusing.network import load_network
    from decofuse.fusing.split import fuse_split
    from decofuse.settings import FuseSettings, Views

    inputs = [manifest, *([weights / "weights.safetensors"] if weights else [])]
    with tracked(f"generate {dataset} {method}", values, inputs) as run:
        network = load_network(entry.build, method, entry.fusing_phases, weights)
        views = Views(**values[f"views.{dataset}.{method}"])
        fuse_split(
            network, manifest, split or ["test"], views, FuseSettings(**values[f"methods.{method}.fuse"]), out, device
        )
        run.artifact(out / "index.csv")
        for image in sorted((out / "images").iterdir())[:3]:
            run.artifact(image)


@app.command()
def fuse(
    out: Annotated[Path, typer.Option(help="File to write, or folder for NAME.png of each pair.", show_default=False)],
    weights: Annotated[Path | None, typer.Option(help="Folder of trained or imported weights.")] = None,
    method: Annotated[str | None, typer.Option(help="A method without training instead: average, laplacian.")] = None,
    visible: Annotated[str | None, typer.Option(help="Visible image, folder, 'pattern' or video.")] = None,
    infrared: Annotated[str | None, typer.Option(help="Infrared image, folder, 'pattern' or video.")] = None,
    source_a: Annotated[str | None, typer.Option(help="Other tasks: the first source.")] = None,
    source_b: Annotated[str | None, typer.Option(help="Other tasks: the second source.")] = None,
    task: Annotated[str, typer.Option(help="infrared-visible, medical, multi-exposure or multi-focus.")] = "",
    max_memory: Annotated[
        str, typer.Option(help="Limit such as 4GB; images that need more are fused in tiles.", show_default=False)
    ] = "",
    batch: Annotated[int, typer.Option(help="Pairs of one size fused at once; for GPUs.", min=1)] = 1,
    stretch: Annotated[
        bool | None,
        typer.Option(help="Stretch each result to the full range; left out: as published, never for videos."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Threads = 2,
) -> None:
    """Fuse images, folders or a pair of videos: any size, colour kept, 8 or 16 bits, in bounded memory.

    Folders and patterns are paired by name. Exit status 3: done, but some inputs were skipped, each named in a line.
    """
    first, second = sources_of(visible, infrared, source_a, source_b)
    served = task_of(task, visible)
    limit = _size(max_memory) if max_memory else None
    moving = _are_videos(first, second)
    from decofuse.fusing.inputs import find_pairs

    pairs, skipped = find_pairs(first, second)
    target = _target(out, pairs, moving)
    chosen = choose_device(device, threads)
    from decofuse import api

    stretch = False if stretch is None and moving else stretch  # else each frame would have a brightness of its own
    fuser = api.load(weights, method=method, task=served, device=chosen, stretch=stretch, max_memory=limit)
    if moving:
        from decofuse.fusing.video_pair import fuse_videos

        failed = []
        skipped += fuse_videos(fuser, pairs[0], target(pairs[0]), batch)
    else:
        from decofuse.fusing.files import fuse_files

        failed = fuse_files(fuser, pairs, target, batch)
    if len(failed) == len(pairs) == 1:
        raise UserError(failed[0])
    for line in (*skipped, *failed):
        _LOG.warning("%s", line)
    if len(failed) == len(pairs):
        raise UserError("expected a pair that can be fused, found none; see the warnings")
    _LOG.info("fused %d of %d, in %s", len(pairs) - len(failed), len(pairs), out)
    if skipped or failed:
        raise typer.Exit(SKIPPED)


def _size(text: str) -> int:
    """Bytes of a size such as 4GB, 1.5GiB or 800M."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmg]i?|)b?", text.strip().lower())
    if found is None or float(found[1]) == 0:
        raise UserError(f"--max-memory: expected a size such as 4GB or 512MiB, found {text!r}")
    return int(float(found[1]) * _UNITS[found[2]])


def _are_videos(first: str, second: str) -> bool:
    from decofuse.fusing.video import VIDEO_SUFFIXES

    videos = {Path(source).suffix.lower() in VIDEO_SUFFIXES for source in (first, second)}
    if len(videos) > 1:
        raise UserError(f"fuse: expected two videos or two of images, found {first} and {second}; give two of a kind")
    return videos == {True}


def _make_folder(folder: Path) -> None:
    """Make the folder of the results now: to find out later that it cannot be made would be a waste."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: expected a folder that can be made, found {error.strerror}; choose another"
        ) from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder}: expected a folder that can be written to, found one that cannot; choose another")


def _target(out: Path, pairs: list["Files"], moving: bool) -> Callable[["Files"], Path]:
    """Where the result of each pair goes: a file for a single one, or by name into a folder."""
    from decofuse.data.images import SUFFIXES
    from decofuse.fusing.video import CODECS

    suffixes = tuple(CODECS) if moving else SUFFIXES
    if out.suffix and not out.is_dir():
        if len(pairs) > 1:
            raise UserError(f"{out}: expected a folder for {len(pairs)} pairs, found the name of a file; give a folder")
        if out.suffix.lower() not in suffixes:
            raise UserError(f"{out}: expected a name that ends in one of {', '.join(suffixes)}; choose another")
    elif out.is_file():
        raise UserError(f"{out}: expected a folder, found a file; choose another name")

    def target(files: "Files") -> Path:
        return out if out.suffix and not out.is_dir() else out / f"{files.stem}{'.mkv' if moving else '.png'}"

    _make_folder(target(pairs[0]).parent)
    for files in pairs:
        if target(files).resolve() in (files.source_a.resolve(), files.source_b.resolve()):
            raise UserError(f"{target(files)}: expected a place of its own, found a source; choose another --out")
    return target
