"""Which code a stage runs: the import closure of its modules inside the package, as one digest.

The digest is of the syntax trees without docstrings, so comments, docstrings and layout do not count. Nothing
is imported to find it. It stands in each stage's parameters: Snakemake and DVC both see it there.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

PACKAGE = "decofuse"
ROOT = Path(__file__).resolve().parents[2]


def digest(modules: Iterable[str]) -> str:
    """16 hexadecimal digits for the code of `modules` (dotted names) and of all that they import from the package.

    A digest depends on the minor version of Python, whose syntax trees may differ from the next one's.
    """
    total = hashlib.sha256()
    for path in closure(modules):
        total.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + _tree(path))
    return total.hexdigest()[:16]


def closure(modules: Iterable[str]) -> list[Path]:
    """Source files that importing `modules` can load from the package, imports inside functions included, sorted."""
    seen: dict[str, Path] = {}
    waiting = list(modules)
    if unknown := [name for name in waiting if _path(name) is None]:
        raise ValueError(f"no such module: {', '.join(unknown)}")
    while waiting:
        name = waiting.pop()
        # Importing a.b.c runs a and a.b first.
        for end in range(1, name.count(".") + 2):
            module = ".".join(name.split(".")[:end])
            path = _path(module)
            if path is not None and module not in seen:
                seen[module] = path
                waiting += _imports(path, module)
    return sorted(seen.values())


def _path(module: str) -> Path | None:
    stem = ROOT.joinpath(*module.split("."))
    return next((path for path in (stem / "__init__.py", stem.with_suffix(".py")) if path.is_file()), None)


@functools.cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def _imports(path: Path, module: str) -> set[str]:
    found = set()
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + (path.name == "__init__.py")]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == PACKAGE}


@functools.cache
def _tree(path: Path) -> bytes:
    tree = ast.parse(path.read_bytes())
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
    return ast.dump(tree).encode()
