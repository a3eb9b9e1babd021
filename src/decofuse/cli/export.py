"""Subcommand that turns a method into an ONNX file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decofuse.cli.app import Threads, app, choose_device, sources_of, task_of
from decofuse.errors import UserError
from decofuse.models.registry import METHODS

if TYPE_CHECKING:
    from decofuse.fusing.fuse import Sources

SUFFIX = ".onnx"


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="File to write, NAME.onnx.", show_default=False)],
    weights: Annotated[Path | None, typer.Option(help="Folder of trained or imported weights.")] = None,
    method: Annotated[str | None, typer.Option(help="A method without training instead: average.")] = None,
    visible: Annotated[Path | None, typer.Option(help="Visible image to compare on.")] = None,
    infrared: Annotated[Path | None, typer.Option(help="Infrared image to compare on.")] = None,
    source_a: Annotated[Path | None, typer.Option(help="Other tasks: the first source.")] = None,
    source_b: Annotated[Path | None, typer.Option(help="Other tasks: the second source.")] = None,
    task: Annotated[str, typer.Option(help="infrared-visible, medical, multi-exposure or multi-focus.")] = "",
    threads: Threads = 2,
) -> None:
    """Export a method to ONNX: written only if ONNX Runtime fuses the given pair as PyTorch does.

    Takes up to some minutes. docs/onnx.md says what the file holds and which sizes it takes.
    """
    paths, served = sources_of(visible, infrared, source_a, source_b), task_of(task, visible)
    _check_target(out)
    device = choose_device("cpu", threads)
    sources = _read(*paths)
    from decofuse import api

    fuser = api.load(weights, method=method, task=served, device=device)
    from decofuse.files import sha256
    from decofuse.fusing.network import method_of
    from decofuse.fusing.onnx_export import export_onnx
    from decofuse.training.checkpoint import WEIGHTS, load_weights

    name = method_of(weights) if weights else str(method)
    axes = METHODS[name].onnx
    if axes is None:
        raise UserError(
            f"{name}: expected a method of which other runtimes give the same, found one that jumps at ties"
        )
    height, width = sources[0].shape[:2]
    if min(height, width) < fuser.network.smallest:
        raise UserError(
            f"{paths[0]}: expected sides of at least {fuser.network.smallest} pixels, found {width}x{height}; "
            "give a larger pair"
        )
    about = {"method": name, "task": served}
    if weights:
        phase = load_weights(weights / WEIGHTS, name, METHODS[name].fusing_phases)[1].phase
        about |= {"phase": phase, "weights_sha256": sha256(weights / WEIGHTS)}
    difference = export_onnx(fuser, sources, axes, about, out)
    size = "any size" if "height" in axes else f"{width}x{height} pixels (width x height)"
    print(f"{out}: {name}, {size}, at most {difference:.1e} from PyTorch on {paths[0].name} and {paths[1].name}")


def _check_target(out: Path) -> None:
    """Refuse now what could not be written after minutes."""
    if out.suffix.lower() != SUFFIX or out.is_dir():
        raise UserError(f"{out}: expected the name of a file that ends in {SUFFIX}, found another; choose one")
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"{out}: expected a place that can be written to, found that {folder} cannot; choose another")


def _read(first: Path, second: Path) -> "Sources":
    from decofuse.data.images import inspect_image, read_pixels

    of_first, of_second = inspect_image(first), inspect_image(second)
    if (of_first.height, of_first.width) != (of_second.height, of_second.width):
        raise UserError(
            f"{second}: expected {of_first.width}x{of_first.height} pixels (width x height) as {first} has, found "
            f"{of_second.width}x{of_second.height}; register the two"
        )
    return read_pixels(first), read_pixels(second)
