"""Taking the files of a dataset, and nothing else, out of an archive or a folder into one layout.

The layout is `<images>/<role>/[<split>/]<stem><suffix>`, where the role is a source's name or `labels`. An archive is
not trusted: names that lead elsewhere, links, encrypted or bloated content and checksum errors are refused.
"""

import contextlib
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from decofuse.data.dataset import Dataset
from decofuse.data.images import SUFFIXES
from decofuse.data.manifest import LABEL, SPLITS
from decofuse.errors import UserError
from decofuse.progress import progress

MAX_FILES = 200_000
MAX_FILE_BYTES = 256 * 2**20
MAX_TOTAL_BYTES = 16 * 2**30
MAX_RATIO = 100  # unpacked to packed, where more than SMALL_BYTES are unpacked
SMALL_BYTES = 64 * 2**20
LABELS = "labels"  # folder of the label maps

_NAME = r"[^/.\x00-\x1f][^/\x00-\x1f]*"  # hidden files are never part of a dataset
_SUFFIX = r"(?P<suffix>" + "|".join(map(re.escape, SUFFIXES)) + ")"
_FIELDS = {"{stem}": f"(?P<stem>{_NAME})", "{split}": f"(?P<split>{'|'.join(SPLITS)})", "*": r"(?!\.)[^/]*"}


@dataclass(frozen=True)
class Selection:
    """Which files belong to a dataset.

    Attributes:
        files: Path in the source, by path in the layout.
        ignored: Files that lie beside them and belong to no scene, such as Thumbs.db.
    """

    files: Mapping[str, str]
    ignored: tuple[str, ...]


def extract(source: Path, dataset: Dataset, images: Path) -> Selection:
    """Copy the files of `dataset` from a ZIP archive or a folder into the empty folder `images`.

    A single top folder that holds everything in an archive is left out, as GitHub's archives have one.

    Raises:
        UserError: the source is missing, unsafe or damaged, lacks what the dataset needs, or the disk is full.
    """
    try:
        if source.is_dir():
            return _copy_folder(source, dataset, images)
        with _open(source) as archive:
            return _unpack(archive, source, dataset, images)
    except OSError as error:
        raise UserError(
            f"{source}: could not be unpacked to {images.parent} ({error.strerror}); "
            "check that it exists and that there is space, then run again"
        ) from error


def select(paths: Sequence[str], dataset: Dataset, source: Path) -> Selection:
    """Choose among the `paths` of a source by the dataset's templates.

    Raises:
        UserError: a template fits no path, or two paths stand for the same image.
    """
    files: dict[str, str] = {}
    taken: dict[tuple[str, ...], str] = {}
    for role, template in dataset.files.items():
        pattern = _pattern(template)
        found = [(path, match) for path in paths if (match := pattern.fullmatch(path))]
        if not found and not (role == LABEL and dataset.kind == "local"):
            raise UserError(f"{source}: expected files like {template}.png, found none; check the layout of {source}")
        for path, match in found:
            split, stem = match.groupdict().get("split") or "", match["stem"]
            key = (role, split.lower(), stem.casefold())
            if key in taken:
                raise UserError(
                    f"{source}: {path} and {taken[key]} are both the {role} of {stem}; remove or rename one"
                )
            taken[key] = path
            folder = PurePosixPath(LABELS if role == LABEL else role, split.lower())
            files[str(folder / f"{stem}{match['suffix'].lower()}")] = path
    folders = {PurePosixPath(path).parent for path in files.values()}
    ignored = {path for path in paths if PurePosixPath(path).parent in folders} - set(files.values())
    return Selection(files, tuple(sorted(ignored)))


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{stem\}|\{split\}|\*)", template)
    return re.compile("".join(_FIELDS.get(part, re.escape(part)) for part in parts) + _SUFFIX, re.IGNORECASE)


def _copy_folder(source: Path, dataset: Dataset, images: Path) -> Selection:
    depth = max(template.count("/") for template in dataset.files.values())
    paths = [path.relative_to(source).as_posix() for path in _files_below(source, depth)]
    selection = select(paths, dataset, source)
    for target, path in progress(selection.files.items(), f"copying {dataset.name}", unit="file"):
        (images / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, images / target)
    return selection


def _files_below(folder: Path, depth: int) -> Iterator[Path]:
    """Files down to `depth` folders below; the bound also ends loops of links, which people may use to lay out data."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and depth:
            yield from _files_below(path, depth - 1)
        elif path.is_file():
            yield path


@contextlib.contextmanager
def _open(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise UserError(f"{path}: expected a whole ZIP archive, found {error}; delete it and run again") from error


def _unpack(archive: zipfile.ZipFile, path: Path, dataset: Dataset, images: Path) -> Selection:
    _check_names(archive, path)
    members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    tops = {name.split("/", 1)[0] if "/" in name else "" for name in members}
    top = f"{tops.pop()}/" if len(tops) == 1 and "" not in tops else ""
    selection = select([name.removeprefix(top) for name in members], dataset, path)
    chosen = {target: members[top + name] for target, name in selection.files.items()}
    _check_members(list(chosen.values()), path)
    for target, info in progress(chosen.items(), f"unpacking {dataset.name}", unit="file"):
        (images / target).parent.mkdir(parents=True, exist_ok=True)
        # never writes more than info.file_size bytes, and compares the CRC at the end
        with archive.open(info) as packed, (images / target).open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 2**20)
    return selection


def _check_names(archive: zipfile.ZipFile, path: Path) -> None:
    names = [info.orig_filename for info in archive.infolist()]
    if len(names) > MAX_FILES:
        raise UserError(f"{path}: {len(names)} files, at most {MAX_FILES} are accepted; do not use this archive")
    if len(set(names)) < len(names):
        raise UserError(f"{path}: expected each file once, found one name twice; do not use this archive")
    for name in names:
        outside = not name or name.startswith("/") or ".." in name.split("/") or re.match("[A-Za-z]:", name)
        if outside or "\\" in name or re.search(r"[\x00-\x1f]", name):
            raise UserError(f"{path}: {name!r} would be written outside of its folder; do not use this archive")


def _check_members(members: Sequence[zipfile.ZipInfo], path: Path) -> None:
    for info in members:
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise UserError(f"{path}: {info.filename} is a link or device, not a file; do not use this archive")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(
                f"{path}: {info.filename} is encrypted or oddly compressed; pack the archive again as plain ZIP"
            )
        if info.file_size > MAX_FILE_BYTES:
            raise UserError(
                f"{path}: {info.filename} unpacks to {info.file_size} bytes, at most {MAX_FILE_BYTES} are accepted; "
                "do not use this archive"
            )
    total, packed = sum(info.file_size for info in members), path.stat().st_size
    if total > MAX_TOTAL_BYTES or (total > SMALL_BYTES and total > MAX_RATIO * packed):
        raise UserError(
            f"{path}: {packed} bytes unpack to {total}, at most {MAX_RATIO} times as many and {MAX_TOTAL_BYTES} in all "
            "are accepted; do not use this archive"
        )
