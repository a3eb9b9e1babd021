"""Bit rot is found wherever it is, and the remedy that is named helps."""

import hashlib
import json
import os

import pytest

from decofuse.errors import UserError
from decofuse.tracking.verify import verify


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A DVC repository with a recorded file, a folder, and what an earlier commit recorded."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    contents = {"a file": b"file", "folder/one.png": b"one", "folder/sub/two.png": b"two"}
    for name, content in contents.items():
        store(tmp_path, content)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    store(tmp_path, b"of an earlier commit")
    members = [{"md5": md5(contents[f"folder/{name}"]), "relpath": name} for name in ("one.png", "sub/two.png")]
    listing = json.dumps(members).encode()
    store(tmp_path, listing, ".dir")
    record(tmp_path, [{"path": "a file", "md5": md5(b"file")}, {"path": "folder", "md5": f"{md5(listing)}.dir"}])
    return tmp_path


def store(root, content, suffix=""):
    entry = cached(root, content, suffix)
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.write_bytes(content)


def cached(root, content, suffix=""):
    return root / ".dvc/cache/files/md5" / md5(content)[:2] / (md5(content)[2:] + suffix)


def record(root, outs, schema="2.0"):
    (root / "dvc.lock").write_text(json.dumps({"schema": schema, "stages": {"make": {"cmd": "x", "outs": outs}}}))


def findings():
    return [str(finding) for finding in verify().findings]


def test_all_is_well(repository):
    report = verify()
    assert (report.artifacts, report.entries, report.findings) == (3, 5, [])


def test_what_is_damaged_missing_or_extra_is_named_with_its_remedy(repository):
    (repository / "a file").write_bytes(b"fild")
    (repository / "folder/one.png").unlink()
    (repository / "folder/sub/three.png").write_bytes(b"three")
    assert findings() == [
        "a file: differs from dvc.lock; rm -r 'a file' && dvc checkout 'a file'",
        "folder/one.png: missing; dvc checkout folder/one.png",
        "folder/sub/three.png: extra, not in dvc.lock; rm folder/sub/three.png",
    ]


def test_a_damaged_cache_entry_is_removed_before_it_is_made_or_pulled_again(repository):
    entry = cached(repository, b"two")
    entry.write_bytes(b"twp")
    shown = entry.relative_to(repository)
    made = f"{shown}: damaged cache entry of folder/sub/two.png; rm -r folder/sub/two.png {shown} && dvc "
    assert findings() == [f"{made}repro --force --single-item make"]
    with (repository / ".dvc/config").open("a") as config:
        config.write("['remote \"storage\"']\n    url = elsewhere\n")
    assert findings() == [f"{made}pull folder/sub/two.png"]


def test_a_hard_link_into_the_cache_is_damaged_with_it(repository):
    (repository / "a file").unlink()
    os.link(cached(repository, b"file"), repository / "a file")
    assert findings() == []
    (repository / "a file").write_bytes(b"fild")
    assert [line.split(";")[0] for line in findings()] == [
        "a file: differs from dvc.lock",
        f"{cached(repository, b'file').relative_to(repository)}: damaged cache entry of a file",
    ]


def test_an_entry_of_another_commit_is_compared_too(repository):
    cached(repository, b"of an earlier commit").write_bytes(b"of an earlier commiu")
    (line,) = findings()
    assert "damaged cache entry of another commit; rm .dvc/cache/" in line


@pytest.mark.parametrize("damage", [False, True])
def test_without_its_listing_a_folder_is_compared_as_a_whole(repository, damage):
    (entry,) = (repository / ".dvc/cache/files/md5").rglob("*.dir")
    entry.unlink()
    assert findings() == []
    if damage:
        (repository / "folder/one.png").write_bytes(b"onf")
        assert findings() == ["folder: differs from dvc.lock; rm -r folder && dvc repro --force --single-item make"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "dvc.lock: expected DVC's record of a run, found none"),
        ("stages: [", "dvc.lock: expected YAML, found in line 1"),
        ("schema: '1.0'\nstages: {}", "dvc.lock: schema: Input should be '2.0', found '1.0'"),
        ("schema: '2.0'\nstages: {a: {outs: [{path: /etc/passwd, md5: x}]}}", "dvc.lock: stages.a.outs.0.path: "),
        ("schema: '2.0'\nstages: {a: {outs: [{path: x, md5: ../../x}]}}", "dvc.lock: stages.a.outs.0.md5: "),
        ("schema: '2.0'\nstages: {a: {outs: [{path: x, etag: x}]}}", "dvc.lock: stages.a.outs.0.md5: Field required"),
        ("!!python/object/apply:os.system ['touch owned']", "dvc.lock: expected YAML"),
    ],
)
def test_a_foreign_record_is_refused_in_one_line(repository, text, message):
    (repository / "dvc.lock").unlink()
    if text is not None:
        (repository / "dvc.lock").write_text(text)
    with pytest.raises(UserError) as error:
        verify()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert not (repository / "owned").exists()


def test_outside_a_dvc_repository(repository):
    (repository / ".dvc").rename(repository / "dvc")
    with pytest.raises(UserError, match="expected a DVC repository"):
        verify()
