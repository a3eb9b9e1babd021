"""Files are written whole or not at all, even by a process that is killed."""

import os
import signal
import subprocess
import sys

import pytest

from decofuse.errors import UserError
from decofuse.files import atomic, atomic_folder, sha256, verified, write_json, write_text


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "a" / "x.txt"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert temporary.suffix == ".txt"
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(path.parent) == ["x.txt"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("half")
        _ = 1 / 0
    assert (path.read_text(), names(tmp_path)) == ("old", ["x.txt"])


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "folder") as temporary:
            (temporary / content).touch()
    assert names(tmp_path / "folder") == ["new"]
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "folder"):
        _ = 1 / 0
    assert (names(tmp_path), names(tmp_path / "folder")) == (["folder"], ["new"])


@pytest.mark.parametrize("function", ["atomic", "atomic_folder"])
def test_leftovers_of_a_killed_process_are_swept(tmp_path, function):
    code = (
        f"import os, signal, pathlib; from decofuse.files import {function} as f\n"
        "with f(pathlib.Path('x.bin')): os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    with atomic(tmp_path / "x.bin") as temporary:
        temporary.write_bytes(b"")
    assert names(tmp_path) == ["x.bin"]


def test_a_living_writer_keeps_its_file(tmp_path):
    with atomic(tmp_path / "x.bin") as first, atomic(tmp_path / "x.bin") as second:
        assert first != second
        assert first.exists()


def test_json_refuses_what_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not names(tmp_path)


def test_a_file_is_verified_by_its_checksum(tmp_path):
    path = tmp_path / "x"
    with pytest.raises(UserError, match="listed in the list, not found"):
        verified(path, "", "the list")
    path.write_bytes(b"abc")
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert verified(path, sha256(path), "the list") == path
    with pytest.raises(UserError, match="differs from the checksum in the list"):
        verified(path, "0", "the list")


def names(folder):
    return [path.name for path in folder.iterdir()]


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
