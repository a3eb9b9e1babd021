"""Subcommands of segmentation on fused images, and of the rounds in which it teaches the fusion network."""

import importlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from decofuse import stages
from decofuse.cli.app import Manifest, Settings, app, choose_device, settings_of, tracked
from decofuse.cli.processes import Processes
from decofuse.cli.training import Register, SaveEvery, run_job
from decofuse.data.dataset import FUSION_TASKS, SOURCES
from decofuse.errors import UserError
from decofuse.models.registry import METHODS

if TYPE_CHECKING:
    from decofuse.data.classes import ClassTable
    from decofuse.segmentation.images import Input, LabelledImages
    from decofuse.segmentation.scoring import Prediction
    from decofuse.training.stage import Job

Name = Annotated[
    str, typer.Argument(help="visible, infrared, source_a, source_b, or the name of what fused.", show_default=False)
]
Index = Annotated[Path | None, typer.Option(help="Index of the fused images; none for a source.")]
_LOG = logging.getLogger(__name__)
_SOURCES = {name for task in FUSION_TASKS for name in SOURCES[task]}


@app.command()
def segment(
    name: Name,
    manifest: Manifest,
    out: Annotated[Path, typer.Option(help="Folder that gets weights and curves.", show_default=False)],
    index: Index = None,
    number: Annotated[int, typer.Option(help="Which of several trainings.", min=0)] = 0,
    settings: Settings = "",
    save_every: SaveEvery = 30.0,
    register: Register = False,
    processes: Processes = 1,
) -> None:
    """Train a segmentation network on fused images or a source. Killed at any moment, the same command goes on."""
    values = settings_of(settings, stages.segment)
    from decofuse.segmentation.settings import SegmentationSettings

    given, classes = _input(name, manifest, index), _classes(values, manifest)
    parts = {part: values[f"segmentation.{part}"] for part in ("network", "training", "predict_fit")}
    chosen = SegmentationSettings.model_validate_json(json.dumps(parts))

    def make() -> "Job":
        from decofuse.segmentation.training import segmentation_job

        return segmentation_job(
            chosen, classes.names, given, number=number, seed=values["seed"], code=values["code.segment"]
        )

    row = run_job(
        f"segment {name} {number}",
        values,
        make,
        data=given.files,
        start=None,
        out=out,
        save_every=save_every,
        register=register,
        processes=processes,
    )
    _LOG.info("%s: loss %.4f after %d epochs, in %s", name, row["loss"], row["epoch"], out)


@app.command()
def predict(
    name: Name,
    manifest: Manifest,
    weights: Annotated[list[Path], typer.Option(help="Folder of a training; may be given several times.")],
    out: Annotated[Path, typer.Option(help="Folder that gets labels/ and scores.json.", show_default=False)],
    index: Index = None,
    settings: Settings = "",
    split: Annotated[str, typer.Option(help="Split of the dataset.")] = "test",
) -> None:
    """Predict the label maps of a split with the networks of one or more trainings, and score them."""
    values = settings_of(settings, stages.predict, manifest.parent.name)
    device = choose_device(values["device"], values["threads"])
    from decofuse.segmentation.images import LabelledImages
    from decofuse.segmentation.segmenter import load_segmenter

    given, classes = _input(name, manifest, index), _classes(values, manifest)
    files = [folder / _weights_file(values) for folder in weights]
    networks = [load_segmenter(path, len(classes)).to(device) for path in files]
    images = LabelledImages(manifest, index, split, given.source, classes.names)

    fit = values["segmentation.predict_fit"]

    def predictions() -> "Iterator[Prediction]":
        for position, pair in enumerate(images.pairs):
            rgb = images.rgb(position)
            yield {number: network.predict(rgb, fit, pair.stem) for number, network in enumerate(networks)}

    _score(name, images, predictions(), classes, out, values, [*given.files, *files])


@app.command()
def predict_head(
    method: Annotated[str, typer.Argument(help="Method whose network segments too.", show_default=False)],
    manifest: Manifest,
    weights: Annotated[Path, typer.Option(help="Folder of its trained weights.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder that gets labels/ and scores.json.", show_default=False)],
    settings: Settings = "",
    split: Annotated[str, typer.Option(help="Split of the dataset.")] = "test",
) -> None:
    """Score the label maps that a fusion network predicts by itself."""
    able = [name for name, entry in METHODS.items() if entry.segments]
    if method not in able:
        raise UserError(f"predict-head: expected a method that segments ({', '.join(able)}), found {method!r}")
    dataset = manifest.parent.name
    values = settings_of(settings, stages.predict_head, dataset, method)
    device = choose_device(values["device"], values["threads"])
    from decofuse.fusing.network import load_network
    from decofuse.segmentation.head import Segmenting, predict_pair
    from decofuse.segmentation.images import LabelledImages
    from decofuse.settings import Views

    entry, classes = METHODS[method], _classes(values, manifest)
    network = load_network(entry.build, method, entry.fusing_phases, weights).to(device).eval()
    segmenting = cast(Segmenting, network)
    if segmenting.classes != len(classes):
        raise UserError(
            f"{weights}: expected a head for {len(classes)} classes, found one for {segmenting.classes}; "
            "train the method on labels of the same classes"
        )
    views = Views(**values[f"views.{dataset}.{method}"])
    images = LabelledImages(manifest, None, split, "visible", classes.names)

    def predictions() -> "Iterator[Prediction]":
        for position in range(len(images)):
            visible, infrared = (images.image(position, role) for role in ("visible", "infrared"))
            yield {0: predict_pair(segmenting, visible, infrared, views, device)}

    _score(f"{method}-head", images, predictions(), classes, out, values, [manifest, weights / "weights.safetensors"])


@app.command()
def meta(
    method: Annotated[str, typer.Argument(help="Name of the method.", show_default=False)],
    round_: Annotated[int, typer.Option("--round", help="Number of the round.", min=1, show_default=False)],
    manifest: Manifest,
    start: Annotated[Path, typer.Option(help="Folder of the weights that the round starts from.", show_default=False)],
    teacher: Annotated[Path, typer.Option(help="Folder of the segmentation training.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder that gets weights and curves.", show_default=False)],
    settings: Settings = "",
    save_every: SaveEvery = 30.0,
    register: Register = False,
    processes: Processes = 1,
) -> None:
    """Train the meta phase of a round. Killed at any moment, the same command goes on where it stood."""
    able = [name for name, entry in METHODS.items() if entry.meta]
    if method not in able:
        raise UserError(f"meta: expected a method with a meta phase ({', '.join(able)}), found {method!r}")
    values = settings_of(settings, stages.meta, method)
    from decofuse.training.meta_phase import Method, meta_job

    entry = METHODS[method]
    taught_by = teacher / _weights_file(values)
    interface = importlib.import_module(entry.meta).META
    section = entry.settings.model_fields["meta"].annotation

    def make() -> "Job":
        return meta_job(
            Method(method, entry.build, values[f"methods.{method}.network"], interface, entry.fusing_phases),
            section.model_validate_json(json.dumps(values[f"methods.{method}.meta"])),  # type: ignore[union-attr]
            taught_by,
            len(_classes(values, manifest)),
            manifest,
            round_,
            values["seed"],
            values[f"code.meta.{method}"],
        )

    row = run_job(
        f"meta {method} {round_}",
        values,
        make,
        data=[manifest],
        start=start,
        out=out,
        save_every=save_every,
        register=register,
        processes=processes,
        inputs=[taught_by],
    )
    _LOG.info("%s, round %d: loss %.4f after %d epochs, in %s", method, round_, row["loss"], row["epoch"], out)


def _score(
    name: str,
    images: "LabelledImages",
    predictions: "Iterator[Prediction]",
    classes: "ClassTable",
    out: Path,
    values: dict[str, Any],
    inputs: list[Path],
) -> None:
    from decofuse.segmentation.scoring import SCORES, score_predictions

    dataset = images.path.parent.name
    with tracked(f"predict {dataset} {name}", values, inputs) as run:
        scores = score_predictions(images, predictions, (name, dataset), classes, out)
        run.log(0, {"mIoU": scores.mean.mIoU})
        run.artifact(out / SCORES)
        run.confusion(out / SCORES)
    _LOG.info("%s on %s: mIoU %.4f", name, dataset, scores.mean.mIoU)


def _input(name: str, manifest: Path, index: Path | None) -> "Input":
    from decofuse.segmentation.images import FUSED, Input

    if (name in _SOURCES) != (index is None):
        raise UserError(f"{name}: expected --index for fused images, and none for a source; give the one that fits")
    return Input(manifest, index, FUSED if index else name)


def _classes(values: dict[str, Any], manifest: Path) -> "ClassTable":
    from decofuse.data.classes import ClassTable

    name = manifest.parent.name
    table = values.get(f"labels.{name}")
    if table is None:
        known = ", ".join(key.removeprefix("labels.") for key in values if key.startswith("labels."))
        raise UserError(
            f"{manifest}: expected the manifest of a dataset whose classes params.yaml tells ({known}), found the "
            f"folder {name}; name it under train"
        )
    return ClassTable(tuple(table["names"]), tuple(tuple(colour) for colour in table["colours"]))


def _weights_file(values: dict[str, Any]) -> str:
    """Name of the weights that predict and teach."""
    from decofuse.training.checkpoint import BEST, WEIGHTS

    return BEST if values["segmentation.weights"] == "best" else WEIGHTS


@app.command()
def overlays(
    scores: Annotated[list[Path], typer.Argument(help="INPUT/scores.json files.", show_default=False)],
    manifest: Manifest,
    out: Annotated[Path, typer.Option(help="PNG to write.", show_default=False)],
    index: Annotated[list[Path] | None, typer.Option(help="INPUT/index.csv of fused images.")] = None,
    settings: Settings = "",
    split: Annotated[str, typer.Option(help="Split of the dataset.")] = "test",
) -> None:
    """Draw predicted label maps over the images that they were predicted from, for a few pairs."""
    values = settings_of(settings, stages.overlays, manifest.parent.name)
    from decofuse.grid import spread
    from decofuse.reports.segmentation import title_of
    from decofuse.segmentation.overlay import draw_overlays
    from decofuse.segmentation.scoring import Shown

    classes = _classes(values, manifest)
    indices = {path.parent.name: path for path in index or []}
    names = [path.parent.name for path in scores]
    with tracked(f"overlays {manifest.parent.name}", values, [manifest, *scores]) as run:
        shown = Shown(manifest, split, {path.parent.name: path.parent for path in scores}, indices)
        rows = (shown.row(position) for position in spread(len(shown), values["grid_rows"]))
        draw_overlays(rows, ["labels", *map(title_of, names)], classes, out)
        run.artifact(out)


@app.command()
def segmentation_report(
    scores: Annotated[list[Path], typer.Argument(help="DATASET/INPUT/scores.json files.", show_default=False)],
    csv: Annotated[Path, typer.Option(help="CSV to write, a row a number.", show_default=False)],
    json: Annotated[Path, typer.Option(help="Mean mIoU by dataset and input to write.", show_default=False)],
    markdown: Annotated[Path, typer.Option(help="Page to write as Markdown.", show_default=False)],
    html: Annotated[Path, typer.Option(help="Page to write as HTML.", show_default=False)],
    chart: Annotated[Path, typer.Option(help="Chart to write as PNG.", show_default=False)],
    overlays: Annotated[list[Path] | None, typer.Option(help="overlays-DATASET.png to show.")] = None,
    settings: Settings = "",
) -> None:
    """Compare the inputs of segmentation: tables, a chart, a page."""
    from decofuse.reports.segmentation import write_segmentation
    from decofuse.segmentation.scores import read_scores

    values = settings_of(settings, stages.segmentation_report)
    with tracked("segmentation report", values, scores) as run:
        write_segmentation(
            [read_scores(path) for path in scores],
            {path.stem.removeprefix("overlays-"): path for path in overlays or []},
            values["preset"],
            csv_out=csv,
            json_out=json,
            markdown_out=markdown,
            html_out=html,
            chart_out=chart,
        )
        for path in (csv, json, markdown, html, chart):
            run.artifact(path)
