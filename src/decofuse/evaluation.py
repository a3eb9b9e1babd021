"""Scoring a set of fused images against their sources: a value an image and metric, and their averages."""

import contextlib
import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decofuse.data.images import grey_levels, read_image
from decofuse.data.manifest import Manifest, Pair
from decofuse.errors import UserError
from decofuse.files import write_json, write_text
from decofuse.fusing.index import FusedImage, FusedIndex
from decofuse.metrics import Metric, fusion_metrics
from decofuse.progress import progress
from decofuse.settings import EvaluationSettings

_DIGITS = 9  # significant digits kept of every value


def evaluate(
    manifest_path: Path,
    index_path: Path,
    split: str,
    settings: EvaluationSettings,
    *,
    csv_out: Path,
    json_out: Path,
    workers: int,
) -> None:
    """Score the fused image of every pair of a split by every metric, in float64, as stored in 8 bits.

    The CSV has a row a pair in manifest order: stem and metrics, 9 significant digits. The JSON has the number of
    images, the convention of each metric, and mean and population standard deviation over the **finite** values with
    their number (null where there is none). Both are the same to the byte for any number of workers.

    Args:
        manifest_path: the dataset; it must have two sources.
        index_path: the fused images; rows of other splits are ignored.
        split: the split to score.
        settings: conventions of the metrics.
        csv_out: where the values go.
        json_out: where the averages go.
        workers: pairs scored at the same time, one thread each; memory grows with it and not with the split.

    Raises:
        UserError: no two sources, no pairs, a fused image missing or changed, sizes that differ, images too small.
    """
    manifest, index = Manifest.read(manifest_path), FusedIndex.read(index_path)
    pairs = manifest.split(split)
    if len(manifest.sources) != 2:
        raise UserError(
            f"{manifest_path}: expected two sources, found {list(manifest.sources)}; use a dataset of pairs"
        )
    if not pairs:
        raise UserError(f"{manifest_path}: expected pairs of split {split}, found none; choose another split")
    metrics = fusion_metrics(settings.ssim_range)
    _check_sizes(pairs, manifest.sources[0], metrics)
    images = [index.image(pair.stem) for pair in pairs]

    def score(pair: Pair, image: FusedImage) -> list[float]:
        return _score(pair, image, manifest.sources, metrics)

    with _one_thread_each(), ThreadPoolExecutor(workers) as pool:
        rows = list(progress(pool.map(score, pairs, images), "evaluate", total=len(pairs), unit="image"))
    _write_values(csv_out, pairs, list(metrics), rows)
    write_json(json_out, _averages(metrics, rows))


def _score(pair: Pair, image: FusedImage, sources: Sequence[str], metrics: Mapping[str, Metric]) -> list[float]:
    paths = [image.luma_path(), *(pair.path(source) for source in sources)]
    batches = [_read_grey(path, pair) for path in paths]
    return [float(f"{metric(*batches).item():.{_DIGITS}g}") for metric in metrics.values()]


def _read_grey(path: Path, pair: Pair) -> Tensor:
    """Rounded luma as a 1×H×W float64 tensor of grey levels [0, 255]."""
    levels = grey_levels(read_image(path))
    if levels.shape != (pair.height, pair.width):
        raise UserError(
            f"{path}: expected {pair.height}x{pair.width} pixels as the manifest says of {pair.stem}, "
            f"found {levels.shape[0]}x{levels.shape[1]}; make the file again"
        )
    return torch.from_numpy(levels)[None].double()


def _check_sizes(pairs: Sequence[Pair], source: str, metrics: Mapping[str, Metric]) -> None:
    name, metric = max(metrics.items(), key=lambda item: item[1].minimum_side)
    for pair in pairs:
        if min(pair.height, pair.width) < metric.minimum_side:
            raise UserError(
                f"{pair.files[source].path}: {name} needs at least {metric.minimum_side}x{metric.minimum_side} pixels, "
                f"found {pair.height}x{pair.width}; leave the pair out of the dataset"
            )


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """One computing thread a worker: sums then have one order, and workers do not fight for cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _write_values(path: Path, pairs: Sequence[Pair], names: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["stem", *names])
    table.writerows([pair.stem, *row] for pair, row in zip(pairs, rows, strict=True))
    write_text(path, out.getvalue())


def _averages(metrics: Mapping[str, Metric], rows: Sequence[Sequence[float]]) -> dict[str, Any]:
    finite = {name: [row[i] for row in rows if math.isfinite(row[i])] for i, name in enumerate(metrics)}
    return {
        "images": len(rows),
        "conventions": {name: metric.convention for name, metric in metrics.items()},
        "mean": {name: float(np.mean(values)) if values else None for name, values in finite.items()},
        "std": {name: float(np.std(values)) if values else None for name, values in finite.items()},
        "finite": {name: len(values) for name, values in finite.items()},
    }
