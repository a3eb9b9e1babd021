"""`decofuse fuse` as people type it."""

import sys
import zipfile

import numpy as np
import pytest
import torch

from decofuse.cli import main
from decofuse.data.images import read_image, read_pixels, write_image
from decofuse.fusing.video import VideoSource, write_video
from decofuse.models.cddfuse import CDDFuse
from decofuse.training.checkpoint import Provenance, save_weights


class Command:
    """Runs the command line in this process; keeps what it said."""

    def __init__(self, monkeypatch, capsys, caplog):
        self._monkeypatch, self._capsys, self._caplog = monkeypatch, capsys, caplog
        caplog.set_level("INFO")

    def __call__(self, *words):
        self._caplog.clear()
        self._monkeypatch.setattr(sys, "argv", ["decofuse", "fuse", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code or 0
        self.error = self._capsys.readouterr().err
        self.said = [record.getMessage() for record in self._caplog.records if record.name.startswith("decofuse")]
        return code


@pytest.fixture
def fuse(monkeypatch, capsys, caplog):
    return Command(monkeypatch, capsys, caplog)


def noise(seed, *shape, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


@pytest.fixture
def folders(tmp_path):
    """Three pairs, one of another size and in grey, one of 16 bits."""
    for seed, (name, shape, dtype) in enumerate(
        [("a", (48, 64, 3), np.uint8), ("b", (50, 61), np.uint8), ("c.2", (48, 64, 3), np.uint16)]
    ):
        write_image(tmp_path / "visible" / f"{name}.png", noise(seed, *shape, dtype=dtype))
        write_image(tmp_path / "infrared" / f"{name}.tif", noise(seed + 9, *shape[:2], dtype=dtype))
    return tmp_path


AVERAGE = ("--method", "average")


def test_folders_keep_names_sizes_colour_and_depth(fuse, folders):
    assert (
        fuse(*AVERAGE, "--visible", folders / "visible", "--infrared", folders / "infrared", "--out", folders / "f")
        == 0
    )
    found = {path.name: read_pixels(path) for path in (folders / "f").iterdir()}
    assert {name: (image.shape, image.dtype) for name, image in found.items()} == {
        "a.png": ((48, 64, 3), np.uint8),
        "b.png": ((50, 61), np.uint8),
        "c.2.png": ((48, 64, 3), np.uint16),
    }
    assert fuse.said[-1] == f"fused 3 of 3, in {folders / 'f'}"


def test_a_batch_changes_nothing(fuse, folders):
    sources = ("--visible", folders / "visible", "--infrared", folders / "infrared")
    fuse(*AVERAGE, *sources, "--out", folders / "one")
    fuse(*AVERAGE, *sources, "--out", folders / "two", "--batch", 3)
    for path in (folders / "one").iterdir():
        assert np.array_equal(read_pixels(path), read_pixels(folders / "two" / path.name))


def test_patterns_and_other_tasks(fuse, folders):
    words = ("--source-a", folders / "visible/[ab].*", "--source-b", folders / "infrared/?.tif", "--out", folders / "f")
    assert fuse(*AVERAGE, *words, "--task", "multi-focus") == 0
    assert sorted(path.name for path in (folders / "f").iterdir()) == ["a.png", "b.png"]


def test_faults_are_named_the_rest_is_fused_and_the_status_tells(fuse, folders):
    (folders / "visible/lonely.png").write_bytes((folders / "visible/a.png").read_bytes())
    (folders / "infrared/a.tif").write_bytes(b"broken")
    write_image(folders / "infrared/b.tif", noise(0, 50, 60))
    code = fuse(*AVERAGE, "--visible", folders / "visible", "--infrared", folders / "infrared", "--out", folders / "f")
    assert code == 3
    assert [path.name for path in (folders / "f").iterdir()] == ["c.2.png"]
    lonely, broken, smaller, summary = fuse.said
    assert lonely.startswith(f"{folders}/visible/lonely.png: has no partner of its name")
    assert broken.startswith(f"{folders}/infrared/a.tif: expected a readable image, found")
    assert smaller.startswith(
        f"{folders}/infrared/b.tif: expected 61x50 pixels (width x height) as {folders}/visible/b.png"
    )
    assert "magick IN -resize 61x50! OUT" in smaller
    assert summary.startswith("fused 1 of 3")


def test_nothing_fused_is_an_error(fuse, folders):
    for path in (folders / "infrared").iterdir():
        path.write_bytes(b"broken")
    code = fuse(*AVERAGE, "--visible", folders / "visible", "--infrared", folders / "infrared", "--out", folders / "f")
    assert code == 1
    assert "decofuse: error: expected a pair that can be fused, found none" in fuse.error
    assert not list((folders / "f").iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--visible", "a.png", "--out", "f"), "expected --visible and --infrared, or --source-a and --source-b"),
        (("--source-a", "a.png", "--source-b", "b.png", "--out", "f"), "expected --task beside --source-a"),
        (
            ("--visible", "visible", "--infrared", "nowhere", "--out", "f"),
            "nowhere: expected a file, a folder or a pat",
        ),
        (("--visible", "visible", "--infrared", "infrared", "--out", "f.png"), "f.png: expected a folder for 3 pairs"),
        (
            ("--visible", "visible/a.png", "--infrared", "infrared/a.tif", "--out", "f.gif"),
            "f.gif: expected a name that ends in one of .png,",
        ),
        (
            ("--visible", "visible/a.png", "--infrared", "infrared/a.tif", "--out", "visible/a.png"),
            "visible/a.png: expected a place of its own, found a source",
        ),
        (
            ("--visible", "visible/a.png", "--infrared", "infrared/a.tif", "--out", "visible/a.png/f.png"),
            "visible/a.png: expected a folder that can be made, found File exists",
        ),
        (
            ("--visible", "visible/c.2.png", "--infrared", "infrared/c.2.tif", "--out", "f.jpg"),
            "f.jpg: expected a format with 16 bits",
        ),
        (
            ("--visible", "visible/a.png", "--infrared", "infrared/b.tif", "--out", "f.png"),
            "infrared/b.tif: expected 64x48 pixels",
        ),
        (("--visible", "v.mp4", "--infrared", "infrared", "--out", "f.mp4"), "expected two videos or two of images"),
        (
            ("--visible", "visible", "--infrared", "infrared", "--out", "f", "--max-memory", "much"),
            "--max-memory: expected a size such as 4GB or 512MiB, found 'much'",
        ),
        (
            ("--visible", "visible/a.png", "--infrared", "infrared/a.tif", "--out", "f.png", "--max-memory", "1kB"),
            "--max-memory: expected at least",
        ),
        (
            ("--visible", "visible", "--infrared", "infrared", "--out", "f", "--task", "painting"),
            "expected a task that",
        ),
    ],
)
def test_mistakes_are_refused_in_one_line_and_leave_nothing(fuse, folders, monkeypatch, words, message):
    monkeypatch.chdir(folders)
    before = sorted(folders.rglob("*"))
    assert fuse(*AVERAGE, *words) == 1
    assert message in fuse.error
    assert fuse.error.count("\n") == 1
    assert [path for path in folders.rglob("*") if path not in before and path.is_file()] == []


def test_weights_on_real_images_in_tiles_within_a_limit(fuse, mirror, tmp_path):
    """A pair, doubled, whole and within so little memory that it has to be cut."""
    archive = mirror / "github.com/hanna-xu/RoadScene/archive/refs/heads/master.zip"
    with zipfile.ZipFile(archive) as names:
        for role, folder in (("visible", "crop_LR_visible"), ("infrared", "cropinfrared")):
            (tmp_path / f"{role}.jpg").write_bytes(names.read(f"RoadScene-master/{folder}/FLIR_08094.jpg"))
            image = read_image(tmp_path / f"{role}.jpg")
            write_image(tmp_path / f"{role}.png", image.repeat(2, axis=0).repeat(2, axis=1))
    torch.manual_seed(0)
    size = {"channels": 8, "heads": 2, "blocks": 1}
    save_weights(
        tmp_path / "weights.safetensors", CDDFuse(**size).state_dict(), Provenance("cddfuse", "fusion", size, {})
    )
    sources = ("--visible", tmp_path / "visible.png", "--infrared", tmp_path / "infrared.png")
    assert fuse("--weights", tmp_path, *sources, "--out", tmp_path / "whole.png") == 0
    assert fuse("--weights", tmp_path, *sources, "--out", tmp_path / "x.png", "--max-memory", "1kB") == 1
    enough, unit = fuse.error.split("at least ")[1].split(" for ")[0].split()
    limit = float(enough) * {"MiB": 1, "GiB": 1024}[unit] * 1.02 + 60
    assert fuse("--weights", tmp_path, *sources, "--out", tmp_path / "tiled.png", "--max-memory", f"{limit}MiB") == 0
    whole, tiled = (read_image(tmp_path / f"{name}.png").astype(int) for name in ("whole", "tiled"))
    assert whole.shape == tiled.shape == read_image(tmp_path / "visible.png").shape
    assert 0 < np.abs(whole - tiled).mean() < 8  # an approximation: its attention sees a tile


def moving(path, count, height=48, width=64):
    frames = [noise(i, height, width, 3) // 2 + 60 for i in range(count)]
    with write_video(path, 25, height, width, colour=True) as sink:
        for frame in frames:
            sink.write(frame)
    return frames


def test_videos_are_fused_frame_by_frame(fuse, tmp_path):
    first, second = moving(tmp_path / "v.mkv", 5), moving(tmp_path / "i.mkv", 5)
    words = ("--visible", tmp_path / "v.mkv", "--infrared", tmp_path / "i.mkv", "--out", tmp_path / "f.mkv")
    assert fuse(*AVERAGE, *words, "--batch", 2) == 0
    with VideoSource(tmp_path / "f.mkv") as video:
        fused = list(video)
    assert len(fused) == 5
    assert all(np.abs(f.astype(int) - a).max() <= 2 for f, a, b in zip(fused, first, second, strict=True))


@pytest.mark.parametrize(("first", "second", "short"), [(6, 4, "i.mkv"), (4, 6, "v.mkv")])
def test_a_video_that_ends_early_is_named_and_the_rest_kept(fuse, tmp_path, first, second, short):
    moving(tmp_path / "v.mkv", first)
    moving(tmp_path / "i.mkv", second)
    words = ("--visible", tmp_path / "v.mkv", "--infrared", tmp_path / "i.mkv", "--out", tmp_path / "f.mkv")
    assert fuse(*AVERAGE, *words) == 3
    assert any(line.startswith(f"{tmp_path / short}: ends early, after 4 frames, before") for line in fuse.said)
    with VideoSource(tmp_path / "f.mkv") as video:
        assert len(list(video)) == 4


def test_videos_of_two_sizes_are_refused(fuse, tmp_path):
    moving(tmp_path / "v.mkv", 3)
    moving(tmp_path / "i.mkv", 3, width=62)
    words = ("--visible", tmp_path / "v.mkv", "--infrared", tmp_path / "i.mkv", "--out", tmp_path / "f.mkv")
    assert fuse(*AVERAGE, *words) == 1
    assert "i.mkv: expected 64x48 pixels" in fuse.error
    assert not (tmp_path / "f.mkv").exists()
