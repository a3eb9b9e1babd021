"""Pairing: which images show the same scene, whether they fit together, and which split they belong to.

Two images belong together if their stems are equal, case included. Every image of a pair is decoded in full. A label
map that shows the colours of its dataset's classes is replaced by a PNG of class indices.
"""

import csv
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from decofuse.data.archive import LABELS
from decofuse.data.classes import ClassTable
from decofuse.data.dataset import IGNORED_LABEL, Dataset
from decofuse.data.images import inspect_image, read_label
from decofuse.data.labels import indices_of, read_colour_map, write_label
from decofuse.data.manifest import LABEL, SPLITS, ImageFile, Manifest, Pair
from decofuse.errors import UserError
from decofuse.files import sha256
from decofuse.progress import progress

logger = logging.getLogger(__name__)

Key = tuple[str, str]  # (split, stem); the split is "" where folders do not tell it
SHOWN = 10  # names in a warning


@dataclass(frozen=True)
class Report:
    """What was left out, by name.

    Attributes:
        orphans: Files whose counterpart is missing; in a dataset with labels, also images without a label.
        unlisted: Stems of whole pairs that the split file does not name.
        absent: Stems that the split file names and the dataset lacks.
    """

    orphans: tuple[str, ...]
    unlisted: tuple[str, ...]
    absent: tuple[str, ...]


def pair(images: Path, dataset: Dataset, splits: Path | None = None, threads: int = 4) -> tuple[Manifest, Report]:
    """Pair the images in the layout of `decofuse.data.archive`, and turn label maps in colours into indices there.

    Args:
        images: The folder with a sub-folder for each source and, where there are labels, `labels`.
        dataset: Names of the sources and meaning of the labels.
        splits: CSV file with the header `split,stem`; without it, and without split folders, every pair is `test`.
        threads: Images that are decoded at the same time.

    Returns:
        The manifest, and what was left out; each kind of loss is also logged in one line.

    Raises:
        UserError: no pair at all, a split without any, images of different size in a pair, an unreadable or cut-off
            image, a label value or colour that is no class, or a bad split file.
    """
    whole, orphans = _match(images, dataset)
    if not whole:
        raise UserError(
            f"{images}: expected images of equal stem in {', '.join(dataset.sources)}, found no pair; check the names"
        )
    chosen, unlisted, absent = _assign(whole, dataset, splits)
    report = Report(tuple(orphans), tuple(unlisted), tuple(absent))
    warn_skipped(dataset.name, "without a counterpart of the same name (case matters), skipped", report.orphans)
    warn_skipped(dataset.name, f"not named in {splits}, skipped", report.unlisted)
    warn_skipped(dataset.name, f"named in {splits} but not in the data", report.absent)
    keys = sorted(chosen, key=lambda key: (SPLITS.index(key[0]), key[1]))
    with ThreadPoolExecutor(threads) as pool:
        pairs = pool.map(lambda key: _inspect(key, chosen[key], dataset), keys)
        return Manifest(dataset.sources, tuple(progress(pairs, f"checking {dataset.name}", len(keys), "pair"))), report


def _match(images: Path, dataset: Dataset) -> tuple[dict[Key, dict[str, Path]], list[str]]:
    """The whole pairs by key, and the files that are left over."""
    roles = {source: images / source for source in dataset.sources}
    if (images / LABELS).is_dir():
        roles[LABEL] = images / LABELS
    files: dict[Key, dict[str, Path]] = {}
    for role, folder in roles.items():
        for path in folder.rglob("*"):
            if path.is_file():
                split = path.parent.relative_to(folder).as_posix().removeprefix(".")
                files.setdefault((split, path.stem), {})[role] = path
    whole = {key: found for key, found in files.items() if len(found) == len(roles)}
    orphans = [path for key, found in files.items() if key not in whole for path in found.values()]
    return whole, sorted(path.relative_to(images).as_posix() for path in orphans)


def _assign(
    whole: dict[Key, dict[str, Path]], dataset: Dataset, splits: Path | None
) -> tuple[dict[Key, dict[str, Path]], list[str], list[str]]:
    """The pairs by their final split and stem; stems that the split file lacks; stems that the data lack."""
    if dataset.has_split_folders:
        if splits is not None:
            raise UserError(f"{splits}: {dataset.name} brings its own splits as folders; do not give a split file")
        return whole, [], []
    found = {stem: files for (_, stem), files in whole.items()}
    if splits is None:
        return {("test", stem): files for stem, files in found.items()}, [], []
    split_of = read_splits(splits)
    chosen = {(split, stem): found[stem] for stem, split in split_of.items() if stem in found}
    for split in SPLITS:
        if split in split_of.values() and not any(key[0] == split for key in chosen):
            raise UserError(
                f"{splits}: expected pairs for the split {split}, found none in {dataset.name}; check the stems"
            )
    return chosen, sorted(set(found) - set(split_of)), sorted(set(split_of) - set(found))


def read_splits(path: Path) -> dict[str, str]:
    """Split of each stem, from a CSV file with the header `split,stem`.

    Raises:
        UserError: the file is unreadable, has another header, an unknown split, or a stem twice.
    """
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: expected a CSV file of splits, found {error}; check the path") from error
    if not rows or rows[0] != ["split", "stem"]:
        raise UserError(
            f"{path}: expected the header split,stem, found {','.join(rows[0]) if rows else 'nothing'}; add it"
        )
    splits: dict[str, str] = {}
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != 2 or row[0] not in SPLITS:
            raise UserError(
                f"{path}: line {line}: expected {'|'.join(SPLITS)},<stem>, found {','.join(row)}; correct it"
            )
        if row[1] in splits:
            raise UserError(f"{path}: line {line}: the stem {row[1]} stands there twice; remove one")
        splits[row[1]] = row[0]
    return splits


def _inspect(key: Key, paths: dict[str, Path], dataset: Dataset) -> Pair:
    split, stem = key
    infos = {role: inspect_image(path) for role, path in paths.items()}
    first = dataset.sources[0]
    size = (infos[first].height, infos[first].width)
    for role, info in infos.items():
        if (info.height, info.width) != size:
            raise UserError(
                f"{paths[role]}: expected {size[0]}x{size[1]} pixels (height x width) as {paths[first]} has, "
                f"found {info.height}x{info.width}; a pair must be registered: crop it or remove it"
            )
    if LABEL in paths:
        paths = {**paths, LABEL: _as_indices(paths[LABEL], dataset)}
        _check_label(paths[LABEL], dataset)
    files = {
        role: ImageFile(path, 1 if role == LABEL else infos[role].channels, sha256(path))
        for role, path in paths.items()
    }
    return Pair(split, stem, *size, files)


def _as_indices(path: Path, dataset: Dataset) -> Path:
    """The label map; one in the colours of the classes is replaced by a palette PNG of indices."""
    rgb = read_colour_map(path) if dataset.colours else None
    if rgb is None:
        return path
    classes = ClassTable(dataset.classes, dataset.colours)
    try:
        label = indices_of(rgb, classes)
    except ValueError as error:
        named = zip(classes.names, classes.colours, strict=True)
        palette = "; ".join(f"{name} {','.join(map(str, colour))}" for name, colour in named)
        raise UserError(
            f"{path}: expected class indices, or only the colours of {dataset.name} ({palette}), found {error}; "
            "save class indices, or these colours as PNG"
        ) from error
    path.unlink()
    target = path.with_suffix(".png")
    write_label(target, label, classes)
    return target


def _check_label(path: Path, dataset: Dataset) -> None:
    values: Iterable[int] = np.unique(read_label(path)).tolist()
    allowed = {*range(len(dataset.classes) or IGNORED_LABEL), IGNORED_LABEL, dataset.void}
    wrong = [value for value in values if value not in allowed]
    if wrong:
        raise UserError(
            f"{path}: expected class indices 0-{len(dataset.classes) - 1} or {IGNORED_LABEL}, found {wrong[0]}; "
            "save class indices, not colours"
        )


def warn_skipped(name: str, what: str, names: Sequence[str]) -> None:
    """Log one warning with the first of `names`, unless there are none."""
    if names:
        rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        logger.warning("%s: %d files or stems %s: %s%s", name, len(names), what, ", ".join(names[:SHOWN]), rest)
