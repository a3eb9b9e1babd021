import io
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from decofuse.data import archive as module
from decofuse.data.archive import extract, select
from decofuse.data.dataset import Dataset, local
from decofuse.data.registry import get
from decofuse.errors import UserError
from decofuse.files import atomic_folder

PLAIN = Dataset("plain", "infrared-visible", {"visible": "vi/{stem}", "infrared": "ir/{stem}"}, repository="a/b/main")
GOOD = {"top/vi/1.png": b"one", "top/ir/1.png": b"two"}


def make_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def listed(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def refused(source: Path, tmp_path: Path, match: str, dataset: Dataset = PLAIN) -> None:
    """The source is refused with one line that names it, and nothing stays behind."""
    images = tmp_path / "out" / "images"
    with pytest.raises(UserError, match=match) as error, atomic_folder(images) as folder:
        extract(source, dataset, folder)
    assert "\n" not in str(error.value)
    assert str(source) in str(error.value)
    assert listed(tmp_path / "out") == []
    assert {path.name for path in tmp_path.iterdir()} <= {"out", source.name}


def test_takes_what_is_needed_and_nothing_else(tmp_path):
    files = {
        "RoadScene-master/README.md": b"text",
        "RoadScene-master/crop_LR_visible/A.b.JPG": b"visible",
        "RoadScene-master/crop_LR_visible/Thumbs.db": b"junk",
        "RoadScene-master/crop_LR_visible/.hidden.jpg": b"junk",
        "RoadScene-master/crop_HR_visible/A.b.jpg": b"other",
        "RoadScene-master/cropinfrared/A.b.jpg": b"infrared",
    }
    selection = extract(make_zip(tmp_path / "r.zip", files), get("roadscene"), tmp_path / "images")
    assert listed(tmp_path / "images") == ["infrared/A.b.jpg", "visible/A.b.jpg"]
    assert (tmp_path / "images/visible/A.b.jpg").read_bytes() == b"visible"
    assert selection.ignored == ("crop_LR_visible/.hidden.jpg", "crop_LR_visible/Thumbs.db")


@pytest.mark.parametrize(
    ("name", "paths", "expected"),
    [
        (
            "camvid",
            ["CamVid/train/1.png", "CamVid/trainannot/1.png", "CamVid/val.txt", "CamVid/other/2.png"],
            {"image/train/1.png", "labels/train/1.png"},
        ),
        (
            "msrs",
            ["train/vi/1D.png", "train/ir/1D.png", "train/Segmentation_labels/1D.png", "detection/vi/1D.png"],
            {"visible/train/1D.png", "infrared/train/1D.png", "labels/train/1D.png"},
        ),
        (
            "mefb",  # the name of the folder is the stem; the file names differ in case, and there are copies beside
            ["input/Sky/sKY_a.png", "input/Sky/Sky_B.JPG", "input/Sky/over.png", "input/Sky/._Sky_A.png"],
            {"source_a/Sky.png", "source_b/Sky.jpg"},
        ),
        ("tno", ["test_img/TNO/vi/01.png", "test_img/TNO/ir/01.png"], {"visible/01.png", "infrared/01.png"}),
        ("mri_ct", ["test_img/MRI_CT/MRI/1.png", "test_img/MRI_CT/CT/1.png"], {"source_a/1.png", "source_b/1.png"}),
        (
            "fmb",
            ["test/Visible/1.png", "test/Infrared/1.png", "test/Label/1.png", "test/color/1.png"],
            {"visible/test/1.png", "infrared/test/1.png", "labels/test/1.png"},
        ),
        (
            "pst900",
            ["test/rgb/1.png", "test/thermal/1.png", "test/labels/1.png", "test/thermal_raw/1.png"],
            {"visible/test/1.png", "infrared/test/1.png", "labels/test/1.png"},
        ),
        ("m3fd", ["Vis/1.png", "Ir/1.png"], {"visible/1.png", "infrared/1.png"}),
    ],
)
def test_layouts(name, paths, expected):
    assert set(select(paths, get(name), Path("source")).files) == expected


def test_folder_as_source(tmp_path):
    for name in ("visible/1.png", "infrared/1.png", "visible/notes.txt", "else/deep/1.png"):
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    selection = extract(tmp_path / "own", local("own"), tmp_path / "images")
    assert listed(tmp_path / "images") == ["infrared/1.png", "visible/1.png"]
    assert selection.ignored == ("visible/notes.txt",)


def test_folder_with_a_loop_of_links(tmp_path):
    for name in ("vi/1.png", "ir/1.png"):
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    (tmp_path / "own/loop").symlink_to(tmp_path / "own")
    assert set(extract(tmp_path / "own", PLAIN, tmp_path / "images").files) == {"visible/1.png", "infrared/1.png"}


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "top/../../evil.png",
        "/evil.png",
        "C:/evil.png",
        "c:evil.png",
        "top\\..\\evil.png",
        "top/vi/\n.png",
    ],
)
def test_names_that_lead_elsewhere(tmp_path, name):
    source = make_zip(tmp_path / "a.zip", GOOD | {name: b"evil"})
    refused(source, tmp_path, "would be written outside of its folder; do not use this archive")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices(tmp_path, kind):
    link = zipfile.ZipInfo("top/vi/2.png")
    link.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(make_zip(tmp_path / "a.zip", GOOD), "a") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(tmp_path / "a.zip", tmp_path, r"top/vi/2\.png is a link or device")


def test_encrypted(tmp_path):
    source = make_zip(tmp_path / "a.zip", GOOD)
    content = bytearray(source.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    source.write_bytes(content)
    refused(source, tmp_path, "is encrypted or oddly compressed")


def test_odd_compression(tmp_path):
    refused(make_zip(tmp_path / "a.zip", GOOD, zipfile.ZIP_LZMA), tmp_path, "is encrypted or oddly compressed")


def test_bloated_archive(tmp_path):
    source = make_zip(tmp_path / "a.zip", GOOD | {"top/vi/2.png": bytes(module.SMALL_BYTES)})
    refused(source, tmp_path, r"bytes unpack to \d+, at most 100 times as many")


def test_bloated_file_that_is_not_needed_does_no_harm(tmp_path):
    source = make_zip(tmp_path / "a.zip", GOOD | {"top/other/2.png": bytes(module.SMALL_BYTES)})
    extract(source, PLAIN, tmp_path / "images")
    assert listed(tmp_path / "images") == ["infrared/1.png", "visible/1.png"]


@pytest.mark.parametrize(
    ("limit", "value", "match"),
    [
        ("MAX_FILES", 1, "2 files, at most 1 are accepted"),
        ("MAX_FILE_BYTES", 2, r"vi/1\.png unpacks to 3 bytes, at most 2"),
        ("MAX_TOTAL_BYTES", 5, "bytes unpack to 6, .* 5 in all"),
    ],
)
def test_limits(tmp_path, monkeypatch, limit, value, match):
    monkeypatch.setattr(module, limit, value)
    refused(make_zip(tmp_path / "a.zip", GOOD), tmp_path, match)


def test_understated_size(tmp_path):
    source = make_zip(tmp_path / "a.zip", GOOD | {"top/vi/2.png": b"x" * 1000})
    content = source.read_bytes()
    source.write_bytes(content.replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    refused(source, tmp_path, "expected a whole ZIP archive, found Bad CRC-32")


def test_checksum_error(tmp_path):
    source = make_zip(tmp_path / "a.zip", GOOD, zipfile.ZIP_STORED)
    source.write_bytes(source.read_bytes().replace(b"two", b"twp"))
    refused(source, tmp_path, r"expected a whole ZIP archive, found Bad CRC-32 for file 'top/ir/1\.png'; delete it")


@pytest.mark.parametrize("content", [b"", b"<html>", make_zip(io.BytesIO(), GOOD).getvalue()[:-30]])
def test_no_whole_archive(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    refused(tmp_path / "a.zip", tmp_path, "expected a whole ZIP archive, found")


def test_missing_source(tmp_path):
    refused(tmp_path / "a.zip", tmp_path, r"could not be unpacked .*No such file or directory.*; check that it exists")


def test_random_damage_is_always_a_plain_error(tmp_path):
    source = make_zip(tmp_path / "a.zip", GOOD | {"top/vi/2.png": b"abc" * 50})
    content = np.frombuffer(source.read_bytes(), dtype=np.uint8)
    random = np.random.default_rng(0)
    refusals = 0
    for trial in range(400):
        damaged = content.copy()
        damaged[random.integers(0, len(content), size=3)] = random.integers(0, 256, size=3)
        source.write_bytes(damaged.tobytes())
        try:
            extract(source, PLAIN, tmp_path / "images" / str(trial))
        except UserError:
            refusals += 1
    assert refusals > 100
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "images"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_same_name_twice(tmp_path):
    with zipfile.ZipFile(make_zip(tmp_path / "a.zip", GOOD), "a") as archive:
        archive.writestr("top/vi/1.png", b"other")
    refused(tmp_path / "a.zip", tmp_path, "found one name twice")


@pytest.mark.parametrize("other", ["top/vi/a.jpg", "top/vi/A.png"])
def test_same_stem_twice(tmp_path, other):
    source = make_zip(tmp_path / "a.zip", GOOD | {"top/vi/a.png": b"x", other: b"y"})
    refused(source, tmp_path, r"vi/[aA]\.\w+ and vi/a\.png are both the visible of [aA]; remove or rename one")


def test_layout_that_lacks_a_source(tmp_path):
    source = make_zip(tmp_path / "a.zip", {"top/vi/1.png": b"x", "top/thermal/1.png": b"y"})
    refused(source, tmp_path, r"expected files like ir/\{stem\}\.png, found none")
