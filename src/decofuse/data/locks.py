"""Lock files: size and SHA-256 of every file of a dataset, committed, so that everyone works on the same bytes."""

import json
from pathlib import Path
from typing import TypedDict

from decofuse.errors import UserError
from decofuse.files import sha256, write_json


class Entry(TypedDict):
    """Size [bytes] and SHA-256 of one file."""

    size: int
    sha256: str


def checksums(folder: Path) -> dict[str, Entry]:
    """The entry of each file below `folder`, by relative path, sorted."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): Entry(size=path.stat().st_size, sha256=sha256(path)) for path in paths}


def write_lock(folder: Path, lock: Path) -> None:
    """Lock the files below `folder`: write their entries to `lock` as JSON, atomically."""
    write_json(lock, checksums(folder))


def verify_lock(folder: Path, lock: Path) -> None:
    """Compare the files below `folder` with `lock`.

    Raises:
        UserError: a file is missing, extra or changed, or the lock is unreadable.
    """
    expected, found = _read(lock), checksums(folder)
    differences = {path: "missing" for path in expected if path not in found}
    differences |= {path: "not in the lock" for path in found if path not in expected}
    differences |= {path: "changed" for path in expected if path in found and expected[path] != found[path]}
    if differences:
        path = min(differences)
        raise UserError(
            f"{lock}: expected {len(expected)} files as locked, found {len(differences)} that differ, "
            f"the first: {path} ({differences[path]}); get the data again, or delete the lock if the change is meant"
        )


def _read(lock: Path) -> dict[str, Entry]:
    try:
        content = json.loads(lock.read_text(encoding="utf-8"))
        return {path: Entry(size=entry["size"], sha256=entry["sha256"]) for path, entry in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{lock}: expected a lock file (JSON), found {type(error).__name__}; restore it from git or delete it"
        ) from error
