"""The dataset stage: from an archive or a folder to checked images and their manifest."""

import contextlib
import dataclasses
from pathlib import Path

from decofuse.data.archive import extract
from decofuse.data.dataset import Dataset
from decofuse.data.locks import verify_lock, write_lock
from decofuse.data.manifest import Manifest
from decofuse.data.pairing import pair, warn_skipped
from decofuse.errors import UserError
from decofuse.files import atomic, atomic_folder, write_json


def prepare(
    dataset: Dataset,
    source: Path,
    out: Path,
    *,
    splits: Path | None = None,
    lock: Path | None = None,
    threads: int = 4,
) -> Manifest:
    """Make `out/images`, `out/pairing.json` (what was left out) and, last, `out/manifest.csv`.

    Args:
        dataset: Which files to take and how to pair them.
        source: ZIP archive or folder with the files; both will do for every kind of dataset.
        out: Folder of the dataset. Images of an earlier run are replaced as a whole.
        splits: CSV file `split,stem`; a local dataset has its own `splits.csv` if this is not given.
        lock: Checksums of the files as they came, to compare with; written if the file does not exist. None for data
            that have no fixed content.
        threads: Images that are checked at the same time.

    Returns:
        The manifest, as written.

    Raises:
        UserError: the source is missing, unsafe, damaged or unlike the lock, or its images do not make pairs. Then
            there is no manifest.
    """
    _require_source(dataset, source)
    images, table = out / "images", out / "manifest.csv"
    with contextlib.ExitStack() as until_paired:
        with atomic_folder(images) as folder:
            selection = extract(source, dataset, folder)
            warn_skipped(dataset.name, "that belong to no pair (by their name), skipped", selection.ignored)
            if lock is not None and lock.exists():
                verify_lock(folder, lock)
            elif lock is not None:  # of the files as they came: pairing turns label maps in colours into indices
                write_lock(folder, until_paired.enter_context(atomic(lock)))
            table.unlink(missing_ok=True)
        own = source / "splits.csv"
        if splits is None and dataset.kind == "local" and own.is_file():
            splits = own
        manifest, report = pair(images, dataset, splits, threads)
        write_json(out / "pairing.json", dataclasses.asdict(report) | {"ignored": selection.ignored})
    manifest.write(table)
    return manifest


def _require_source(dataset: Dataset, source: Path) -> None:
    if source.exists():
        return
    required = dataset.sources if dataset.kind == "local" else tuple(dataset.files)
    layout = ", ".join(f"{dataset.files[role]}.png" for role in required)
    if dataset.kind == "manual":
        raise UserError(
            f"{source}: expected {dataset.name}, which has to be fetched by hand; download it from {dataset.page} and "
            f"put its files there as {layout}"
        )
    if dataset.kind == "local":
        raise UserError(f"{source}: expected a folder with {layout}, found nothing; check the path")
    raise UserError(f"{source}: expected the archive of {dataset.name}, found nothing; download it from {dataset.url}")
