"""Scoring folders of images from anywhere: one method, or several side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from decofuse.data.images import inspect_image
from decofuse.errors import UserError
from decofuse.evaluation.matching import LeftOut, Scene, match, warn
from decofuse.evaluation.ranking import Ranking, rank
from decofuse.evaluation.scoring import averages, in_parallel, metrics_of, read_levels, score_image
from decofuse.evaluation.settings import EvaluationSettings, Precision
from decofuse.metrics import Metric
from decofuse.metrics.scores import Average
from decofuse.progress import progress
from decofuse.text import printable


@dataclass(frozen=True)
class Evaluation:
    """Scores of fused images of one or several methods.

    Attributes:
        metrics: what was computed, by name.
        values: method -> image -> metric -> value, for every fused image that could be scored. A value that is missing
            belongs to a metric that needs larger images; one that is not finite is so by the metric's definition.
        images: names of the images that all methods have; the averages are over these, and `values` may have more.
        averages: method -> metric -> mean, population standard deviation, and how many values are finite.
        ranking: the methods by their means.
        left_out: what was not scored, and why.
    """

    metrics: dict[str, Metric]
    values: dict[str, dict[str, dict[str, float]]]
    images: tuple[str, ...]
    averages: dict[str, dict[str, Average]]
    ranking: Ranking
    left_out: tuple[LeftOut, ...]


def evaluate_folders(
    source_a: Path,
    source_b: Path,
    fused: Mapping[str, Path],
    settings: EvaluationSettings | None = None,
    *,
    workers: int = 1,
) -> Evaluation:
    """Score fused images against their sources, matched by name (the suffix may differ, case counts).

    Images are read as everywhere in the project and scored as grey levels; the values are those that the workflow
    gives the same images, to the last digit, for any number of workers. An image that cannot be scored is left out, and
    a warning says why.

    Args:
        source_a: folder of the visible images, or of the first sources of another task.
        source_b: folder of the infrared images, or of the second sources.
        fused: folder of the fused images by the name of the method.
        settings: metrics and their conventions; the usual ones when left out.
        workers: scenes scored at the same time, one thread each; memory grows with it and not with the images.

    Raises:
        UserError: a folder is missing or has no images, nothing matches, no image can be scored for all methods, or an
            unknown metric or convention.
    """
    settings = settings or EvaluationSettings()
    metrics = metrics_of(settings)
    scenes, left = match(source_a, source_b, fused)
    values: dict[str, dict[str, dict[str, float]]] = {method: {} for method in fused}
    scored = in_parallel(lambda scene: _score(scene, metrics, settings.precision), scenes, workers)
    for scene, (rows, faults) in zip(
        scenes, progress(scored, "evaluate", total=len(scenes), unit="image"), strict=True
    ):
        left += faults
        for method, row in rows.items():
            values[method][scene.name] = row
    warn(left)
    images = tuple(scene.name for scene in scenes if all(scene.name in rows for rows in values.values()))
    if not images:
        counts = ", ".join(f"{printable(method)} {len(rows)}" for method, rows in values.items())
        raise UserError(f"expected images that can be scored for every method, found none ({counts}); see the warnings")
    found = {method: averages(metrics, (rows[image] for image in images)) for method, rows in values.items()}
    means = {method: {name: average.mean for name, average in its.items()} for method, its in found.items()}
    ranking = rank(means, {name: metric.direction for name, metric in metrics.items()})
    return Evaluation(metrics, values, images, found, ranking, tuple(left))


def _score(
    scene: Scene, metrics: Mapping[str, Metric], precision: Precision
) -> tuple[dict[str, dict[str, float]], list[LeftOut]]:
    """Values of a scene by method and metric, and what could not be scored; its sources are read once."""
    try:
        sources = [_read(path, precision) for path in scene.sources]
        _same_size(scene.sources[1], sources[1], scene.sources[0], sources[0], "register the pair, or remove it")
    except UserError as error:
        return {}, [LeftOut(scene.name, "", "", printable(str(error)))]
    rows, left = {}, []
    for method, path in scene.fused.items():
        try:
            fused = _read(path, precision)
            _same_size(path, fused, scene.sources[0], sources[0], "resize it, or crop the sources")
        except UserError as error:
            left.append(LeftOut(scene.name, method, "", printable(str(error))))
        else:
            rows[method] = score_image(metrics, fused, *sources)
    side = min(sources[0].shape[-2:])
    for name, metric in metrics.items():
        if side < metric.minimum_side:
            reason = f"{name}: expected images of at least {metric.minimum_side}x{metric.minimum_side} pixels"
            left.append(LeftOut(scene.name, "", name, reason))
    return rows, left


def _read(path: Path, precision: Precision) -> Tensor:
    inspect_image(path)  # strict, where decoding alone would fill up a file that is cut off
    return read_levels(path, precision)


def _same_size(path: Path, levels: Tensor, other: Path, expected: Tensor, remedy: str) -> None:
    if levels.shape != expected.shape:
        wanted, found = (f"{image.shape[1]}x{image.shape[2]}" for image in (expected, levels))
        raise UserError(f"{path}: expected {wanted} pixels (height x width) as {other} has, found {found}; {remedy}")
