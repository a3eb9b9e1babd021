import json
import logging
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decofuse.data.dataset import local
from decofuse.data.download import download
from decofuse.data.manifest import Manifest
from decofuse.data.prepare import prepare
from decofuse.data.registry import get
from decofuse.errors import UserError
from decofuse.files import sha256

WORKFLOW = Path(__file__).parents[2] / "workflow"


def save(path, value=100, shape=(16, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, value, dtype=np.uint8)).save(path)


@pytest.fixture
def own(tmp_path):
    for stem in ("1", "2", "3"):
        save(tmp_path / f"own/visible/{stem}.png")
        save(tmp_path / f"own/infrared/{stem}.png", 50)
    return tmp_path / "own"


def pack(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, f"top/{file.relative_to(folder)}")
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_own_folder(own, tmp_path):
    manifest = prepare(local("own"), own, tmp_path / "data/own")
    assert names(tmp_path / "data/own") == ["images", "manifest.csv", "pairing.json"]
    assert Manifest.read(tmp_path / "data/own/manifest.csv") == manifest
    assert [(pair.split, pair.stem) for pair in manifest.pairs] == [("test", "1"), ("test", "2"), ("test", "3")]
    assert manifest.pairs[0].path("visible") == tmp_path / "data/own/images/visible/1.png"


def test_own_folder_with_its_own_splits(own, tmp_path):
    (own / "splits.csv").write_text("split,stem\ntest,1\ntrain,2\ntrain,3\n")
    manifest = prepare(local("own"), own, tmp_path / "data/own")
    assert [(pair.split, pair.stem) for pair in manifest.pairs] == [("train", "2"), ("train", "3"), ("test", "1")]


def test_archive_and_folder_give_the_same(own, tmp_path):
    prepare(local("own"), own, tmp_path / "a")
    prepare(local("own"), pack(own, tmp_path / "own.zip"), tmp_path / "b")
    assert (tmp_path / "a/manifest.csv").read_bytes() == (tmp_path / "b/manifest.csv").read_bytes()


def test_what_was_left_out_is_on_file(own, tmp_path, caplog):
    (own / "visible/Thumbs.db").touch()
    (own / "visible/3.png").unlink()
    prepare(local("own"), own, tmp_path / "data")
    report = json.loads((tmp_path / "data/pairing.json").read_text())
    assert report == {"orphans": ["infrared/3.png"], "unlisted": [], "absent": [], "ignored": ["visible/Thumbs.db"]}
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


def test_lock_is_written_once_and_verified_ever_after(own, tmp_path):
    lock, out = tmp_path / "locks/own.json", tmp_path / "data"
    prepare(local("own"), own, out, lock=lock)
    first = lock.read_bytes()
    prepare(local("own"), own, out, lock=lock)
    assert lock.read_bytes() == first
    manifest = (out / "manifest.csv").read_bytes()
    save(own / "visible/2.png", 101)
    with pytest.raises(UserError, match=r"own\.json: expected 6 files as locked, found 1 .*visible/2\.png \(changed\)"):
        prepare(local("own"), own, out, lock=lock)
    assert (out / "manifest.csv").read_bytes() == manifest  # the good data of before are still whole
    assert Manifest.read(out / "manifest.csv").pairs[1].path("visible").is_file()
    assert names(out) == ["images", "manifest.csv", "pairing.json"]


def test_bad_images_leave_no_manifest_and_no_lock(own, tmp_path):
    out, lock = tmp_path / "data", tmp_path / "own.json"
    prepare(local("own"), own, out)
    save(own / "infrared/2.png", shape=(16, 21))
    with pytest.raises(UserError, match=r"data/images/infrared/2\.png: expected 16x20"):
        prepare(local("own"), own, out, lock=lock)
    assert not (out / "manifest.csv").exists()
    assert not lock.exists()


def test_removed_files_do_not_linger(own, tmp_path):
    prepare(local("own"), own, tmp_path / "data")
    (own / "visible/2.png").unlink()
    (own / "infrared/2.png").unlink()
    prepare(local("own"), own, tmp_path / "data")
    assert names(tmp_path / "data/images/visible") == ["1.png", "3.png"]


def test_manual_dataset(tmp_path):
    source = tmp_path / "m3fd/source"
    with pytest.raises(UserError, match=r"fetched by hand; download it from https://github.com/.* Vis/\{stem\}\.png"):
        prepare(get("m3fd"), source, tmp_path / "m3fd")
    save(source / "vis/00000.png")
    save(source / "ir/00000.png")
    assert [pair.split for pair in prepare(get("m3fd"), source, tmp_path / "m3fd").pairs] == ["test"]


@pytest.mark.parametrize(
    ("dataset", "match"),
    [(local("own"), "expected a folder with visible/"), (get("tno"), "expected the archive of tno")],
)
def test_missing_source(tmp_path, dataset, match):
    with pytest.raises(UserError, match=match):
        prepare(dataset, tmp_path / "nowhere", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("roadscene", {"train": 160, "val": 11, "test": 50}),
        ("tno", {"test": 25}),
        ("mri_ct", {"test": 21}),
        ("mri_pet", {"test": 42}),
        ("mri_spect", {"test": 73}),
        ("mffb", {"test": 105}),
        ("mefb", {"test": 20}),  # the mirror has 20 of 100
        ("camvid", {"train": 123, "val": 51}),  # 123 of 367 and 51 of 101, and no test split
    ],
)
def test_public_archives(mirror, tmp_path, name, pairs):
    dataset, archive = get(name), tmp_path / "archive.zip"
    splits, lock = WORKFLOW / "splits" / f"{name}.csv", WORKFLOW / "locks" / f"{name}.json"
    download(dataset.url, archive, str(mirror))
    manifest = prepare(
        dataset,
        archive,
        tmp_path / name,
        splits=None if dataset.has_split_folders else splits,
        lock=lock if lock.exists() else None,
    )
    assert Counter(pair.split for pair in manifest.pairs) == pairs
    assert manifest.labelled == bool(dataset.classes)


def test_roadscene_test_split_is_the_one_of_published_tables(mirror, tmp_path):
    cddfuse = mirror / "github.com/Zhaozixiang1228/MMIF-CDDFuse/archive/refs/heads/main.zip"
    with zipfile.ZipFile(cddfuse) as archive:
        published = {
            Path(name).stem: archive.read(name) for name in archive.namelist() if "/test_img/RoadScene/vi/" in name
        }
    archive = tmp_path / "archive.zip"
    download(get("roadscene").url, archive, str(mirror))
    manifest = prepare(get("roadscene"), archive, tmp_path / "out", splits=WORKFLOW / "splits" / "roadscene.csv")
    chosen = {pair.stem: pair.path("visible") for pair in manifest.split("test")}
    assert chosen.keys() == published.keys()
    assert all(path.read_bytes() == published[stem] for stem, path in chosen.items())


def test_committed_locks_belong_to_what_is_on_the_mirror(mirror, tmp_path):
    """One file of a lock, checked by hand rather than through the code that made it."""
    entry = json.loads((WORKFLOW / "locks" / "tno.json").read_text())["visible/01.png"]
    with zipfile.ZipFile(mirror / "github.com/Zhaozixiang1228/MMIF-CDDFuse/archive/refs/heads/main.zip") as archive:
        path = Path(archive.extract("MMIF-CDDFuse-main/test_img/TNO/vi/01.png", tmp_path))
    assert entry == {"size": path.stat().st_size, "sha256": sha256(path)}
