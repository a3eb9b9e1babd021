"""Fusing files: pairs are read, fused in batches of one size, and written one by one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from decofuse.data.images import inspect_image, read_pixels, write_image
from decofuse.errors import UserError
from decofuse.fusing.fuse import Sources
from decofuse.fusing.image_fuser import ImageFuser
from decofuse.fusing.inputs import Files
from decofuse.fusing.registration import warn_if_displaced
from decofuse.progress import progress


@dataclass(frozen=True)
class _Read:
    """A pair of files and their images."""

    files: Files
    images: Sources


def fuse_files(fuser: ImageFuser, pairs: Sequence[Files], target: Callable[[Files], Path], batch: int = 1) -> list[str]:
    """Fuse pairs of image files; memory does not grow with their number.

    A pair that seems displaced is fused all the same, with a warning.

    Args:
        fuser: the method.
        pairs: what to fuse.
        target: where the result of a pair goes; the suffix chooses the format.
        batch: most pairs of one size that are fused at once.

    Returns:
        One line for each pair that could not be fused.
    """
    failed: list[str] = []
    for group in _groups(progress(pairs, "fuse", unit="pair"), batch, failed):
        failed += _fuse_group(fuser, group, target)
    return failed


def _groups(pairs: Iterable[Files], batch: int, failed: list[str]) -> Iterator[list[_Read]]:
    """Neighbours of one size, at most `batch` of them; a line in `failed` for each pair that cannot be read."""
    group: list[_Read] = []
    for files in pairs:
        try:
            read = _read(files)
        except UserError as error:
            failed.append(str(error))
            continue
        if group and (len(group) == batch or group[0].images[0].shape[:2] != read.images[0].shape[:2]):
            yield group
            group = []
        group.append(read)
    if group:
        yield group


def _read(files: Files) -> _Read:
    paths = (files.source_a, files.source_b)
    first, second = (inspect_image(path) for path in paths)
    if (first.height, first.width) != (second.height, second.width):
        raise UserError(
            f"{paths[1]}: expected {first.width}x{first.height} pixels (width x height) as {paths[0]} has, found "
            f"{second.width}x{second.height}; register the two, or if they show the same field of view resize one: "
            f"magick IN -resize {first.width}x{first.height}! OUT"
        )
    images = (read_pixels(paths[0]), read_pixels(paths[1]))
    warn_if_displaced(paths, images)
    return _Read(files, images)


def _fuse_group(fuser: ImageFuser, group: Sequence[_Read], target: Callable[[Files], Path]) -> list[str]:
    try:
        fused = fuser.fuse_batch([read.images for read in group])
    except UserError as error:
        if len(group) == 1:
            return [f"{group[0].files.source_a}: {error}"]
        return [line for read in group for line in _fuse_group(fuser, [read], target)]  # who of them is at fault?
    failed = []
    for read, image in zip(group, fused, strict=True):
        path = target(read.files)
        try:
            write_image(path, image)
        except UserError as error:
            failed.append(str(error))
        except OSError as error:
            failed.append(f"{path}: could not be written ({error.strerror}); check the free space")
    return failed
