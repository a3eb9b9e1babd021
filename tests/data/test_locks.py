import json

import pytest

from decofuse.data.locks import verify_lock, write_lock
from decofuse.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for name in ("visible/1.png", "infrared/1.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode())
    write_lock(tmp_path / "images", tmp_path / "lock.json")
    return tmp_path / "images"


def test_content(folder):
    entries = json.loads((folder.parent / "lock.json").read_text())
    assert list(entries) == ["infrared/1.png", "visible/1.png"]
    assert entries["visible/1.png"] == {
        "size": 13,
        "sha256": "1abc777ca65e926cd9f73d437a709393ed39cff61661a1ae9dbeb25136797802",
    }


def test_same_files_pass(folder):
    verify_lock(folder, folder.parent / "lock.json")


def test_missing_file(folder):
    (folder / "visible/1.png").unlink()
    with pytest.raises(UserError, match=r"expected 2 files as locked, found 1 that .*: visible/1\.png \(missing\)"):
        verify_lock(folder, folder.parent / "lock.json")


def test_extra_files(folder):
    (folder / "visible/3.png").touch()
    (folder / "visible/2.png").touch()
    with pytest.raises(UserError, match=r"found 2 that differ, the first: visible/2\.png \(not in the lock\)"):
        verify_lock(folder, folder.parent / "lock.json")


def test_changed_file_of_the_same_size(folder):
    (folder / "infrared/1.png").write_bytes(b"infrared/2.png")
    with pytest.raises(UserError, match=r"infrared/1\.png \(changed\); get the data again, or delete the lock"):
        verify_lock(folder, folder.parent / "lock.json")


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": {"size": 1}}'])
def test_no_lock_file(folder, content):
    (folder.parent / "lock.json").write_text(content)
    with pytest.raises(UserError, match=r"lock\.json: expected a lock file \(JSON\), found \w+; restore it"):
        verify_lock(folder, folder.parent / "lock.json")
