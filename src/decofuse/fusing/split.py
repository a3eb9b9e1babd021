"""A split of a dataset to a folder of fused images: the stage `generate`."""

from collections.abc import Sequence
from pathlib import Path

import torch

from decofuse.data.images import read_image, write_image
from decofuse.data.manifest import Manifest, Pair
from decofuse.errors import UserError
from decofuse.files import atomic_folder, sha256
from decofuse.fusing.fuse import fuse_pair
from decofuse.fusing.index import FusedImage, FusedIndex
from decofuse.models.method import Fuser
from decofuse.progress import progress
from decofuse.settings import FuseSettings, Views

INDEX = "index.csv"
ROLES = (("visible", "infrared"), ("source_a", "source_b"))  # in the order of Fuser.fuse


def fuse_split(  # noqa: PLR0917
    network: Fuser,
    manifest_path: Path,
    splits: Sequence[str],
    views: Views,
    settings: FuseSettings,
    out: Path,
    device: torch.device,
) -> None:
    """Fuse all pairs of some splits of a dataset.

    Nothing in `out` changes before all is done; then it gets `images/<stem>.png` (colour where a source has it),
    `luma/<stem>.png` (grey, what metrics read) and last `index.csv`, a `FusedIndex` in manifest order. What else lies
    there stays.

    Args:
        network: a trained network or a training-free fuser.
        manifest_path: manifest of the dataset.
        splits: of train, val and test.
        views: what the network is given and gives.
        settings: how the output becomes 8 bits and gets its colour.
        out: folder of the results.
        device: where to compute.

    Raises:
        UserError: the manifest does not list pairs of two sources in these splits, a source is not the file that it
            lists, or a pair cannot be fused.
    """
    pairs, roles = _pairs(manifest_path, splits)
    images, lumas, index = out / "images", out / "luma", out / INDEX
    entries = {}
    with atomic_folder(images) as new_images, atomic_folder(lumas) as new_lumas:
        for pair in progress(pairs, f"fuse {', '.join(splits)}", unit="pair"):
            source_a, source_b = (read_image(pair.path(role)) for role in roles)
            try:
                fused = fuse_pair(network, (source_a, source_b), views, settings, device)
            except UserError as error:
                raise UserError(f"{manifest_path}: pair {pair.stem}: {error}") from error
            name = f"{pair.stem}.png"
            write_image(new_images / name, fused.image)
            write_image(new_lumas / name, fused.luma)
            checksums = sha256(new_images / name), sha256(new_lumas / name)
            entries[pair.stem] = FusedImage(pair.stem, images / name, checksums[0], lumas / name, checksums[1])
        index.unlink(missing_ok=True)  # it lists the images that are now replaced
    FusedIndex(index, entries).write()


def _pairs(manifest_path: Path, splits: Sequence[str]) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """The pairs of the splits, and the names of their first and second source."""
    manifest = Manifest.read(manifest_path)
    roles = next((roles for roles in ROLES if set(roles) == set(manifest.sources)), None)
    if roles is None:
        expected = " or ".join(" and ".join(names) for names in ROLES)
        found = ", ".join(manifest.sources) or "none"
        raise UserError(f"{manifest_path}: expected sources {expected}, found {found}; give a dataset of pairs")
    pairs = manifest.split(*splits)
    if not pairs:
        raise UserError(
            f"{manifest_path}: expected pairs in split {' or '.join(splits)}, found none; choose another split"
        )
    unsafe = next((pair.stem for pair in pairs if Path(pair.stem).name != pair.stem), None)
    if unsafe is not None:
        raise UserError(
            f"{manifest_path}: expected plain file names as stems, found {unsafe!r}; make the manifest again"
        )
    return pairs, roles
