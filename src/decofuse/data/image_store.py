"""The images of one split of a dataset with random access, for training on whole images."""

from collections.abc import Sequence
from pathlib import Path

from decofuse.data.images import UInt8, read_image, read_label
from decofuse.data.manifest import LABEL, Manifest, Pair
from decofuse.errors import UserError


class ImageStore:
    """Reads images of a manifest and keeps them decoded as long as memory allows.

    Each file is checked against the manifest's checksum when it is read.

    Attributes:
        pairs: the pairs of the split, in manifest order.
    """

    def __init__(self, manifest_path: Path, split: str, roles: Sequence[str], cache_bytes: int = 2**29) -> None:
        """Read the manifest.

        Args:
            manifest_path: manifest of the dataset.
            split: train, val or test.
            roles: sources that will be asked for, `label` among them if need be.
            cache_bytes: memory that decoded images may take [bytes]; what does not fit is read again each time.

        Raises:
            UserError: the manifest is missing, lacks a source, or has a pair without a label that is asked for.
        """
        manifest = Manifest.read(manifest_path)
        self.pairs: tuple[Pair, ...] = manifest.split(split)
        for role in roles:
            if lacking := next((pair.stem for pair in self.pairs if role not in pair.files), None):
                what = "labels" if role == LABEL else f"the source {role}"
                raise UserError(
                    f"{manifest_path}: expected a dataset with {what}, found none for {lacking}; use another dataset"
                )
        self.path = manifest_path
        self._free = cache_bytes
        self._kept: dict[tuple[int, str], UInt8] = {}

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.pairs)

    def file(self, index: int, role: str) -> Path:
        """The file of a source or label, checked against the manifest's checksum.

        Raises:
            UserError: the file is gone or altered.
        """
        return self.pairs[index].path(role)

    def image(self, index: int, role: str) -> UInt8:
        """Pixels of a source, H×W (grey) or H×W×3 (RGB) uint8; class indices H×W for `label`. Not to be written to.

        Raises:
            UserError: the file is gone, altered or unreadable.
        """
        key = (index, role)
        if key in self._kept:
            return self._kept[key]
        path = self.file(index, role)
        pixels = read_label(path) if role == LABEL else read_image(path)
        if pixels.nbytes <= self._free:
            self._free -= pixels.nbytes
            self._kept[key] = pixels
        return pixels
