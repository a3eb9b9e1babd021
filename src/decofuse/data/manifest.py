"""The manifest: one CSV row a pair, with everything that later stages need to know and to check."""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from decofuse.errors import UserError
from decofuse.files import verified, write_text

SPLITS = ("train", "val", "test")
LABEL = "label"


@dataclass(frozen=True)
class ImageFile:
    """One image of a pair: where it lies, its channels (1 or 3) and its SHA-256."""

    path: Path
    channels: int
    sha256: str


@dataclass(frozen=True)
class Pair:
    """One registered scene: an image for each source, and a label map where the dataset has labels.

    `files` is keyed by source name (`visible` and `infrared`, `source_a` and `source_b`, or `image`) and `label`.
    """

    split: str
    stem: str
    height: int
    width: int
    files: dict[str, ImageFile]

    def path(self, source: str) -> Path:
        """The file of a source, checked against the manifest's checksum.

        Raises:
            UserError: the file is gone or is not the one that the manifest was made from.
        """
        file = self.files[source]
        return verified(file.path, file.sha256, "the manifest")


@dataclass(frozen=True)
class Manifest:
    """The pairs of a dataset in a fixed order: by split as in SPLITS, then by stem."""

    sources: tuple[str, ...]
    pairs: tuple[Pair, ...]

    def split(self, *names: str) -> tuple[Pair, ...]:
        """The pairs of the named splits, in manifest order."""
        return tuple(pair for pair in self.pairs if pair.split in names)

    @property
    def labelled(self) -> bool:
        """Whether every pair has a label map."""
        return bool(self.pairs) and all(LABEL in pair.files for pair in self.pairs)

    def write(self, path: Path) -> None:
        """Write the CSV atomically; files below the manifest's folder are stored relative to it, others absolute."""
        roles = (*self.sources, LABEL) if any(LABEL in pair.files for pair in self.pairs) else self.sources
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["split", "stem", "height", "width", *(f"{r}{c}" for r in roles for c in _COLUMNS)])
        for pair in sorted(self.pairs, key=lambda pair: (SPLITS.index(pair.split), pair.stem)):
            row: list[object] = [pair.split, pair.stem, pair.height, pair.width]
            for role in roles:
                file = pair.files.get(role)
                row += [_stored(file.path, path.parent), file.channels, file.sha256] if file else ["", "", ""]
            table.writerow(row)
        write_text(path, out.getvalue())

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read a manifest written by `write`.

        Raises:
            UserError: the file is missing or is no manifest.
        """
        try:
            rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
            roles = [name[: -len("_sha256")] for name in rows[0] if name.endswith("_sha256")]
            pairs = tuple(_pair(row, roles, path.parent) for row in rows)
        except OSError as error:
            raise UserError(f"{path}: expected a manifest, found {error.strerror}; run the dataset stage") from error
        except (IndexError, KeyError, ValueError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path}: expected a manifest, found a file that is none; delete it and run again"
            ) from error
        return cls(tuple(role for role in roles if role != LABEL), pairs)


_COLUMNS = ("", "_channels", "_sha256")


def _stored(path: Path, folder: Path) -> str:
    path, folder = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def _pair(row: dict[str, str], roles: Sequence[str], folder: Path) -> Pair:
    files = {
        role: ImageFile(folder / row[role], int(row[f"{role}_channels"]), row[f"{role}_sha256"])
        for role in roles
        if row[role]
    }
    if row["split"] not in SPLITS:
        raise ValueError(row["split"])
    return Pair(row["split"], row["stem"], int(row["height"]), int(row["width"]), files)
