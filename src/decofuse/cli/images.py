"""Subcommands that fuse images and score them."""

import importlib
from json import loads
from pathlib import Path
from typing import Annotated

import typer

from decofuse import stages
from decofuse.cli.app import Manifest, Settings, Threads, app, choose_device, settings_of, tracked
from decofuse.errors import UserError
from decofuse.models.registry import METHODS

Split = Annotated[str, typer.Option(help="Split of the dataset.")]


@app.command()
def generate(
    method: Annotated[str, typer.Argument(help="Name of the method.", show_default=False)],
    manifest: Manifest,
    out: Annotated[Path, typer.Option(help="Folder that gets images/, luma/ and index.csv.", show_default=False)],
    weights: Annotated[Path | None, typer.Option(help="Folder of the trained weights.")] = None,
    settings: Settings = "",
    split: Split = "test",
) -> None:
    """Fuse a split of a dataset: colour is kept, and an index with checksums is written last."""
    if method not in METHODS:
        raise UserError(f"generate: expected a method ({', '.join(METHODS)}), found {method!r}")
    entry = METHODS[method]
    dataset = manifest.parent.name
    values = settings_of(settings, stages.generate, dataset, method, only={"test": (dataset,), "run": (method,)})
    device = choose_device(values["device"], values["threads"])
    from decofuse.fusing.fuse import fuse_split
    from decofuse.fusing.network import load_network
    from decofuse.settings import FuseSettings, Views

    inputs = [manifest, *([weights / "weights.safetensors"] if weights else [])]
    with tracked(f"generate {dataset} {method}", values, inputs) as run:
        build = getattr(importlib.import_module(entry.module), entry.network)
        network = load_network(build, method, entry.last_phase, weights)
        views = Views(**values[f"views.{dataset}.{method}"])
        fuse_split(network, manifest, split, views, FuseSettings(**values[f"methods.{method}.fuse"]), out, device)
        run.artifact(out / "index.csv")
        for image in sorted((out / "images").iterdir())[:3]:
            run.artifact(image)


@app.command()
def evaluate(
    manifest: Manifest,
    index: Annotated[Path, typer.Option(help="Index of the fused images.", show_default=False)],
    csv: Annotated[Path, typer.Option(help="Scores by image to write.", show_default=False)],
    json: Annotated[Path, typer.Option(help="Means and deviations to write.", show_default=False)],
    settings: Settings = "",
    split: Split = "test",
    threads: Threads = 1,
) -> None:
    """Score fused images against their sources: EN SD SF MI SCD VIF Qabf SSIM."""
    from decofuse.evaluation import evaluate as run_stage
    from decofuse.settings import EvaluationSettings

    values = settings_of(settings, stages.evaluate)
    with tracked(f"evaluate {manifest.parent.name} {index.parent.name}", values, [manifest, index]) as run:
        run_stage(
            manifest,
            index,
            split,
            EvaluationSettings(**values["evaluation"]),
            csv_out=csv,
            json_out=json,
            workers=threads,
        )
        means = loads(json.read_text())["mean"]
        run.log(0, {name: value for name, value in means.items() if value is not None})
        run.artifact(csv)
        run.artifact(json)


@app.command()
def table(
    scores: Annotated[list[Path], typer.Argument(help="DATASET/METHOD/metrics.json files.", show_default=False)],
    csv: Annotated[Path, typer.Option(help="Table to write, one row a score.", show_default=False)],
    json: Annotated[Path, typer.Option(help="Scores by dataset, method and metric to write.", show_default=False)],
    markdown: Annotated[Path, typer.Option(help="Table for people to write.", show_default=False)],
    settings: Settings = "",
) -> None:
    """Gather the scores of several methods and datasets in one table."""
    from decofuse.tables import Entry, summarise

    values = settings_of(settings, stages.table)
    with tracked("table", values, scores) as run:
        summarise([Entry(path.parent.name, path.parent.parent.name, path) for path in scores], csv, json, markdown)
        for path in (csv, json, markdown):
            run.artifact(path)


@app.command()
def grid(
    indices: Annotated[list[Path], typer.Argument(help="METHOD/index.csv files.", show_default=False)],
    manifest: Manifest,
    out: Annotated[Path, typer.Option(help="PNG to write.", show_default=False)],
    settings: Settings = "",
    split: Split = "test",
) -> None:
    """Put sources and fused images of a few pairs side by side in one picture."""
    from decofuse.grid import draw_grid

    values = settings_of(settings, stages.grid)
    with tracked(f"grid {manifest.parent.name}", values, [manifest, *indices]) as run:
        columns = [(METHODS[path.parent.name].title, path) for path in indices]
        draw_grid(manifest, split, columns, out, values["grid_rows"])
        run.artifact(out)
