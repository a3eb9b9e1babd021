"""Videos: what is written is read again, whole or not at all."""

import resource
import struct

import cv2
import numpy as np
import pytest

from decofuse.errors import UserError
from decofuse.fusing.video import CODECS, UNKNOWN_FPS, VIDEO_SUFFIXES, VideoSource, write_video

HEIGHT, WIDTH, COUNT = 48, 64, 12
LARGEST_ERROR = {".mp4": 25, ".m4v": 25, ".mov": 25, ".avi": 16, ".mkv": 0}  # in levels, on the frames below


def frames(colour=True, height=HEIGHT, width=WIDTH, count=COUNT):
    """A smooth pattern that moves; its colours differ, so that mixed-up channels show."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for index in range(count):
        channels = [
            np.uint8(127 + 90 * np.sin(columns / 15 + index / 4 + k) * np.cos(rows / 19 + 2 * k)) for k in range(3)
        ]
        yield np.stack(channels, axis=-1) if colour else channels[0]


def write(path, images, fps=25.0, colour=True):
    images = list(images)
    with write_video(path, fps, *images[0].shape[:2], colour=colour) as sink:
        for image in images:
            sink.write(image)
    return images


def read(path):
    with VideoSource(path) as source:
        return list(source)


def difference(first, second):
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("colour", [True, False], ids=["colour", "grey"])
@pytest.mark.parametrize("suffix", CODECS)
def test_what_is_written_is_read(tmp_path, suffix, colour):
    path = tmp_path / f"video{suffix.upper()}"
    written = write(path, frames(colour), 29.97, colour)
    with VideoSource(path) as source:
        found = list(source)
        assert (source.height, source.width, source.announced, source.read) == (HEIGHT, WIDTH, COUNT, COUNT)
        assert source.fps == pytest.approx(29.97, abs=1e-3)
    assert {frame.shape for frame in found} == {written[0].shape}
    assert difference(written, found) <= LARGEST_ERROR[suffix]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", CODECS)
def test_odd_sizes_lose_nothing(tmp_path, suffix):
    path = tmp_path / f"odd{suffix}"
    images = list(frames(height=47, width=63))
    with write_video(path, 25, 47, 63, colour=True) as sink:
        for image in images:
            sink.write(image)
        assert (sink.height, sink.width) == (48, 64)
    found = read(path)
    assert found[0].shape == (48, 64, 3)
    assert difference(images, [frame[:47, :63] for frame in found]) <= LARGEST_ERROR[suffix]


def test_a_lossless_odd_frame_repeats_its_last_row_and_column(tmp_path):
    write(tmp_path / "odd.mkv", frames(False, 47, 63), colour=False)
    for frame in read(tmp_path / "odd.mkv"):
        assert (frame[47] == frame[46]).all()
        assert (frame[:, 63] == frame[:, 62]).all()


def test_grey_frames_in_a_colour_video(tmp_path):
    grey = list(frames(False, count=2))
    write(tmp_path / "video.mkv", [*frames(count=1), *grey])
    assert difference(grey, read(tmp_path / "video.mkv")[1:]) == 0


@pytest.mark.parametrize("image", [np.zeros((48, 64, 3), np.uint8), np.zeros((40, 64), np.uint8), np.zeros((48, 64))])
def test_a_frame_that_does_not_fit_is_refused(tmp_path, image):
    path = tmp_path / "video.mkv"
    with pytest.raises(ValueError, match="uint8 grey frames"), write_video(path, 25, 48, 64, colour=False) as sink:
        sink.write(image)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_video_that_fails(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"an earlier one")
    with pytest.raises(ZeroDivisionError), write_video(path, 25, HEIGHT, WIDTH, colour=True) as sink:
        sink.write(next(frames()))
        assert len(list(tmp_path.iterdir())) == 2
        raise ZeroDivisionError
    assert path.read_bytes() == b"an earlier one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", CODECS)
def test_a_video_without_frames_is_not_published(tmp_path, suffix):
    with (
        pytest.raises(UserError, match="at least one frame"),
        write_video(tmp_path / f"v{suffix}", 25, 8, 8, colour=True),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", CODECS)
def test_a_video_that_does_not_fit_on_the_disk_is_not_published(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (40, 480, 640), np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(UserError, match="check the free space"):
            write(tmp_path / f"video{suffix}", noise, colour=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["video.gif", "video.webm", "video"])
def test_a_suffix_that_is_not_written(tmp_path, name):
    with pytest.raises(UserError, match=r"\.mp4.*\.mkv"), write_video(tmp_path / name, 25, 8, 8, colour=True):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0, -1, float("nan"), 240.123])
def test_a_rate_that_the_codec_does_not_take(tmp_path, fps):
    with pytest.raises(UserError, match="a size and a rate"), write_video(tmp_path / "v.mp4", fps, 8, 8, colour=True):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_video(tmp_path, capfd):
    text, noise, empty = (tmp_path / name for name in ("text.mp4", "noise.mkv", "empty.avi"))
    text.write_text("no video\n" * 500)
    noise.write_bytes(np.random.default_rng(0).bytes(20_000))
    empty.touch()
    for path in (text, noise, empty):
        with pytest.raises(UserError, match=f"{path.name}: expected a readable video"):
            VideoSource(path)
    with pytest.raises(UserError, match=r"none\.mp4: .*no such file"):
        VideoSource(tmp_path / "none.mp4")
    with pytest.raises(UserError, match="no such file"):
        VideoSource(tmp_path)
    assert capfd.readouterr().err == ""


def test_a_video_without_frames(tmp_path):
    """OpenCV leaves a header behind where nothing was written."""
    path = tmp_path / "video.avi"
    cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48)).release()
    with pytest.raises(UserError, match=r"video\.avi: .*no frame"):
        VideoSource(path)


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_a_video_that_is_cut_off_ends_early(tmp_path, suffix, capfd):
    path = tmp_path / f"video{suffix}"
    written = write(path, frames())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with VideoSource(path) as source:
        found = list(source)
        assert source.announced == COUNT
        assert 2 < source.read == len(found) < COUNT
    whole = len(found) - 1
    assert difference(written[:whole], found[:whole]) <= LARGEST_ERROR[suffix]
    assert capfd.readouterr().err == ""


def test_an_mp4_that_is_cut_off_is_unreadable(tmp_path):
    path = tmp_path / "video.mp4"
    write(path, frames())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(UserError, match="without its end"):
        VideoSource(path)


def test_a_turned_phone_video_is_read_as_stored(tmp_path):
    path = tmp_path / "video.mp4"
    write(path, frames())
    upright, data = read(path), bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44  # behind type, version, times, track, duration, layer and volume
    assert struct.unpack_from(">9i", data, matrix) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, matrix, 0, 65536, 0, -65536, 0, 0, HEIGHT << 16, 0, 1 << 30)
    path.write_bytes(data)
    assert cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).read()[1].shape == (WIDTH, HEIGHT, 3)
    assert difference(upright, read(path)) == 0


def test_sizes_that_change_are_brought_to_the_first(tmp_path):
    """JPEG files in a row are a video, one that says neither its rate nor its length."""
    path = tmp_path / "video.avi"
    sizes = ((48, 64), (24, 32), (60, 40))
    path.write_bytes(b"".join(cv2.imencode(".jpg", next(frames(height=h, width=w)))[1].tobytes() for h, w in sizes))
    with VideoSource(path) as source:
        assert (source.fps, source.announced) == (UNKNOWN_FPS, None)
        assert [frame.shape for frame in source] == [(48, 64, 3)] * 3


def test_a_clock_tick_is_no_rate(tmp_path):
    write(tmp_path / "video.mkv", frames(), fps=1000)
    with VideoSource(tmp_path / "video.mkv") as source:
        assert source.fps == UNKNOWN_FPS


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".webm", "VP80"), (".mpg", "MPG2"), (".mpeg", "MPG1"), (".wmv", "WMV2"), (".ts", "mp4v")],
)
def test_what_is_read_but_not_written(tmp_path, suffix, codec):
    path = tmp_path / f"video{suffix}"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 25, (WIDTH, HEIGHT))
    images = list(frames())
    for image in images:
        writer.write(image[..., ::-1].copy())
    writer.release()
    assert suffix in VIDEO_SUFFIXES
    assert difference(images, read(path)) <= 60


def test_reading_goes_on_where_it_stopped(tmp_path):
    written = write(tmp_path / "video.mkv", frames())
    with VideoSource(tmp_path / "video.mkv") as source:
        first = next(source)
        assert source.read == 1
        assert difference(written, [first, *source]) == 0
