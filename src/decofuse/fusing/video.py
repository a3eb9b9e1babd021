"""Videos, read and written frame by frame, in the memory of a few frames.

- A frame whose three channels are equal is a grey image, as everywhere; lossy codecs may break that equality.
- Rotation flags are ignored, as for images: the two sources of a pair are registered as stored.
- A rate that the file does not state, or that cannot be one, is taken as UNKNOWN_FPS.
- Frames whose size changes midway are scaled to the first size, by the decoder and without a word.
- Sound is neither read nor written.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from decofuse.data.images import UInt8
from decofuse.errors import UserError
from decofuse.files import atomic

# One codec for each container. Errors are the largest one of a channel, and PSNR, on noisy street scenes of 640x480.
CODECS = {
    # MPEG-4 part 2, small, read wherever these are; OpenCV has no encoder for H.264. 69, 32 dB; grey 24, 39 dB
    ".mp4": "mp4v",
    ".m4v": "mp4v",
    ".mov": "mp4v",
    # every frame a JPEG: plays and cuts everywhere, and a cut-off file is good up to there. 62, 33 dB; grey 17, 40 dB
    ".avi": "MJPG",
    # lossless, in colour as in grey
    ".mkv": "FFV1",
}
VIDEO_SUFFIXES = (*CODECS, ".webm", ".mpg", ".mpeg", ".wmv", ".ts")  # that are read; CODECS are written
UNKNOWN_FPS = 25.0  # frames a second where a file does not tell
MAX_FPS = 1000.0  # from here on a rate is the tick of the container's clock, which stands in for a missing one
MAX_COUNT = 10**9  # a larger or negative number of frames is what the container gives for "unknown"


class VideoSource:
    """A video that is being read: a context manager, and an iterator over its frames.

    Frames are H×W (grey) or H×W×3 (RGB) uint8 in [0, 255]; deeper ones are reduced to 8 bits by the decoder. A file
    that is cut off or damaged ends early, the last frame perhaps in part: compare `read` with `announced`.

    Attributes:
        path: The file.
        height: Rows of every frame, as stored.
        width: Columns of every frame, as stored.
        fps: Frames a second, or UNKNOWN_FPS.
        announced: Number of frames by the container's header, some of which only estimate it from duration and rate;
            None if it does not tell.
        read: Number of frames given so far.
    """

    def __init__(self, path: Path) -> None:
        """Open the video and decode its first frame.

        Raises:
            UserError: the file is missing, is no video, or holds no frame.
        """
        if not path.is_file():
            raise UserError(f"{path}: expected a video, found no such file; check the path")
        _be_quiet()
        self.path = path
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise UserError(f"{path}: expected a readable video, found none or one without its end; replace the file")
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        self._first = _decoded(self._capture)
        if self._first is None:
            self._capture.release()
            raise UserError(f"{path}: expected a video, found no frame that decodes; replace the file")
        self.height, self.width = self._first.shape[:2]
        fps, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = fps if 0 < fps < MAX_FPS else UNKNOWN_FPS
        self.announced = int(count) if 0 < count < MAX_COUNT else None
        self.read = 0

    def __enter__(self) -> Self:
        """The source itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._capture.release()

    def __iter__(self) -> Self:
        """The source itself."""
        return self

    def __next__(self) -> UInt8:
        """The next frame."""
        frame, self._first = self._first, None
        if frame is None:
            frame = _decoded(self._capture)
        if frame is None:
            raise StopIteration
        self.read += 1
        return frame


class VideoSink:
    """A video that is being written, see `write_video`.

    Attributes:
        height: Rows of the file, even.
        width: Columns of the file, even.
        colour: Whether the file has colour.
        written: Number of frames taken so far.
    """

    def __init__(self, path: Path, fps: float, height: int, width: int, colour: bool) -> None:
        """Open a file for writing; `write_video` says what the arguments are."""
        self.height, self.width, self.colour, self.written = height + height % 2, width + width % 2, colour, 0
        self._size = (height, width)
        codec = cv2.VideoWriter.fourcc(*CODECS[path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, fps, (self.width, self.height), colour)

    @property
    def opened(self) -> bool:
        """Whether the codec takes the size and the rate."""
        return self._writer.isOpened()

    def write(self, frame: UInt8) -> None:
        """Append an H×W (grey) or H×W×3 (RGB) uint8 frame.

        Raises:
            ValueError: the frame has another size or depth, or colour in a grey video.
        """
        if frame.dtype != np.uint8 or frame.shape[:2] != self._size or (frame.ndim == 3 and not self.colour):
            kind = "RGB or grey" if self.colour else "grey"
            raise ValueError(f"expected {self._size} uint8 {kind} frames, got {frame.shape} {frame.dtype}")
        stored = frame
        if self.colour:
            stored = np.repeat(frame[..., None], 3, axis=2) if frame.ndim == 2 else frame[..., ::-1]
        rows, columns = self.height - frame.shape[0], self.width - frame.shape[1]
        padding = ((0, rows), (0, columns), (0, 0))[: stored.ndim]
        self._writer.write(np.pad(stored, padding, mode="edge") if rows or columns else np.ascontiguousarray(stored))
        self.written += 1

    def close(self) -> None:
        """Write the rest of the file."""
        self._writer.release()


@contextlib.contextmanager
def write_video(path: Path, fps: float, height: int, width: int, *, colour: bool) -> Iterator[VideoSink]:
    """Write a video, which takes its place at `path` as a whole when the context is left without an error.

    OpenCV writes even sizes only: an odd height or width gets its last row or column a second time, so that nothing is
    lost; see `VideoSink.height` and `width`.

    Args:
        path: target; its suffix chooses container and codec, see CODECS.
        fps: frames a second; stored to 0.001.
        height: rows of every frame.
        width: columns of every frame.
        colour: whether the video has colour; if not, it takes grey frames only. Take colour where any frame may have
            some: grey frames are welcome there, though a lossy codec tints them by a few levels.

    Raises:
        UserError: no codec for the suffix, a size or rate that the codec does not take, no frame, or a file that lacks
            frames in the end, as on a full disk.
    """
    if path.suffix.lower() not in CODECS:
        raise UserError(f"{path}: expected a video's suffix ({', '.join(CODECS)}), found {path.suffix!r}; choose one")
    _be_quiet()
    with atomic(path) as temporary:
        sink = VideoSink(temporary, fps, height, width, colour)
        if not sink.opened:
            raise UserError(
                f"{path}: expected a size and a rate that the codec takes, found {width}x{height} pixels at {fps} "
                f"frames a second; try another suffix ({', '.join(CODECS)})"
            )
        try:
            yield sink
        finally:
            sink.close()
        if not sink.written:
            raise UserError(f"{path}: expected at least one frame to write, found none; check the source")
        found = _count(temporary)  # OpenCV does not say that a write failed
        if found != sink.written:
            raise UserError(
                f"{path}: expected {sink.written} frames in the finished file, found {found}; check the free space"
            )


def _count(path: Path) -> int:
    """Number of frames by the container's header; 0 if there is none."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    return count


def _decoded(capture: cv2.VideoCapture) -> UInt8 | None:
    """The next frame, H×W if its three channels are equal, else H×W×3 RGB; None after the last one."""
    found, frame = capture.read()
    if not found:
        return None
    bgr = np.asarray(frame, np.uint8)
    blue, green, red = bgr[..., 0], bgr[..., 1], bgr[..., 2]
    grey = np.array_equal(blue, green) and np.array_equal(blue, red)
    return np.ascontiguousarray(blue if grey else bgr[..., ::-1])


def _be_quiet() -> None:
    """Keep FFmpeg and OpenCV from explaining on stderr what a UserError says; what is set by hand stays."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET; read when FFmpeg is first used
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
