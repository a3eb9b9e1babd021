"""The index of fused images: one CSV row an image, with everything that later stages need to find and check it."""

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path

from decofuse.errors import UserError
from decofuse.files import verified, write_text

_COLUMNS = ("stem", "fused", "fused_sha256", "luma", "luma_sha256")


@dataclass(frozen=True)
class FusedImage:
    """The result for one pair: the fused image as shown (grey or colour), and its 8-bit grey image as scored.

    The two show the same where the result is grey. Checksums are SHA-256 in hexadecimal digits.
    """

    stem: str
    fused: Path
    fused_sha256: str
    luma: Path
    luma_sha256: str

    def fused_path(self) -> Path:
        """The fused image's file, checked against the checksum.

        Raises:
            UserError: the file is gone or is not the one that was indexed.
        """
        return verified(self.fused, self.fused_sha256, "the index of fused images")

    def luma_path(self) -> Path:
        """The grey image's file, checked against the checksum.

        Raises:
            UserError: the file is gone or is not the one that was indexed.
        """
        return verified(self.luma, self.luma_sha256, "the index of fused images")


@dataclass(frozen=True)
class FusedIndex:
    """The fused images of one method and dataset by stem, in the order of the file at `path`."""

    path: Path
    images: dict[str, FusedImage]

    def write(self) -> None:
        """Write the CSV atomically; files are stored relative to its folder."""
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(_COLUMNS)
        for image in self.images.values():
            fused, luma = (os.path.relpath(file, self.path.parent) for file in (image.fused, image.luma))
            table.writerow([image.stem, fused, image.fused_sha256, luma, image.luma_sha256])
        write_text(self.path, out.getvalue())

    @classmethod
    def read(cls, path: Path) -> "FusedIndex":
        """Read an index written by `write`.

        Raises:
            UserError: the file is missing, is no index, or lists a stem twice.
        """
        try:
            header, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
            if tuple(header) != _COLUMNS or any(len(row) != len(_COLUMNS) for row in rows):
                raise ValueError(header)
        except OSError as error:
            raise UserError(
                f"{path}: expected an index of fused images, found {error.strerror}; run the fusing stage"
            ) from error
        except (ValueError, csv.Error) as error:
            raise UserError(
                f"{path}: expected an index of fused images with columns {','.join(_COLUMNS)}, found another file; "
                "delete it and run the fusing stage"
            ) from error
        images: dict[str, FusedImage] = {}
        for stem, fused, fused_sha256, luma, luma_sha256 in rows:
            if stem in images:
                raise UserError(
                    f"{path}: expected every stem once, found {stem} twice; delete it and run the fusing stage"
                )
            images[stem] = FusedImage(stem, path.parent / fused, fused_sha256, path.parent / luma, luma_sha256)
        return cls(path, images)

    def image(self, stem: str) -> FusedImage:
        """The fused image of a pair.

        Raises:
            UserError: the index does not list it.
        """
        if stem not in self.images:
            raise UserError(
                f"{self.path}: expected a fused image of {stem}, found none among {len(self.images)}; "
                "run the fusing stage for this split"
            )
        return self.images[stem]
