"""Fusing a pair of videos, in the memory of a batch of frames."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np

from decofuse.errors import UserError
from decofuse.fusing.fuse import Sources
from decofuse.fusing.image_fuser import ImageFuser
from decofuse.fusing.inputs import Files
from decofuse.fusing.registration import warn_if_displaced
from decofuse.fusing.video import VideoSource, write_video
from decofuse.progress import progress

_ESTIMATE = 0.98  # some headers estimate the number of frames

logger = logging.getLogger(__name__)


def fuse_videos(fuser: ImageFuser, files: Files, out: Path, batch: int = 1) -> list[str]:
    """Fuse two videos frame by frame, up to the end of the shorter one.

    Args:
        fuser: the method.
        files: the two videos; they are taken to begin at the same moment.
        out: video to write, in colour, at the rate of the first one; the suffix chooses the codec.
        batch: frames that are fused at once.

    Returns:
        One line for each video that ends before the other one does, or before its own header says.

    Raises:
        UserError: a video cannot be read, their sizes differ, the result cannot be written, or a frame not be fused.
    """
    with ExitStack() as opened:
        first, second = (opened.enter_context(VideoSource(path)) for path in (files.source_a, files.source_b))
        _check(first, second)
        pairs = progress(_pairs(first, second), "fuse", total=first.announced, unit="frame")
        # In colour whatever the first frames are: a video may begin in black.
        sink = opened.enter_context(write_video(out, first.fps, first.height, first.width, colour=True))
        frames = iter(pairs)
        while group := list(islice(frames, batch)):
            for image in fuser.fuse_batch(group):
                sink.write(image.astype(np.uint8, copy=False))
        return _shortfalls(first, second, sink.written)


def _pairs(first: VideoSource, second: VideoSource) -> Iterator[Sources]:
    """Frames of equal number, up to the end of the shorter video."""
    for number, (frame, other) in enumerate(zip(first, second, strict=False)):
        if number == 0:
            warn_if_displaced((first.path, second.path), (frame, other))
        yield frame, other


def _shortfalls(first: VideoSource, second: VideoSource, fused: int) -> list[str]:
    """What says that a video ended early; both have been read up to the end of the shorter one."""
    if first.read > fused:  # `zip` took one more of the first before it found the second at its end
        return [_ends_before(second, first)]
    if next(second, None) is not None:
        return [_ends_before(first, second)]
    return [
        f"{source.path}: expected {source.announced} frames as its header says, found {source.read}; "
        "the rest is missing, replace the file"
        for source in (first, second)
        if source.announced is not None and source.read < source.announced * _ESTIMATE - 1
    ]


def _ends_before(short: VideoSource, long: VideoSource) -> str:
    return (
        f"{short.path}: ends early, after {short.read} frames, before {long.path} does; "
        "what is longer was left out, cut both to the same moments"
    )


def _check(first: VideoSource, second: VideoSource) -> None:
    if (first.height, first.width) != (second.height, second.width):
        raise UserError(
            f"{second.path}: expected {first.width}x{first.height} pixels (width x height) as {first.path} has, found "
            f"{second.width}x{second.height}; register the two, or if they show the same field of view resize one: "
            f"ffmpeg -i IN -vf scale={first.width}:{first.height} OUT"
        )
    if abs(first.fps - second.fps) > 0.01:
        logger.warning(
            "%s: %.2f frames a second, %s has %.2f; frames are fused in order, so the two drift apart",
            second.path,
            second.fps,
            first.path,
            first.fps,
        )
