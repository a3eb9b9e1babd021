"""The files of a run that its report shows, sorted by what they are."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from decofuse.errors import UserError


@dataclass(frozen=True)
class RunFiles:
    """Paths by kind, each kind in the order given.

    Attributes:
        manifests: DATASET/manifest.csv.
        averages: fused/DATASET/VARIANT/metrics.json.
        histories: training/METHOD/PHASE/history.csv.
        grids: grid-DATASET.png.
        segmentation: segmented/DATASET/INPUT/scores.json.
        segmentation_histories: segmentation/INPUT/NUMBER/history.csv.
        segmentation_charts: segmentation.png, at most one.
        overlays: overlays-DATASET.png.
        benchmarks: Snakemake's benchmark files; those of jobs that ran elsewhere are not here, and are left out.
    """

    manifests: tuple[Path, ...] = ()
    averages: tuple[Path, ...] = ()
    histories: tuple[Path, ...] = ()
    grids: tuple[Path, ...] = ()
    segmentation: tuple[Path, ...] = ()
    segmentation_histories: tuple[Path, ...] = ()
    segmentation_charts: tuple[Path, ...] = ()
    overlays: tuple[Path, ...] = ()
    benchmarks: tuple[Path, ...] = ()


_PATTERNS = {
    "manifests": "*/manifest.csv",
    "averages": "fused/*/*/metrics.json",
    "histories": "training/*/*/history.csv",
    "grids": "grid-*.png",
    "segmentation": "segmented/*/*/scores.json",
    "segmentation_histories": "segmentation/*/*/history.csv",
    "segmentation_charts": "segmentation.png",
    "overlays": "overlays-*.png",
    "benchmarks": "*.tsv",
}


def sort_files(paths: Iterable[Path]) -> RunFiles:
    """Sort the artifacts of a run by their names; those that the report has no place for are left out.

    Raises:
        UserError: a file that it has a place for is missing.
    """
    paths = list(paths)
    found = {kind: tuple(path for path in paths if path.match(pattern)) for kind, pattern in _PATTERNS.items()}
    found["benchmarks"] = tuple(path for path in found["benchmarks"] if path.is_file())
    if missing := [path for group in found.values() for path in group if not path.is_file()]:
        raise UserError(f"{missing[0]}: expected a file of the run, found none; run the stage that makes it")
    return RunFiles(**found)
