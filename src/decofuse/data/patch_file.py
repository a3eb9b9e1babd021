"""The HDF5 file of training patches: its writer and its reader. The layout is that of `patch_format`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from decofuse.data.images import Float32, UInt8
from decofuse.data.manifest import LABEL
from decofuse.data.patch_codec import FILTER, decode, planar_luma
from decofuse.data.patch_format import Header, index_type, read_layout, reading
from decofuse.errors import UserError

GROWTH = 1024  # patches by which the datasets grow: growing costs more than storing a chunk


@dataclass(frozen=True)
class Cuts:
    """The kept patches of one pair: corners (row, column) in pixels, channels of each image, planes[source][patch]."""

    corners: list[tuple[int, int]]
    channels: list[int]
    planes: list[list[UInt8]]


@dataclass(frozen=True)
class Origin:
    """Where a patch was cut: split and stem of the pair, row and column of the top-left corner [pixels]."""

    split: str
    stem: str
    row: int
    column: int


class PatchWriter:
    """Writes a patch file pair by pair; a context manager. Equal input gives equal bytes."""

    def __init__(self, path: Path, header: Header, channels: Sequence[int], stems: Sequence[str]) -> None:
        """Start the file.

        Args:
            path: file to write; overwritten.
            header: what the file says about itself.
            channels: planes stored for each source, 1 or 3.
            stems: stems of all pairs, in the order of the pair numbers given to `append`.
        """
        self._header = header
        self._records = [np.empty(0, index_type(len(header.sources)))]
        self._count = 0
        self._capacity = [0] * len(header.sources)
        self._file = h5py.File(path, "w")
        header.write(self._file)
        self._file["stems"] = np.array([stem.encode() for stem in stems], np.bytes_)
        side = header.settings.size
        self._datasets = [
            self._file.create_dataset(
                f"patches/{source}",
                shape=(0, planes, side, side),
                maxshape=(None, planes, side, side),
                chunks=(1, planes, side, side),
                dtype=np.uint8,
                **FILTER,
            )
            for source, planes in zip(header.sources, channels, strict=True)
        ]

    def __enter__(self) -> "PatchWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._file:
            if kind is None:
                self._file["index"] = np.concatenate(self._records)
                for dataset in self._datasets:
                    dataset.resize(self._count, axis=0)

    def append(self, pair: int, split: str, cuts: Cuts) -> None:
        """Append the patches of a pair."""
        if not cuts.corners:
            return
        place = self._header.splits.index(split)
        records = [(place, pair, row, column, tuple(cuts.channels)) for row, column in cuts.corners]
        self._records.append(np.array(records, self._records[0].dtype))
        for source, dataset in enumerate(self._datasets):
            if self._count + len(records) > self._capacity[source]:
                self._capacity[source] = self._count + len(records) + GROWTH
                dataset.resize(self._capacity[source], axis=0)
            dataset[self._count : self._count + len(records)] = np.stack(cuts.planes[source])
        self._count += len(records)


class PatchDataset:
    """Random access to the patches of some splits, in the order of the file.

    It can be sent to worker processes and used from threads: the file is opened on first use in each process. Decoded
    pixels stay in memory if those of all patches take at most `cache_bytes`, so that each is decoded once a process.

    Attributes:
        header: what the file says about itself.
        sources: sources that are read.
    """

    def __init__(
        self,
        path: Path,
        splits: Sequence[str],
        sources: Sequence[str] | None = None,
        *,
        cache_bytes: int = 2**29,
    ) -> None:
        """Check the file and read its index.

        Args:
            path: file written by `decofuse.data.patches.write_patches`.
            splits: splits to read.
            sources: sources to read; all when left out.
            cache_bytes: memory that decoded pixels may take [bytes]; 0 keeps none.

        Raises:
            UserError: the file is missing, cut off or no patch file, or lacks a split or a source.
        """
        self.path = path
        layout = read_layout(path)
        self.header = layout.header
        self.sources = self.header.sources if sources is None else tuple(sources)
        _demand(path, "split", splits, self.header.splits)
        _demand(path, "source", self.sources, self.header.sources)
        positions = [self.header.splits.index(split) for split in splits]
        self._numbers = np.flatnonzero(np.isin(layout.index["split"], positions))
        self._index = layout.index[self._numbers]
        self._stems = layout.stems
        self._shapes = layout.shapes
        size = sum(int(np.prod(self._shapes[source])) for source in self.sources) * len(self)
        self._cached = size <= cache_bytes
        self._reset()

    def __len__(self) -> int:
        """Number of patches."""
        return len(self._numbers)

    def __enter__(self) -> "PatchDataset":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def batch(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> dict[str, Float32 | UInt8]:
        """Luma of patches, for each source N×1×P×P float32 in [0, 1], bit for bit that of the images.

        `label` is given as stored: class indices, N×1×P×P uint8.

        Args:
            indices: patches in any order, repeats allowed, from 0 to len - 1.

        Raises:
            IndexError: an index is out of range.
            UserError: the file is damaged.
        """
        pixels = self.pixels(indices)
        channels = self._index["channels"][np.asarray(indices, np.int64)]
        places = [self.header.sources.index(source) for source in self.sources]
        return {
            source: pixels[source] if source == LABEL else planar_luma(pixels[source], channels[:, place] == 1)
            for source, place in zip(self.sources, places, strict=True)
        }

    def pixels(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> dict[str, UInt8]:
        """Patches as stored, for each source uint8 N×1×P×P (grey) or N×3×P×P (RGB), range [0, 255].

        A grey image of a source that also has colour images is given as RGB with equal channels.
        Arguments and errors as for `batch`.
        """
        places = np.asarray(indices, np.int64).reshape(-1)
        if places.size and not 0 <= places.min() <= places.max() < len(self):
            raise IndexError(f"patch index out of range: {places.min()} to {places.max()} of {len(self)} patches")
        if not self._cached:
            unique, inverse = np.unique(places, return_inverse=True)
            return {source: self._decode(source, unique)[inverse] for source in self.sources}
        missing = np.unique(places[~self._known[places]])
        if missing.size:
            for source in self.sources:
                self._cache[source][missing] = self._decode(source, missing)
            self._known[missing] = True
        return {source: self._cache[source][places] for source in self.sources}

    def origin(self, index: int) -> Origin:
        """Where a patch was cut."""
        record = self._index[index]
        stem = self._stems[record["pair"]].decode()
        return Origin(self.header.splits[record["split"]], stem, int(record["row"]), int(record["column"]))

    def close(self) -> None:
        """Close the file and free the decoded pixels; the next access opens it again."""
        if self._open and self._open[0] == os.getpid():
            self._open[1].close()
        self._reset()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None, "_cache": {}, "_known": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _reset(self) -> None:
        self._open: tuple[int, h5py.File] | None = None
        shapes = {source: (len(self), *self._shapes[source]) for source in self.sources} if self._cached else {}
        # Untouched pages of an empty array take no memory: the cache grows with what is read.
        self._cache = {source: np.empty(shape, np.uint8) for source, shape in shapes.items()}
        self._known = np.zeros(len(self), np.bool_)

    def _opened(self) -> h5py.File:
        """The file of this process; that of a parent process is no use after a fork."""
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), h5py.File(self.path, "r"))
        return self._open[1]

    def _decode(self, source: str, places: NDArray[np.int64]) -> UInt8:
        planes = np.empty((len(places), *self._shapes[source]), np.uint8)
        with reading(self.path):
            stored = self._opened()[f"patches/{source}"]
            for target, place in zip(planes, places, strict=True):
                target[:] = stored[int(self._numbers[place])]
        decode(planes)
        return planes


def _demand(path: Path, kind: str, wanted: Sequence[str], available: Sequence[str]) -> None:
    for name in wanted:
        if name not in available:
            raise UserError(
                f"{path}: expected patches of the {kind} {name}, found {', '.join(available)}; "
                "run the patches stage again"
            )
