"""Subcommands that score fused images and put the scores side by side."""

import os
from collections.abc import Sequence
from json import dumps, loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decofuse import stages
from decofuse.cli.app import SKIPPED, Manifest, Settings, Threads, app, settings_of, sources_of, tracked
from decofuse.errors import UserError
from decofuse.models.registry import METHODS

if TYPE_CHECKING:
    from decofuse.evaluation.settings import EvaluationSettings
    from decofuse.reports.results import Entry

Split = Annotated[str, typer.Option(help="Split of the dataset.")]


@app.command()
def score(
    manifest: Manifest,
    index: Annotated[Path, typer.Option(help="Index of the fused images.", show_default=False)],
    csv: Annotated[Path, typer.Option(help="Scores by image to write.", show_default=False)],
    json: Annotated[Path, typer.Option(help="Means and deviations to write.", show_default=False)],
    settings: Settings = "",
    split: Split = "test",
    threads: Threads = 1,
) -> None:
    """Score a split of a dataset of the workflow, by its manifest and the index of its fused images."""
    from decofuse.evaluation.settings import EvaluationSettings
    from decofuse.evaluation.split import score_split

    values = settings_of(settings, stages.evaluate)
    chosen = EvaluationSettings.model_validate_json(dumps(values["evaluation"]))
    with tracked(f"evaluate {manifest.parent.name} {index.parent.name}", values, [manifest, index]) as run:
        score_split(manifest, index, split, chosen, csv_out=csv, json_out=json, workers=threads)
        means = loads(json.read_text())["mean"]
        run.log(0, {name: value for name, value in means.items() if value is not None})
        run.artifact(csv)
        run.artifact(json)


@app.command()
def evaluate(
    fused: Annotated[
        list[str],
        typer.Option(help="Folder of fused images, or NAME=FOLDER; several are compared.", show_default=False),
    ],
    visible: Annotated[Path | None, typer.Option(help="Folder of visible images.")] = None,
    infrared: Annotated[Path | None, typer.Option(help="Folder of infrared images.")] = None,
    source_a: Annotated[Path | None, typer.Option(help="Other tasks: folder of the first sources.")] = None,
    source_b: Annotated[Path | None, typer.Option(help="Other tasks: folder of the second sources.")] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(help="File to write: .csv, .json, .md or .tex; may be given several times."),
    ] = None,
    metrics: Annotated[str, typer.Option(help="Names with commas between them, `usual` or `all`.")] = "usual",
    convention: Annotated[
        list[str] | None,
        typer.Option(help="`published`, `standard`, or METRIC=NAME for one; may be given several times."),
    ] = None,
    precision: Annotated[str, typer.Option(help="float64, or float32: faster, good to four digits.")] = "float64",
    workers: Annotated[int | None, typer.Option(help="Images scored at once; all cores when left out.", min=1)] = None,
) -> None:
    """Score folders of fused images against their sources, paired by name, and rank them if there are several.

    Exit code 3: done, but for images that a warning names.
    """
    sources = sources_of(visible, infrared, source_a, source_b)
    methods = _named(fused)
    settings = _evaluation(metrics, convention or [], precision)
    from decofuse.evaluation.folders import evaluate_folders
    from decofuse.reports import folders as forms

    outputs = out or []
    _check_outputs(outputs, list(forms.FORMS))
    found = evaluate_folders(*sources, methods, settings, workers=workers or _cores())
    for path in outputs:
        forms.write(path, found)
    if not outputs:
        print(forms.as_text(found), end="")
    if found.left_out:
        raise typer.Exit(SKIPPED)


def _cores() -> int:
    """Cores that this process may use; a cluster lends fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _named(fused: Sequence[str]) -> dict[str, Path]:
    """The folders by the name that was given to them, or by their own."""
    folders: dict[str, Path] = {}
    for text in fused:
        given, equals, rest = text.partition("=")
        named = equals and not Path(text).exists()
        name, folder = (given, rest) if named else (Path(text).resolve().name, text)
        if name in folders:
            raise UserError(f"--fused: expected different names, found {name} twice; give them as NAME=FOLDER")
        folders[name] = Path(folder)
    return folders


def _evaluation(metrics: str, conventions: Sequence[str], precision: str) -> "EvaluationSettings":
    from pydantic import ValidationError

    from decofuse.evaluation.settings import EvaluationSettings
    from decofuse.metrics import METRICS, USUAL

    names = {"usual": list(USUAL), "all": list(METRICS)}.get(metrics, [name.strip() for name in metrics.split(",")])
    single = dict(text.split("=", 1) for text in conventions if "=" in text)
    common = [text for text in conventions if "=" not in text] or ["published"]
    if len(common) > 1:
        raise UserError(f"--convention: expected published or standard once, found {', '.join(common)}")
    value = {"metrics": names, "convention": common[0], "conventions": single, "precision": precision}
    try:
        return EvaluationSettings.model_validate_json(dumps(value))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"--metrics, --convention: {first['msg'].removeprefix('Value error, ')}") from error


def _check_outputs(paths: Sequence[Path], suffixes: Sequence[str]) -> None:
    """Refuse what could not be written, before any work is done."""
    for path in paths:
        if path.suffix.lower() not in suffixes:
            raise UserError(f"--out: {path}: expected a name that ends with {', '.join(suffixes)}; choose one of these")
        if not path.parent.is_dir() or path.is_dir():
            raise UserError(f"--out: {path}: expected a file in a folder that is there, found none; make the folder")
        if not os.access(path.parent, os.W_OK):
            raise UserError(f"--out: {path}: expected a folder that can be written to; choose another")
        if paths.count(path) > 1:
            raise UserError(f"--out: {path}: expected each file once, found it twice; leave one out")


@app.command()
def table(
    scores: Annotated[list[Path], typer.Argument(help="DATASET/METHOD/metrics.json files.", show_default=False)],
    csv: Annotated[Path, typer.Option(help="Table to write, one row a score.", show_default=False)],
    json: Annotated[Path, typer.Option(help="Scores by dataset, method and metric to write.", show_default=False)],
    markdown: Annotated[Path, typer.Option(help="Table for people to write.", show_default=False)],
    settings: Settings = "",
) -> None:
    """Gather the scores of several methods and datasets in one table."""
    from decofuse.reports.tables import summarise

    values = settings_of(settings, stages.table)
    with tracked("table", values, scores) as run:
        summarise(_entries(scores), csv, json, markdown)
        for path in (csv, json, markdown):
            run.artifact(path)


@app.command()
def comparison(
    scores: Annotated[list[Path], typer.Argument(help="DATASET/METHOD/metrics.json files.", show_default=False)],
    published: Annotated[Path, typer.Option(help="Published numbers.", show_default=False)],
    csv: Annotated[Path, typer.Option(help="CSV to write, a row a number.", show_default=False)],
    markdown: Annotated[Path, typer.Option(help="Page to write as Markdown.", show_default=False)],
    html: Annotated[Path, typer.Option(help="Page to write as HTML.", show_default=False)],
    settings: Settings = "",
) -> None:
    """Put the scores of several methods and datasets beside published numbers, on one page."""
    from decofuse.published import read_published
    from decofuse.reports.benchmark import Run, write_benchmark
    from decofuse.reports.differences import Difference
    from decofuse.reports.results import read_results

    values = settings_of(settings, stages.comparison)
    with tracked("comparison", values, [*scores, published]) as run:
        differs = {name: Difference(its["reduced"], tuple(its["words"])) for name, its in values["differences"].items()}
        about = Run(values["preset"], values["seed"], differs)
        results, numbers = read_results(_entries(scores)), read_published(published)
        write_benchmark(results, numbers, about, csv_out=csv, markdown_out=markdown, html_out=html)
        for path in (csv, markdown, html):
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


def _entries(scores: Sequence[Path]) -> "list[Entry]":
    """What the files are the averages of: their folders say it."""
    from decofuse.reports.results import Entry

    return [Entry(path.parent.name, path.parent.parent.name, path) for path in scores]
