"""Scoring a split of a dataset: the stage of the workflow, from manifest and index to values and averages."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from decofuse.data.manifest import Manifest, Pair
from decofuse.errors import UserError
from decofuse.evaluation.scoring import Row, averages, in_parallel, metrics_of, read_levels, score_image
from decofuse.evaluation.settings import EvaluationSettings, Precision
from decofuse.files import write_json, write_text
from decofuse.fusing.index import FusedImage, FusedIndex
from decofuse.metrics import Metric
from decofuse.progress import progress
from decofuse.text import listed

logger = logging.getLogger(__name__)


def score_split(
    manifest_path: Path,
    index_path: Path,
    split: str,
    settings: EvaluationSettings,
    *,
    csv_out: Path,
    json_out: Path,
    workers: int,
) -> None:
    """Score the fused image of every pair of a split by every metric, as stored in 8 bits.

    The CSV has a row a pair in manifest order: stem and metrics, 9 significant digits; a cell is empty where a pair is
    too small for the metric, which a warning says. The JSON has the number of
    images, the convention of each metric, and mean and population standard deviation over the **finite** values with
    their number (null where there is none). Both are the same to the byte for any number of workers.

    Args:
        manifest_path: the dataset; it must have two sources.
        index_path: the fused images; rows of other splits are ignored.
        split: the split to score.
        settings: metrics and their conventions.
        csv_out: where the values go.
        json_out: where the averages go.
        workers: pairs scored at the same time, one thread each; memory grows with it and not with the split.

    Raises:
        UserError: no two sources, no pairs, a fused image missing or changed, or sizes that differ.
    """
    manifest, index = Manifest.read(manifest_path), FusedIndex.read(index_path)
    pairs = manifest.split(split)
    if len(manifest.sources) != 2:
        raise UserError(
            f"{manifest_path}: expected two sources, found {list(manifest.sources)}; use a dataset of pairs"
        )
    if not pairs:
        raise UserError(f"{manifest_path}: expected pairs of split {split}, found none; choose another split")
    metrics = metrics_of(settings)
    _warn_of_small(manifest_path, pairs, metrics)
    images = [index.image(pair.stem) for pair in pairs]

    def values(item: tuple[Pair, FusedImage]) -> Row:
        pair, image = item
        paths = [image.luma_path(), *(pair.path(source) for source in manifest.sources)]
        return score_image(metrics, *(_read(path, pair, settings.precision) for path in paths))

    scored = in_parallel(values, zip(pairs, images, strict=True), workers)
    rows = list(progress(scored, "score", total=len(pairs), unit="image"))
    _write_values(csv_out, pairs, list(metrics), rows)
    write_json(json_out, _averages(metrics, rows))


def _read(path: Path, pair: Pair, precision: Precision) -> Tensor:
    levels = read_levels(path, precision)
    if levels.shape[1:] != (pair.height, pair.width):
        raise UserError(
            f"{path}: expected {pair.height}x{pair.width} pixels as the manifest says of {pair.stem}, "
            f"found {levels.shape[1]}x{levels.shape[2]}; make the file again"
        )
    return levels


def _warn_of_small(manifest_path: Path, pairs: Sequence[Pair], metrics: Mapping[str, Metric]) -> None:
    for name, metric in metrics.items():
        side = metric.minimum_side
        small = [pair.stem for pair in pairs if min(pair.height, pair.width) < side]
        if small:
            logger.warning(
                "%s: expected at least %dx%d pixels for %s, found less; no %s of: %s",
                *(manifest_path, side, side, name, name, listed(small)),
            )


def _write_values(path: Path, pairs: Sequence[Pair], names: Sequence[str], rows: Sequence[Row]) -> None:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["stem", *names])
    table.writerows([pair.stem, *(row.get(name, "") for name in names)] for pair, row in zip(pairs, rows, strict=True))
    write_text(path, out.getvalue())


def _averages(metrics: Mapping[str, Metric], rows: Sequence[Row]) -> dict[str, Any]:
    found = averages(metrics, rows)
    return {
        "images": len(rows),
        "conventions": {name: metric.convention for name, metric in metrics.items()},
        "mean": {name: average.mean for name, average in found.items()},
        "std": {name: average.std for name, average in found.items()},
        "finite": {name: average.finite for name, average in found.items()},
    }
