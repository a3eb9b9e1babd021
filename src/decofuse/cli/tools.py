"""Subcommands around the workflow: config, parity."""

import json
from pathlib import Path
from typing import Annotated

import typer

from decofuse import config as model
from decofuse import stages
from decofuse.cli.app import PARAMS, Settings, app, settings_of
from decofuse.models.registry import METHODS


@app.command()
def config(
    preset: Annotated[str, typer.Option(help="Preset to use instead of the one in params.yaml.")] = "",
    out: Annotated[Path | None, typer.Option(help="File to write; left out: standard output.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of params.yaml instead.")] = False,
    settings: Settings = "",
) -> None:
    """Check params.yaml and show every parameter of the run, defaults and preset included."""
    import yaml

    from decofuse.files import write_text

    if schema:
        text = json.dumps(model.schema(), indent=2) + "\n"
    else:
        resolved = (
            settings_of(settings, stages.resolve) if settings else stages.resolve(model.load(PARAMS, preset or None))
        )
        text = yaml.safe_dump(resolved, sort_keys=False, width=120)
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)


@app.command()
def parity(
    golden: Annotated[Path, typer.Option(help="Golden vectors of the method (.npz).", show_default=False)],
    manifest: Annotated[Path, typer.Option(help="Names and shapes of upstream's tensors.", show_default=False)],
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.", show_default=False)],
) -> None:
    """Compare a method with the published code, key by key: features, images, losses, gradients."""
    from decofuse.parity import run_parity

    if not run_parity(method, golden, manifest):
        raise typer.Exit(1)
