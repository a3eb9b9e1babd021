"""Finds bit rot: compares the artifacts that dvc.lock records, and all of DVC's cache, with their checksums.

DVC alone does not: it trusts a file's time and size, and restores a damaged entry of its cache without a word.
A file that is a hard link into the cache is read once.
"""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError

from decofuse.config import read_yaml
from decofuse.errors import UserError
from decofuse.progress import progress

LOCK = Path("dvc.lock")
FOLDER = ".dir"  # what the checksum of a folder ends in

T = TypeVar("T")
R = TypeVar("R")


def _inside(path: str) -> str:
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError("leads out of the project")
    return path


_Inside = Annotated[str, AfterValidator(_inside)]


class _Out(BaseModel):
    path: _Inside
    md5: str = Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")


class _Stage(BaseModel):
    outs: list[_Out] = []


class _Lock(BaseModel):
    version: Literal["2.0"] = Field(alias="schema")
    stages: dict[str, _Stage]


class _Member(BaseModel):
    relpath: _Inside
    md5: str = Field(pattern=r"^[0-9a-f]{32}$")


_LISTING = TypeAdapter(list[_Member])


@dataclass(frozen=True)
class Artifact:
    """A recorded file, or a folder as a whole."""

    path: Path
    md5: str
    stage: str


@dataclass(frozen=True)
class Finding:
    """Something that is not as recorded: which file, what about it, and the command that helps."""

    path: Path
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.remedy}"


@dataclass(frozen=True)
class Report:
    """What was compared, and what is not as recorded."""

    artifacts: int
    entries: int
    findings: list[Finding]


class Store:
    """DVC's cache and what is wrong in it."""

    def __init__(self, root: Path, remote: bool) -> None:
        """Args: root: folder of the entries. remote: whether there is storage to pull from."""
        self.root = root
        self.remote = remote
        self.damaged: set[str] = set()

    def entry(self, md5: str) -> Path:
        """Where the content with a checksum lies."""
        return self.root / md5[:2] / md5[2:]

    def entries(self) -> Iterator[str]:
        """Checksums of all that the cache says to hold; what DVC is just writing has other names."""
        for path in sorted(self.root.glob("[0-9a-f][0-9a-f]/*")):
            if re.fullmatch(r"[0-9a-f]{30}(\.dir)?", path.name):
                yield path.parent.name + path.name

    def sound(self, md5: str) -> bool:
        """Whether the entry is there and whole, once `damaged` is known."""
        return md5 not in self.damaged and self.entry(md5).is_file()

    def members(self, folder: Artifact) -> list[Artifact] | None:
        """The files of a recorded folder; None if the cache has no whole listing of it."""
        if not self.sound(folder.md5):
            return None
        listing = _LISTING.validate_json(self.entry(folder.md5).read_bytes())
        return [Artifact(folder.path / member.relpath, member.md5, folder.stage) for member in listing]

    def remedy(self, artifact: Artifact) -> str:
        """The command that brings an artifact back, from the best source that is left."""
        broken = [str(artifact.path)] if artifact.path.exists() else []
        broken += [str(self.entry(artifact.md5))] if artifact.md5 in self.damaged else []
        path = shlex.quote(str(artifact.path))
        if self.sound(artifact.md5):
            again = f"dvc checkout {path}"
        else:
            again = f"dvc pull {path}" if self.remote else f"dvc repro --force --single-item {artifact.stage}"
        return f"rm -r {shlex.join(broken)} && {again}" if broken else again


def verify(lock: Path = LOCK) -> Report:
    """Compare what `lock` records with the working tree, and every entry of DVC's cache with its name.

    Memory does not depend on the size of files; they are read by as many threads as there are cores.

    Raises:
        UserError: `lock` is missing or not of the known kind, or this is no DVC repository.
    """
    recorded = _recorded(lock)
    store = _store()
    entries = list(store.entries())
    sums = _in_parallel(lambda md5: checksum(store.entry(md5)), entries, "cache")
    store.damaged = {md5 for md5, found in zip(entries, sums, strict=True) if found != md5.removesuffix(FOLDER)}
    artifacts: list[Artifact] = []
    extra: list[Finding] = []
    for artifact in recorded:
        members = store.members(artifact) if artifact.md5.endswith(FOLDER) else None
        artifacts += [artifact] if members is None else members
        if members is not None:
            extra += _extra(artifact, members)
    checked = _in_parallel(lambda artifact: _check(artifact, store), artifacts, "artifacts")
    found = [finding for finding in checked if finding]
    return Report(len(artifacts), len(entries), [*found, *extra, *_rotten(store, [*recorded, *artifacts])])


def checksum(path: Path) -> str:
    """The MD5 that DVC gives a file, or a folder (without the `.dir` at its end)."""
    if path.is_dir():
        listing = [
            {"md5": checksum(file), "relpath": file.relative_to(path).as_posix()}
            for file in path.rglob("*")
            if file.is_file()
        ]
        text = json.dumps(sorted(listing, key=lambda member: member["relpath"]), sort_keys=True)
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _recorded(lock: Path) -> list[Artifact]:
    if not lock.is_file():
        raise UserError(f"{lock}: expected DVC's record of a run, found none; run the workflow first")
    try:
        stages = _Lock.model_validate(read_yaml(lock)).stages
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{lock}: {where}: {first['msg']}, found {str(first['input'])[:60]!r}; restore it: git checkout {lock}"
        ) from error
    return [Artifact(Path(out.path), out.md5, name) for name, stage in stages.items() for out in stage.outs]


def _store() -> Store:
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        repo = Repo(".")
    except NotDvcRepoError as error:
        raise UserError("expected a DVC repository, found none here; run this in the project's folder") from error
    root = Path(repo.cache.local.path)
    here = Path.cwd()
    return Store(root.relative_to(here) if root.is_relative_to(here) else root, bool(repo.config["remote"]))


def _check(artifact: Artifact, store: Store) -> Finding | None:
    path, entry = artifact.path, store.entry(artifact.md5)
    if not path.exists():
        return Finding(path, "missing", store.remedy(artifact))
    if entry.is_file() and path.samefile(entry):
        damaged = artifact.md5 in store.damaged
    else:
        damaged = path.is_dir() != artifact.md5.endswith(FOLDER) or checksum(path) != artifact.md5.removesuffix(FOLDER)
    return Finding(path, f"differs from {LOCK}", store.remedy(artifact)) if damaged else None


def _extra(folder: Artifact, members: Iterable[Artifact]) -> list[Finding]:
    known = {member.path for member in members}
    found = sorted(path for path in folder.path.rglob("*") if path.is_file() and path not in known)
    return [Finding(path, f"extra, not in {LOCK}", f"rm {shlex.quote(str(path))}") for path in found]


def _rotten(store: Store, recorded: Iterable[Artifact]) -> list[Finding]:
    """A finding for each damaged entry, with the first artifact that needs it."""
    owners = {artifact.md5: artifact for artifact in reversed([*recorded]) if artifact.md5 in store.damaged}
    findings = []
    for md5 in sorted(store.damaged):
        entry = store.entry(md5)
        if md5 in owners:
            what, remedy = f"damaged cache entry of {owners[md5].path}", store.remedy(owners[md5])
        else:
            what = "damaged cache entry of another commit"
            remedy = f"rm {shlex.quote(str(entry))}, then dvc pull or dvc repro at that commit"
        findings.append(Finding(entry, what, remedy))
    return findings


def _in_parallel(work: Callable[[T], R], items: list[T], description: str) -> list[R]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(progress(pool.map(work, items), description, len(items), "file"))
