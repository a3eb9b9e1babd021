"""Writes the dataset to a folder."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import cv2

from decofuse.data.classes import MSRS
from decofuse.data.images import write_image
from decofuse.data.labels import write_label
from decofuse.data.manifest import SPLITS
from decofuse.data.scenes.scene import generate_scene, is_night
from decofuse.errors import UserError
from decofuse.files import write_text
from decofuse.progress import progress
from decofuse.settings import ScenesSettings


@dataclass(frozen=True)
class _Job:
    seed: int
    split: str
    index: int
    height: int
    width: int
    stem: str
    folder: Path


def write_scenes(settings: ScenesSettings, folder: Path, workers: int) -> None:
    """Write all scenes as PNG files, and last `splits.csv`, so that its presence means that all are there.

    The folder gets `visible/<stem>.png`, `infrared/<stem>.png`, `labels/<stem>.png` (palette) and `splits.csv`
    (`split,stem`). The files do not depend on `workers`. Each file is written whole or not at all.

    Args:
        settings: how many scenes, of which size, from which seed.
        folder: where to write; made if it is missing.
        workers: processes to use.

    Raises:
        UserError: `workers` is below 1, or one of them was killed.
    """
    if workers < 1:
        raise UserError(f"workers: expected at least 1, found {workers}; set the number of processes to use")
    jobs = list(_jobs(settings, folder))
    if workers == 1:
        for job in progress(jobs, "scenes", unit="scene"):
            _write(job)
    else:
        _write_parallel(jobs, workers)
    rows = "".join(f"{job.split},{job.stem}\n" for job in jobs)
    write_text(folder / "splits.csv", "split,stem\n" + rows)


def _write_parallel(jobs: list[_Job], workers: int) -> None:
    spawn = multiprocessing.get_context("spawn")  # forking a process that has threads can lock it up
    try:
        with ProcessPoolExecutor(workers, spawn, cv2.setNumThreads, (1,)) as pool:
            for _ in progress(pool.map(_write, jobs), "scenes", total=len(jobs), unit="scene"):
                pass
    except BrokenProcessPool as error:
        raise UserError(
            f"{jobs[0].folder}: expected {workers} processes to write scenes, found one of them killed; "
            "free memory or use fewer workers, then run again"
        ) from error


def _jobs(settings: ScenesSettings, folder: Path) -> Iterator[_Job]:
    number = 0
    for split, count in zip(SPLITS, (settings.train, settings.val, settings.test), strict=True):
        for index in range(count):
            number += 1
            stem = f"{number:05d}{'N' if is_night(settings.seed, split, index) else 'D'}"
            yield _Job(settings.seed, split, index, settings.height, settings.width, stem, folder)


def _write(job: _Job) -> None:
    scene = generate_scene(job.seed, job.split, job.index, job.height, job.width)
    write_image(job.folder / "visible" / f"{job.stem}.png", scene.visible)
    write_image(job.folder / "infrared" / f"{job.stem}.png", scene.infrared)
    write_label(job.folder / "labels" / f"{job.stem}.png", scene.label, MSRS)
