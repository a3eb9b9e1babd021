"""What is to be fused: two files, or the images of two folders or patterns, paired by name."""

import glob
from dataclasses import dataclass
from pathlib import Path

from decofuse.data.images import SUFFIXES
from decofuse.errors import UserError
from decofuse.text import listed, printable


@dataclass(frozen=True)
class Files:
    """The two files of a pair, and its name: that of the first one without suffix."""

    stem: str
    source_a: Path
    source_b: Path


def find_pairs(first: str, second: str) -> tuple[list[Files], list[str]]:
    """Pair the files that two arguments name.

    Args:
        first: a file, a folder (its images, not those of folders below), or a pattern of `glob`.
        second: the same kind.

    Returns:
        The pairs by name, and for each file without a partner of its name (case counts) one line.

    Raises:
        UserError: nothing is there, one is a single file and the other is not, two files of one argument share a name,
            or no pair is found.
    """
    singles = [Path(argument).is_file() for argument in (first, second)]
    if all(singles):
        return [Files(Path(first).stem, Path(first), Path(second))], []
    if any(singles):
        raise UserError(f"expected two files, folders or patterns, found a file beside {printable(second)}; give both")
    files_a, files_b = (_by_stem(argument) for argument in (first, second))
    shared = sorted(files_a.keys() & files_b.keys())
    if not shared:
        raise UserError(
            f"expected images of equal name in {printable(first)} and {printable(second)}, found none; check the names "
            f"({listed(sorted(files_a), 2)}; {listed(sorted(files_b), 2)})"
        )
    lonely = sorted(
        [*(files_a[stem] for stem in files_a.keys() - shared), *(files_b[s] for s in files_b.keys() - shared)]
    )
    return [Files(stem, files_a[stem], files_b[stem]) for stem in shared], [
        f"{printable(str(path))}: has no partner of its name (case matters), skipped" for path in lonely
    ]


def _by_stem(argument: str) -> dict[str, Path]:
    """The files of a folder or pattern by name without suffix."""
    path = Path(argument)
    if path.is_dir():
        found = list(path.iterdir())
    elif glob.has_magic(argument):
        found = [Path(name) for name in glob.glob(argument, recursive=True)]
    else:
        raise UserError(f"{printable(argument)}: expected a file, a folder or a pattern, found none; check the path")
    files: dict[str, Path] = {}
    for file in sorted(file for file in found if file.suffix.lower() in SUFFIXES and file.is_file()):
        if file.stem in files:
            raise UserError(
                f"{printable(str(file))}: expected every name once, found {files[file.stem].name} beside it; "
                "remove or rename one"
            )
        files[file.stem] = file
    if not files:
        raise UserError(f"{printable(argument)}: expected images ({', '.join(SUFFIXES)}), found none; check the path")
    return files
