"""Inference: a pair of images of any size to one fused image, and a split of a dataset to a folder of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from decofuse.data.images import Float32, UInt8, grey_levels, read_image, write_image
from decofuse.data.manifest import Manifest, Pair
from decofuse.errors import UserError
from decofuse.files import atomic_folder, sha256
from decofuse.fusing.index import FusedImage, FusedIndex
from decofuse.fusing.postprocess import recolour, recolour_clamped, stretch, to_uint8
from decofuse.fusing.views import view
from decofuse.models.method import Fuser
from decofuse.progress import progress
from decofuse.settings import FuseSettings, Views

INDEX = "index.csv"
ROLES = (("visible", "infrared"), ("source_a", "source_b"))  # in the order of Fuser.fuse


@dataclass(frozen=True)
class Fused:
    """A fused pair.

    Attributes:
        image: H×W×3 uint8 RGB if the result has colour, else H×W.
        luma: H×W uint8, luma that the network gave, or that of its RGB; metrics are computed on it.
    """

    image: UInt8
    luma: UInt8


def fuse_pair(
    network: Fuser, sources: tuple[UInt8, UInt8], views: Views, settings: FuseSettings, device: torch.device
) -> Fused:
    """Fuse two registered images as a batch of one, at their own size.

    The network is moved to `device` and put into evaluation mode.

    Args:
        network: a trained network or a training-free fuser.
        sources: visible (or first) and infrared (or second) source, H×W (grey) or H×W×3 (RGB) uint8, of one size.
        views: what the network is given and gives.
        settings: how the output becomes 8 bits and gets its colour.
        device: where to compute.

    Raises:
        UserError: the sizes differ or are too small for the network, or the network gives a value that is not finite.
    """
    (height, width), second = sources[0].shape[:2], sources[1].shape[:2]
    if (height, width) != second:
        raise UserError(
            f"expected two images of one size, found {width}x{height} and {second[1]}x{second[0]} pixels; "
            "register them first"
        )
    if min(height, width) < network.smallest:
        raise UserError(
            f"expected sides of at least {network.smallest} pixels, found {width}x{height}; enlarge the images"
        )
    with torch.inference_mode():
        kinds = (views.source_a, views.source_b)
        given = [_tensor(view(source, kind), device) for source, kind in zip(sources, kinds, strict=True)]
        network = network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        levels = np.moveaxis(network.fuse(*given)[0].float().cpu().numpy(), 0, -1)
    if not np.isfinite(levels).all():
        raise UserError("expected finite values from the network, found others; its weights have diverged, train again")
    levels = stretch(levels) if settings.stretch else levels
    if views.fused == "rgb":
        image = to_uint8(levels, settings.rounding)
        return Fused(image, grey_levels(image))
    luma = to_uint8(levels[..., 0], settings.rounding)
    if settings.chroma == "clamped":
        return Fused(recolour_clamped(levels[..., 0], *sources, settings.rounding), luma)
    return Fused(recolour(luma, *sources), luma)


def fuse_split(  # noqa: PLR0917
    network: Fuser,
    manifest_path: Path,
    split: str,
    views: Views,
    settings: FuseSettings,
    out: Path,
    device: torch.device,
) -> None:
    """Fuse all pairs of one split of a dataset.

    Nothing in `out` changes before all is done; then it gets `images/<stem>.png` (colour where a source has it),
    `luma/<stem>.png` (grey, what metrics read) and last `index.csv`, a `FusedIndex` in manifest order. What else lies
    there stays.

    Args:
        network: a trained network or a training-free fuser.
        manifest_path: manifest of the dataset.
        split: train, val or test.
        views: what the network is given and gives.
        settings: how the output becomes 8 bits and gets its colour.
        out: folder of the results.
        device: where to compute.

    Raises:
        UserError: the manifest does not list pairs of two sources in that split, a source is not the file that it
            lists, or a pair cannot be fused.
    """
    pairs, roles = _pairs(manifest_path, split)
    images, lumas, index = out / "images", out / "luma", out / INDEX
    entries = {}
    with atomic_folder(images) as new_images, atomic_folder(lumas) as new_lumas:
        for pair in progress(pairs, f"fuse {split}", unit="pair"):
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


def _pairs(manifest_path: Path, split: str) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """The pairs of a split, and the names of their first and second source."""
    manifest = Manifest.read(manifest_path)
    roles = next((roles for roles in ROLES if set(roles) == set(manifest.sources)), None)
    if roles is None:
        expected = " or ".join(" and ".join(names) for names in ROLES)
        found = ", ".join(manifest.sources) or "none"
        raise UserError(f"{manifest_path}: expected sources {expected}, found {found}; give a dataset of pairs")
    pairs = manifest.split(split)
    if not pairs:
        raise UserError(f"{manifest_path}: expected pairs in split {split}, found none; choose another split")
    unsafe = next((pair.stem for pair in pairs if Path(pair.stem).name != pair.stem), None)
    if unsafe is not None:
        raise UserError(
            f"{manifest_path}: expected plain file names as stems, found {unsafe!r}; make the manifest again"
        )
    return pairs, roles


def _tensor(image: Float32, device: torch.device) -> Tensor:
    """H×W or H×W×3 as 1×C×H×W."""
    channels = image[None] if image.ndim == 2 else np.moveaxis(image, -1, 0)
    return torch.from_numpy(np.ascontiguousarray(channels)).to(device)[None]
