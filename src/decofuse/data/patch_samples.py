"""Training samples from the HDF5 patches of a dataset of pairs.

The keys are `visible` and `infrared` whatever the task: where sources are called `source_a` and `source_b`, the first
comes under `visible` and the second under `infrared`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decofuse.data.manifest import LABEL
from decofuse.data.patch_file import PatchDataset
from decofuse.errors import UserError
from decofuse.seeding import seed_for
from decofuse.settings import PatchSampling

Arrays = dict[str, NDArray[Any]]
_KEYS = ("visible", "infrared")
_BLOCK = 1024  # patches looked at together


class PatchSamples:
    """Patches of the first source as `visible` and the second as `infrared`: luma, N×1×P×P float32 in [0, 1]."""

    labelled = False

    def __init__(self, path: Path, split: str, settings: PatchSampling, seed: int, fixed: bool) -> None:
        """Open the patches of a split.

        Args:
            path: file written by `decofuse.data.patches.write_patches`.
            split: train or val.
            settings: flips, and what becomes of patches without objects.
            seed: seed of the flips.
            fixed: flip nothing.

        Raises:
            UserError: the file is missing, damaged, or lacks the split, or its dataset is not one of pairs.
        """
        with PatchDataset(path, (split,)) as every:
            self._has_labels = LABEL in every.sources
            sources = [source for source in every.sources if source != LABEL]
            keep = np.arange(len(every))
        if len(sources) != len(_KEYS):
            raise UserError(
                f"{path}: expected patches of pairs, found those of {', '.join(sources) or 'no source'}; "
                "train on a dataset of pairs"
            )
        self._key_of = {**dict(zip(sources, _KEYS, strict=True)), LABEL: LABEL}
        if self._has_labels and settings.background == "drop":
            keep = _with_objects(path, split)
        roles = [*sources, LABEL] if self.labelled and self._has_labels else sources
        self._patches = PatchDataset(path, (split,), roles)
        self._keep = keep
        self._flip = settings.flip and not fixed
        self._seed = seed

    def __len__(self) -> int:
        """Number of patches."""
        return len(self._keep)

    def batch(self, indices: NDArray[np.int64], step: int, first: int = 0) -> Arrays:
        """Patches by index; all images of a sample are flipped alike."""
        arrays: Arrays = {self._key_of[role]: a for role, a in self._patches.batch(self._keep[indices]).items()}
        if self.labelled and not self._has_labels:
            arrays[LABEL] = np.zeros(arrays[_KEYS[0]].shape, np.uint8)
        return self._flipped(arrays, step, first) if self._flip else arrays

    def close(self) -> None:
        """Close the file."""
        self._patches.close()

    def _flipped(self, arrays: Arrays, step: int, first: int) -> Arrays:
        end = first + len(next(iter(arrays.values())))
        draws = np.random.Generator(np.random.PCG64(seed_for(self._seed, "flip", step))).random((end, 2))[first:] < 0.5
        for axis, chosen in zip((-1, -2), draws.T, strict=True):
            for array in arrays.values():
                array[chosen] = np.flip(array[chosen], axis)
        return arrays


class LabelledPatchSamples(PatchSamples):
    """The same with `label`: class indices, N×1×P×P uint8; 0 throughout where the dataset has no labels."""

    labelled = True


def _with_objects(path: Path, split: str) -> NDArray[np.int64]:
    """Patches of which some pixel has another label than 0."""
    with PatchDataset(path, (split,), (LABEL,), cache_bytes=0) as labels:
        blocks = [np.arange(first, min(first + _BLOCK, len(labels))) for first in range(0, len(labels), _BLOCK)]
        found = [block[labels.batch(block)[LABEL].any(axis=(1, 2, 3))] for block in blocks]
    return np.concatenate([*found, np.empty(0, np.int64)])
