"""Files that are written whole or not at all, and their checksums."""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from decofuse.errors import UserError


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, on failure it is removed.

    The temporary name keeps the suffix of `path`, because image writers choose the format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it replaces `path` as a whole, on failure it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=_prefix(path), suffix=path.suffix))
    temporary.chmod(0o777 & ~_umask())
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON with a final newline atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """SHA-256 of a file's content as 64 hexadecimal digits, read in bounded memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(path: Path, expected: str, listed_in: str) -> Path:
    """`path`, after its SHA-256 was compared with the `expected` one that `listed_in` (manifest, index) states.

    Raises:
        UserError: the file is gone or is another one.
    """
    if not path.is_file():
        raise UserError(f"{path}: listed in {listed_in}, not found; delete that list to make it again")
    if sha256(path) != expected:
        raise UserError(
            f"{path}: differs from the checksum in {listed_in}; restore it, or delete that list to make it again"
        )
    return path


def _prefix(path: Path) -> str:
    """Start of the temporary name: says which process, on which machine, writes it."""
    return f".{path.stem}~{socket.gethostname()}~{os.getpid()}~"


def _sweep(path: Path) -> None:
    """Remove what processes of this machine left behind that were killed while they wrote `path`."""
    for left in path.parent.glob(f".{glob.escape(path.stem)}~{socket.gethostname()}~*~*{glob.escape(path.suffix)}"):
        pid = int(left.name.rsplit("~", 2)[1])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        except PermissionError:
            continue


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
