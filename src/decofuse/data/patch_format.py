"""Layout of a patch file, and the checks that make a foreign or damaged one harmless.

    /patches/<source>   uint8 N×C×P×P, C = 1 (grey, or class indices of `label`) or 3, a chunk a patch: `patch_codec`
    /index              N records: split, pair, row, column, and channels of each source's image (1 if it was grey)
    /stems              stem of each pair, UTF-8
    attributes          format, package, settings, splits, sources, manifest_sha256

Text has a fixed length everywhere: no Python objects, nothing that is followed to another file.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from decofuse import __version__
from decofuse.errors import UserError
from decofuse.settings import PatchSettings

FORMAT = "decofuse patches 1"


@dataclass(frozen=True)
class Header:
    """What a patch file says about itself.

    Attributes:
        settings: how the patches were cut.
        splits: splits that were cut.
        sources: names of the sources, and `label` where the dataset has labels.
        manifest_sha256: checksum of the manifest that the patches come from.
    """

    settings: PatchSettings
    splits: tuple[str, ...]
    sources: tuple[str, ...]
    manifest_sha256: str

    def write(self, file: h5py.File) -> None:
        """Store as attributes."""
        values = {
            "format": FORMAT,
            "package": f"decofuse {__version__}",
            "settings": self.settings.model_dump_json(),
            "splits": json.dumps(self.splits),
            "sources": json.dumps(self.sources),
            "manifest_sha256": self.manifest_sha256,
        }
        for name, value in values.items():
            file.attrs[name] = np.bytes_(value.encode())

    @classmethod
    def read(cls, file: h5py.File) -> "Header":
        """Read what `write` stored.

        Raises:
            ValueError, KeyError: the file has no such header.
        """

        def text(name: str) -> str:
            if file.attrs.get_id(name).dtype.kind != "S":
                raise ValueError(f"attribute {name} of another type")
            return bytes(file.attrs[name]).decode()

        if text("format") != FORMAT:
            raise ValueError(f"format {text('format')!r}")
        settings = PatchSettings.model_validate_json(text("settings"))
        names = [tuple(json.loads(text(key))) for key in ("splits", "sources")]
        if not all(isinstance(name, str) for group in names for name in group):
            raise ValueError("names that are no text")
        return cls(settings, names[0], names[1], text("manifest_sha256"))


@dataclass(frozen=True)
class Layout:
    """The checked content of a patch file, without the pixels.

    Attributes:
        header: what the file says about itself.
        index: N records, see `index_type`.
        stems: stem of each pair, UTF-8 bytes.
        shapes: C, P, P of each source.
    """

    header: Header
    index: NDArray[np.void]
    stems: NDArray[np.bytes_]
    shapes: dict[str, tuple[int, int, int]]


def index_type(sources: int) -> np.dtype[np.void]:
    """Record of a patch: positions in the header's splits and in the stems, corner [pixels], channels per source."""
    fields = [("split", "u1"), ("pair", "<u4"), ("row", "<u4"), ("column", "<u4"), ("channels", "u1", (sources,))]
    return np.dtype(fields)


def read_layout(path: Path) -> Layout:
    """Check a patch file and read all but its pixels.

    Raises:
        UserError: the file is missing, cut off, or no patch file of this version.
    """
    with reading(path), h5py.File(path, "r") as file:
        header = Header.read(file)
        index = _array(file, "index", index_type(len(header.sources)))
        stems = _array(file, "stems")
        inside = (index["split"] < len(header.splits)) & (index["pair"] < len(stems))
        if not inside.all() or not np.isin(index["channels"], (1, 3)).all():
            raise ValueError("an index that points outside the file")
        shapes = {source: _shape(file, path, source, len(index), header.settings.size) for source in header.sources}
        return Layout(header, index, stems, shapes)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a missing, damaged or foreign file provokes into one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected a patch file, found none; run the patches stage") from error
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{path}: expected a patch file of this version, found one that is foreign or damaged "
            f"({' '.join(str(error).split())[:160]}); delete it and run the patches stage again"
        ) from error


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset of the file itself: soft and external links and external or virtual storage are refused."""
    item: Any = file
    for part in name.split("/"):
        if not isinstance(item.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"no dataset {name}")
        item = item[part]
    if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
        raise ValueError(f"no dataset {name}")
    return item


def _array(file: h5py.File, name: str, dtype: np.dtype[np.void] | None = None) -> NDArray[Any]:
    """A contiguous array, of text if no dtype is given; its bytes must be in the file, so it cannot claim memory."""
    dataset = _dataset(file, name)
    expected = dataset.dtype == dtype if dtype else dataset.dtype.kind == "S"
    if not expected or dataset.ndim != 1 or dataset.chunks or dataset.id.get_storage_size() != dataset.nbytes:
        raise ValueError(f"{name} of another layout")
    return np.asarray(dataset[:])


def _shape(file: h5py.File, path: Path, source: str, count: int, side: int) -> tuple[int, int, int]:
    dataset = _dataset(file, f"patches/{source}")
    shape = dataset.shape
    filters = dataset.id.get_create_plist()
    if (
        dataset.dtype != np.uint8
        or shape not in [(count, 1, side, side), (count, 3, side, side)]
        or dataset.chunks != (1, *shape[1:])
        or [filters.get_filter(i)[0] for i in range(filters.get_nfilters())] != [hdf5plugin.BSHUF_ID]
    ):
        raise ValueError(f"patches of {source} of another layout")
    # A chunk says how many bytes it unpacks to, and the filter believes it: check it, so that none can claim memory.
    chunks: list[Any] = []
    dataset.id.chunk_iter(chunks.append)
    size = int(np.prod(shape[1:])).to_bytes(8, "big")
    with path.open("rb") as raw:
        unpacked = {os.pread(raw.fileno(), 8, chunk.byte_offset) for chunk in chunks}
    if len(chunks) != count or any(chunk.filter_mask for chunk in chunks) or unpacked - {size}:
        raise ValueError(f"patches of {source} that are not in the file")
    return (shape[1], side, side)
