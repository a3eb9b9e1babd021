"""Videos, read and written frame by frame, in the memory of a few frames.

- A frame whose three channels are equal is a grey image, as everywhere; lossy codecs may break that equality.
- Rotation flags are ignored, as for images: the two sources of a pair are registered as stored.
- A rate that the file does not state, or that cannot be one, is taken as UNKNOWN_FPS.
- Frames whose size changes midway are scaled to the first size, by the decoder and without a word.
- Sound is neither read nor written.
"""

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from decofuse.data.images import UInt8
from decofuse.errors import UserError
from decofuse.files import atomic

CODECS = {
    # MPEG-4 part 2: what these containers are read with everywhere; the build of OpenCV has no encoder for H.264
    ".mp4": "mp4v",
    ".m4v": "mp4v",
    ".mov": "mp4v",
    # every frame is a JPEG of its own: plays and cuts everywhere, and a file that is cut off is good up to there
    ".avi": "MJPG",
    # lossless, in colour as in grey
    ".mkv": "FFV1",
}
VIDEO_SUFFIXES = (*CODECS, ".webm", ".mpg", ".mpeg", ".wmv", ".ts")  # that are read; CODECS are written
UNKNOWN_FPS = 25.0  # frames a second where a file does not tell
MAX_FPS = 1000.0  # from here on a rate is the tick of the container's clock, which stands in for a missing one
MAX_COUNT = 10**9  # a larger or negative number of frames is what the container gives for "unknown"


class VideoSource:
    """A video that is being read: a context manager that iterates once over its frames.

    Frames are H×W (grey) or H×W×3 (RGB) uint8 in [0, 255]; deeper ones are reduced to 8 bits by the decoder. A file
    that is cut off or damaged ends early: compare `read` with `announced`.

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
        found, self._next = self._capture.read()
        if not found:
            self._capture.release()
            raise UserError(f"{path}: expected a video, found no frame that decodes; replace the file")
        self.height, self.width = self._next.shape[:2]
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

    def __iter__(self) -> Iterator[UInt8]:
        """Give the remaining frames."""
        found = True
        while found:
            frame, self._next = self._next, None
            if frame is None:
                return
            self.read += 1
            yield _rgb(frame)
            found, self._next = self._capture.read()


class VideoSink:
    """A video that is being written: a context manager that publishes it atomically when left without an error.

    Containers of OpenCV hold even sizes only: an odd height or width gets its last row or column a second time, so that
    nothing is lost. `height` and `width` are those of the file.
    """

    def __init__(self, path: Path, fps: float, height: int, width: int, *, colour: bool) -> None:
        """State what is to be written; nothing is touched before the context is entered.

        Args:
            path: target; its suffix chooses container and codec, see CODECS.
            fps: frames a second; stored to 0.001.
            height: rows of every frame.
            width: columns of every frame.
            colour: whether the video has colour; if not, it takes grey frames only. Take colour where any frame might
                have some: grey frames are welcome there, though a lossy codec gives them a cast of up to 3 levels.

        Raises:
            UserError: no codec for that suffix, or no rate above 0.
        """
        if path.suffix.lower() not in CODECS:
            raise UserError(f"{path}: expected a suffix of {', '.join(CODECS)}, found {path.suffix!r}; choose one")
        if not 0 < fps < math.inf:
            raise UserError(f"{path}: expected a rate above 0 frames a second, found {fps}; state another")
        self.path, self.fps, self.colour = path, fps, colour
        self.height, self.width = height + height % 2, width + width % 2
        self._size = (height, width)
        self._exit = ExitStack()
        self._written = 0

    def __enter__(self) -> Self:
        """Begin the file, under a temporary name beside the target.

        Raises:
            UserError: the codec takes no such size or rate, or the folder cannot be written to.
        """
        _be_quiet()
        with ExitStack() as stack:
            self._temporary = stack.enter_context(atomic(self.path))
            codec = cv2.VideoWriter.fourcc(*CODECS[self.path.suffix.lower()])
            self._writer = cv2.VideoWriter(
                str(self._temporary), cv2.CAP_FFMPEG, codec, self.fps, (self.width, self.height), self.colour
            )
            if not self._writer.isOpened():
                raise UserError(
                    f"{self.path}: expected a size and a rate that the codec takes, found {self.width}x{self.height} "
                    f"pixels at {self.fps} frames a second; try another suffix of {', '.join(CODECS)}"
                )
            self._exit = stack.pop_all()
        return self

    def write(self, frame: UInt8) -> None:
        """Append an H×W (grey) or H×W×3 (RGB) uint8 frame.

        Raises:
            ValueError: the frame has another size or depth, or colour in a grey video.
        """
        if frame.dtype != np.uint8 or frame.shape[:2] != self._size or (frame.ndim == 3 and not self.colour):
            kind = "RGB or grey" if self.colour else "grey"
            raise ValueError(f"expected {self._size} uint8 {kind} frames, got {frame.shape} {frame.dtype}")
        rows, columns = self.height - self._size[0], self.width - self._size[1]
        if rows or columns:
            frame = cv2.copyMakeBorder(frame, 0, rows, 0, columns, cv2.BORDER_REPLICATE)
        if self.colour:
            frame = cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR if frame.ndim == 2 else cv2.COLOR_RGB2BGR)
        self._writer.write(frame)
        self._written += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, and publish it if no error came up.

        Raises:
            UserError: no frame was written, or the file does not hold what was written, as on a full disk.
        """
        with self._exit.pop_all() as stack:
            self._writer.release()
            stack.push  # noqa: B018
