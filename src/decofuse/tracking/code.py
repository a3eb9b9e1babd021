"""Which code a stage runs: the import closure of its modules inside the package, as one digest.

The digest is of the syntax trees without docstrings, so comments, docstrings and layout do not count. Nothing
is imported to find it. It stands in each stage's parameters: Snakemake and DVC both see it there. What a digest was
made of can be remembered, so that a changed one can be traced to the modules that changed.
"""

import ast
import contextlib
import functools
import hashlib
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from decofuse.files import write_json

PACKAGE = "decofuse"
ROOT = Path(__file__).resolve().parents[2]
_TAKEN: dict[str, list[Path]] = {}


def digest(modules: Iterable[str]) -> str:
    """16 hexadecimal digits for the code of `modules` (dotted names) and of all that they import from the package.

    A digest depends on the minor version of Python, whose syntax trees may differ from the next one's.
    """
    total = hashlib.sha256()
    paths = closure(modules)
    for path in paths:
        total.update(_name(path).encode() + b"\0" + _read(path).tree)
    taken = total.hexdigest()[:16]
    _TAKEN[taken] = paths
    return taken


def remember(folder: Path) -> None:
    """Write down in `folder`, for each digest that this process took, which module had which syntax tree."""
    for taken, paths in _TAKEN.items():
        file = folder / f"{taken}.json"
        if not file.is_file():
            write_json(file, {_name(path): hashlib.sha256(_read(path).tree).hexdigest()[:16] for path in paths})


def changed(folder: Path, old: str, new: str) -> list[str]:
    """Source files in which two digests that were remembered in `folder` differ; none if one of them was not."""
    files = [folder / f"{digest}.json" for digest in (old, new)]
    if not all(file.is_file() for file in files):
        return []
    before, after = (json.loads(file.read_text()) for file in files)
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def closure(modules: Iterable[str]) -> list[Path]:
    """Source files that importing `modules` can load from the package, imports inside functions included, sorted."""
    names = list(modules)
    if unknown := [name for name in names if _path(name) is None]:
        raise ValueError(f"no such module: {', '.join(unknown)}")
    seen: set[Path] = set()
    waiting = [path for name in names for path in _loaded(name)]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += _read(path).imports
    return sorted(seen)


class _Source(NamedTuple):
    imports: list[Path]  # files of the package
    tree: bytes  # syntax tree without docstrings


@functools.cache
def _read(path: Path) -> _Source:
    """What a file imports and does: read once, for it is part of most closures."""
    tree = ast.parse(path.read_bytes())
    imports = [file for name in sorted(_imports(tree, path)) for file in _loaded(name)]
    _strip_docstrings(tree)
    return _Source(imports, ast.dump(tree).encode())


def _loaded(module: str) -> list[Path]:
    """Files that importing a module runs, if it is one: importing a.b.c runs a and a.b first."""
    parts = module.split(".")
    paths = [_path(".".join(parts[:end])) for end in range(1, len(parts) + 1)]
    return [path for path in paths if path is not None]


def _path(module: str) -> Path | None:
    stem = ROOT.joinpath(*module.split("."))
    return next((path for path in (stem / "__init__.py", stem.with_suffix(".py")) if path.is_file()), None)


def _imports(tree: ast.Module, path: Path) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                # One dot is the package that the file lies in, be it `__init__.py` or not.
                package = path.parents[node.level - 1].relative_to(ROOT).parts
                base = ".".join([*package, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == PACKAGE}


def _strip_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                del body[0]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_version() -> dict[str, str]:
    """Commit of the working directory's repository and whether it was changed since; empty outside of git."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return {"git.commit": git("rev-parse", "HEAD"), "git.changed": str(bool(git("status", "--porcelain")))}
    return {}
