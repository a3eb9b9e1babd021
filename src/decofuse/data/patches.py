"""Cutting training patches: which windows of which pairs are kept, and the stage that stores them."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from decofuse.data.images import Float32, UInt8, luma, read_image, read_label
from decofuse.data.manifest import LABEL, Manifest, Pair
from decofuse.data.patch_codec import encode
from decofuse.data.patch_file import Cuts, PatchWriter
from decofuse.data.patch_format import Header
from decofuse.errors import UserError
from decofuse.files import atomic, sha256
from decofuse.progress import progress
from decofuse.settings import PatchSettings

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Summary:
    """Outcome of the stage.

    Attributes:
        pairs: pairs of the splits.
        too_small: pairs with an image side below the patch size; they give no patch.
        kept: patches stored, each for all sources.
        dropped: patches left out because at least one source has low contrast there.
    """

    pairs: int
    too_small: int
    kept: int
    dropped: int


def write_patches(
    manifest_path: Path,
    settings: PatchSettings,
    out: Path,
    splits: tuple[str, ...] = ("train", "val"),
    workers: int = 2,
) -> Summary:
    """Cut the pairs of some splits into patches and store them in one HDF5 file, whole or not at all.

    Label maps of a labelled dataset are cut along. Memory is bounded by the images in work, two for each worker; the
    file depends on the input alone.

    Args:
        manifest_path: manifest of the dataset.
        settings: size, stride and contrast test.
        out: HDF5 file to write.
        splits: splits to cut.
        workers: threads that read, cut and encode.

    Raises:
        UserError: the manifest or an image is missing, altered or unreadable, or no patch is left.
    """
    manifest = Manifest.read(manifest_path)
    pairs = manifest.split(*splits)
    roles = (*manifest.sources, LABEL) if manifest.labelled else manifest.sources
    header = Header(settings, splits, roles, sha256(manifest_path))
    channels = [max((pair.files[role].channels for pair in pairs), default=1) for role in roles]
    windows = kept = too_small = 0
    with atomic(out) as temporary:
        with PatchWriter(temporary, header, channels, [pair.stem for pair in pairs]) as writer:
            results = _in_order(lambda pair: _cut(pair, roles, channels, settings), pairs, workers)
            for number, cuts in enumerate(progress(results, "patches", total=len(pairs), unit="pair")):
                pair = pairs[number]
                writer.append(number, pair.split, cuts)
                available = len(corners(pair.height, pair.width, settings))
                windows += available
                too_small += available == 0
                kept += len(cuts.corners)
        if not kept:
            raise UserError(
                f"{manifest_path}: expected patches of {settings.size}x{settings.size} pixels in {', '.join(splits)}, "
                f"found none in {len(pairs)} pairs ({too_small} pairs too small, {windows} patches of low contrast); "
                "set a smaller patches.size or patches.low_contrast"
            )
    return Summary(len(pairs), too_small, kept, windows - kept)


def corners(height: int, width: int, settings: PatchSettings) -> list[tuple[int, int]]:
    """Top-left corners (row, column) of all whole windows, row by row; none if the image is smaller than a window."""
    rows = range(0, height - settings.size + 1, settings.stride)
    columns = range(0, width - settings.size + 1, settings.stride)
    return [(row, column) for row in rows for column in columns]


def is_low_contrast(patch: UInt8, settings: PatchSettings) -> bool:
    """Whether (p90 - p10) / p90 of the luma of an H×W or H×W×3 patch is below the threshold.

    The histogram of 8-bit grey levels settles almost every patch; the few near the threshold get the exact test.
    """
    low, high = _ratio_bounds(patch)
    if low > settings.low_contrast:
        return False
    if high < settings.low_contrast:
        return True
    return is_low_contrast_luma(luma(patch), settings)


def is_low_contrast_luma(values: Float32, settings: PatchSettings) -> bool:
    """The contrast test on luma: percentiles with linear interpolation, as in CDDFuse's preprocessing.

    There p90 = 0 gives 0/0, which compares false and keeps the patch; `settings.keep_black` decides it here.
    """
    p10, p90 = np.percentile(values, [10, 90])
    if p90 == 0:
        return not settings.keep_black
    return bool((p90 - p10) / p90 < settings.low_contrast)


def _cut(pair: Pair, roles: Sequence[str], channels: Sequence[int], settings: PatchSettings) -> Cuts:
    """Read the images of a pair, and encode the patches that pass the contrast test in every source."""
    images = [_read(pair, role) for role in roles]
    tested = [role != LABEL for role in roles]
    cuts = Cuts([], [3 if image.ndim == 3 else 1 for image in images], [[] for _ in images])
    for row, column in corners(pair.height, pair.width, settings):
        patches = [image[row : row + settings.size, column : column + settings.size] for image in images]
        if not any(is_low_contrast(patch, settings) for patch in itertools.compress(patches, tested)):
            cuts.corners.append((row, column))
            for planes, patch, count in zip(cuts.planes, patches, channels, strict=True):
                planes.append(encode(patch, count))
    return cuts


def _read(pair: Pair, role: str) -> UInt8:
    path = pair.path(role)
    image = read_label(path) if role == LABEL else read_image(path)
    expected = (pair.height, pair.width, pair.files[role].channels)
    found = (*image.shape[:2], 3 if image.ndim == 3 else 1)
    if found != expected:
        raise UserError(
            f"{path}: expected height, width, channels {expected} as in the manifest, found {found}; "
            "delete the manifest to make it again"
        )
    return image


def _ratio_bounds(patch: UInt8) -> tuple[float, float]:
    """Bounds of (p90 - p10) / p90: a rounded grey level, and so each order statistic, is within 1 of luma × 255."""
    levels = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY) if patch.ndim == 3 else patch
    counts = cv2.calcHist([levels], [0], None, [256], [0, 256]).ravel().cumsum(dtype=np.int64)
    last = levels.size - 1
    ranks = [last // 10, last // 10 + 1, last * 9 // 10, last * 9 // 10 + 1]
    p10_min, p10_max, p90_min, p90_max = (counts.searchsorted(ranks, side="right") + (-1, 1, -1, 1)).tolist()
    if p90_min <= 0:
        return 0.0, 1.0
    return 1 - p10_max / p90_min, 1 - max(p10_min, 0) / p90_max


def _in_order(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Results of `function` in the order of `items`, computed in threads at most 2 × `workers` ahead."""
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) == 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
