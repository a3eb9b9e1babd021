"""Downloading ZIP archives from the network or a mirror: resumed after a cut, never spliced, never half-written."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import requests
import tenacity
from tqdm import tqdm

from decofuse.errors import UserError
from decofuse.files import atomic, write_json

logger = logging.getLogger(__name__)

ATTEMPTS = 5
WAIT_S = 1.0  # pause before the second attempt; doubled before each further one, 30 s at most
TIMEOUT_S = (10.0, 60.0)  # to connect; between two pieces of data
MAX_BYTES = 4 * 2**30
CHUNK_BYTES = 2**16  # at a cut, what has arrived of a chunk is lost
_HINT = "or set DECOFUSE_MIRROR to a folder or address that holds a copy"


class _CutError(Exception):
    """A passing fault of the network or of the server; worth another attempt."""


class _WrongFileError(Exception):
    """What arrived is not what was asked for; it is not kept."""


@dataclass(frozen=True)
class _Partial:
    """What has arrived so far (`data`) and which version of the file it belongs to (`state`)."""

    data: Path
    state: Path

    def validator(self, url: str) -> str | None:
        """The ETag or date of the version at hand; None if it is unknown, and then nothing can be resumed."""
        try:
            state = json.loads(self.state.read_text(encoding="utf-8"))
            return str(state["validator"]) if state["url"] == url and state["validator"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remove(self) -> None:
        self.data.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)


def download(url: str, destination: Path, mirror: str | None = None) -> None:
    """Bring the ZIP archive at `url` to `destination`.

    What arrives is kept in `<destination>.part` until it is complete, so that a later call goes on where this one was
    cut off, provided that the server sends a strong ETag or a date and the file there has not changed.

    Args:
        url: Address of the archive, http or https.
        destination: File to write; an older one is replaced when, and only when, the new one is complete.
        mirror: Folder or address that takes the place of the host: https://HOST/PATH becomes <mirror>/HOST/PATH.

    Raises:
        UserError: no network, no such file, cut off for good, disk full, too large, or no ZIP archive.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    parts = urlsplit(url)
    place = f"{parts.netloc}{parts.path}"
    try:
        if mirror is None:
            _fetch(url, destination)
        elif urlsplit(mirror).scheme in ("http", "https"):
            _fetch(f"{mirror.rstrip('/')}/{place}", destination)
        else:
            _copy(Path(mirror) / place, destination)
    except OSError as error:
        raise UserError(
            f"{destination}: could not be written ({error.strerror}); check the folder and its free space, "
            "then run again"
        ) from error


def _copy(source: Path, destination: Path) -> None:
    if not source.is_file():
        raise UserError(f"{source}: expected this file in the mirror, found none; add it or unset DECOFUSE_MIRROR")
    with atomic(destination) as temporary:
        shutil.copyfile(source, temporary)
        try:
            _require_zip(temporary)
        except _WrongFileError as error:
            raise UserError(f"{source}: expected a ZIP archive, found {error}; replace it in the mirror") from error


def _fetch(url: str, destination: Path) -> None:
    partial = _Partial(Path(f"{destination}.part"), Path(f"{destination}.part.json"))
    with _exclusive(partial.data, url) as file:
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_exponential(multiplier=WAIT_S, max=30),
            retry=tenacity.retry_if_exception_type(_CutError),
            before_sleep=tenacity.before_sleep_log(logger, logging.INFO),
            reraise=True,
        )
        try:
            retrying(_attempt, url, partial, file)
            _require_zip(partial.data)
            os.replace(partial.data, destination)
            partial.remove()
        except _CutError as error:
            kept = file.seek(0, os.SEEK_END)
            raise UserError(
                f"{url}: {error}, {ATTEMPTS} attempts, {kept} bytes kept; check the network and run again, {_HINT}"
            ) from error
        except requests.RequestException as error:
            raise UserError(
                f"{url}: expected an archive, found {_reason(error)}; check the address, {_HINT}"
            ) from error
        except _WrongFileError as error:
            partial.remove()
            raise UserError(f"{url}: expected a ZIP archive, found {error}; check the address, {_HINT}") from error
        finally:
            if partial.data.exists() and not partial.data.stat().st_size:
                partial.remove()


@contextlib.contextmanager
def _exclusive(path: Path, url: str) -> Iterator[BinaryIO]:
    """Open the partial file for appending, refused while another process does the same."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            busy = not os.path.samestat(os.fstat(file.fileno()), path.stat())  # it has just been moved into place
        except (BlockingIOError, FileNotFoundError):
            busy = True
        if busy:
            raise UserError(f"{path}: another process is downloading {url}; wait for it, then run again")
        yield file


def _attempt(url: str, partial: _Partial, file: BinaryIO) -> None:
    """One request; appends to what is there if the server agrees that it is the same file, else starts over."""
    offset, validator = file.seek(0, os.SEEK_END), partial.validator(url)
    headers = {"Accept-Encoding": "identity"}
    if offset and validator:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
            if response.status_code == 416:  # the partial file is as long as the whole, or longer
                file.truncate(0)
                raise _CutError("the server has no more data than is here")
            _check_status(response)
            if response.status_code != 206:
                offset = 0
                file.truncate(0)
                write_json(partial.state, {"url": url, "validator": _validator(response)})
            elif not _continues(response, offset, validator):
                file.truncate(0)
                raise _CutError("the file on the server has changed")
            _receive(response, file, offset)
    except requests.exceptions.SSLError:
        raise
    except requests.Timeout as error:
        raise _CutError("no answer in time") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise _CutError("the connection was cut off") from error
    except requests.ConnectionError as error:
        raise _CutError(f"could not reach {urlsplit(url).netloc} or was cut off") from error


def _check_status(response: requests.Response) -> None:
    if response.status_code >= 500 or response.status_code in (408, 429):
        raise _CutError(f"the server answered {response.status_code} {response.reason}")
    if response.status_code not in (200, 206):
        raise requests.RequestException(response=response)
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise requests.RequestException("a web page instead")


def _continues(response: requests.Response, offset: int, validator: str | None) -> bool:
    """Whether a partial answer is the rest of the very file that was begun (RFC 9110, section 14)."""
    span = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return span is not None and int(span[1]) == offset and _validator(response) in (None, validator)


def _validator(response: requests.Response) -> str | None:
    """What If-Range accepts: a strong ETag, else the date of the last change."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _receive(response: requests.Response, file: BinaryIO, offset: int) -> None:
    length = response.headers.get("Content-Length", "")
    total = offset + int(length) if length.isdigit() else None
    if total is not None:
        _require_room(Path(file.name), total - offset, total)
    name = Path(file.name).name.removesuffix(".part")
    with tqdm(desc=name, total=total, initial=offset, unit="B", unit_scale=True, disable=None) as bar:
        for chunk in response.iter_content(CHUNK_BYTES):
            offset += len(chunk)
            if offset > MAX_BYTES:
                raise _WrongFileError(f"more than {MAX_BYTES} bytes")
            file.write(chunk)
            bar.update(len(chunk))
    file.flush()
    if total is not None and offset != total:
        raise _CutError(f"the connection was cut off at {offset} of {total} bytes")


def _require_room(path: Path, missing: int, total: int) -> None:
    if total > MAX_BYTES:
        raise _WrongFileError(f"{total} bytes (at most {MAX_BYTES} are accepted)")
    if shutil.disk_usage(path.parent).free < missing:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _require_zip(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise _WrongFileError(f"{path.stat().st_size} bytes of something else")


def _reason(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    return str(error).replace("\n", " ") or type(error).__name__
