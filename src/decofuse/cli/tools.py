"""Subcommands around the workflow: config, parity, import-weights."""

import importlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from decofuse import config as model
from decofuse import stages
from decofuse.cli.app import PARAMS, Settings, app, settings_of
from decofuse.errors import UserError
from decofuse.models.registry import METHODS, Method


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
    golden: Annotated[
        Path, typer.Option(help="Golden vectors of a method (.npz), or a folder of METHOD.npz.", show_default=False)
    ],
    manifest: Annotated[
        Path | None,
        typer.Option(help="Names and shapes of upstream's tensors; left out: the .json beside the vectors."),
    ] = None,
    method: Annotated[str, typer.Option(help="Name of the method; left out: that of the file, all of a folder.")] = "",
) -> None:
    """Compare methods with the published code, key by key: features, images, losses, gradients."""
    from decofuse.parity import FORMS, run_parity

    names = [method] if method else [name for name in FORMS if (golden / f"{name}.npz").is_file()]
    if golden.is_dir() and not names:
        raise UserError(f"{golden}: expected golden vectors of {', '.join(FORMS)} (METHOD.npz), found none")
    passed = True
    for name in names if golden.is_dir() else [method or golden.stem]:
        vector = golden / f"{name}.npz" if golden.is_dir() else golden
        passed &= run_parity(name, vector, manifest or vector.with_suffix(".json"))
    if not passed:
        raise typer.Exit(1)


@app.command()
def import_weights(
    file: Annotated[Path, typer.Argument(help="Checkpoint of the published code.", show_default=False)],
    method: Annotated[str, typer.Option(help="Name of the method that it is of.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder that gets weights.safetensors.", show_default=False)],
    network: Annotated[
        str, typer.Option(help="The network's settings as JSON, where they are not the defaults.", show_default=False)
    ] = "{}",
) -> None:
    """Turn the authors' published weights into this project's, for `generate METHOD --weights OUT`."""
    trained = [name for name, entry in METHODS.items() if entry.phases]
    if method not in trained:
        raise UserError(f"import-weights: expected a method with training ({', '.join(trained)}), found {method!r}")
    entry = METHODS[method]
    settings = _network_settings(entry, method, network)
    from decofuse.training.import_weights import import_weights as run

    path = run(
        file,
        out,
        method=method,
        phase=list(entry.phases)[-1],
        build=entry.build,
        network=settings,
        upstream=importlib.import_module(entry.module).UPSTREAM,
    )
    print(path)


def _network_settings(entry: Method, method: str, given: str) -> dict[str, Any]:
    """The keyword arguments of a method's network: the defaults with what is given in their place."""
    section: Any = entry.settings.model_fields["network"].annotation
    try:
        settings: dict[str, Any] = section.model_validate_json(given).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("--network", *first["loc"])))
        raise UserError(
            f"{where}: {first['msg'].removeprefix('Value error, ')}, found {str(first['input'])[:60]!r}; "
            f"the settings of {method} are {', '.join(section.model_fields)}"
        ) from error
    return settings
