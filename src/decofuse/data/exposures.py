"""A multi-exposure dataset made from a labelled dataset of single images: what a small sensor gives of each, twice.

`source_a` is under-exposed: its shadows drown in noise. `source_b` is over-exposed: its highlights clip. Each lacks
something that the other shows, and labels say what is to be seen.

Model: the image's sRGB levels (IEC 61966-2-1) are taken for linear light L in [0, 1], 1 being the white of the image.
At an exposure of e stops a pixel collects Poisson(L · 2^e · F) electrons, F being the full well, and reading adds
N(0, r²) electrons (Foi et al., Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data,
IEEE TIP 2008). The sum over F is clipped to [0, 1], encoded as sRGB and rounded to 8 bits. Channels are independent:
there is no mosaic, no denoising, and no tone curve but sRGB; what the image itself has clipped stays lost.
"""

import json
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decofuse.data.archive import LABELS
from decofuse.data.classes import ClassTable
from decofuse.data.dataset import IGNORED_LABEL, SOURCES, Dataset, Task
from decofuse.data.exposure_settings import ExposuresSettings
from decofuse.data.images import UInt8, read_image, read_label, write_image
from decofuse.data.labels import write_label
from decofuse.data.manifest import LABEL, SPLITS, Manifest, Pair
from decofuse.data.pairing import warn_skipped
from decofuse.data.prepare import prepare
from decofuse.errors import UserError
from decofuse.files import write_json
from decofuse.progress import progress
from decofuse.seeding import seed_for

_TASK: Task = "multi-exposure"


def make_exposures(
    name: str,
    settings: ExposuresSettings,
    source: Dataset,
    archive: Path,
    out: Path,
    *,
    splits: Path | None = None,
    lock: Path | None = None,
    threads: int = 4,
) -> Manifest:
    """Make `out/images`, `out/pairing.json` (what was left out of the source) and `out/manifest.csv`.

    Args:
        name: Name of the new dataset.
        settings: Exposures, noise, and which split is the test split.
        source: The dataset of single images with labels.
        archive: Its archive, or a folder with its files.
        out: Folder of the new dataset. Images of an earlier run are replaced as a whole.
        splits: CSV file `split,stem` of the source, if its folders do not tell the splits.
        lock: Checksums of the source's files, see `prepare`.
        threads: Images that are worked on at the same time.

    Returns:
        The manifest, as written: `source_a`, `source_b` and `label`, stems and splits of the source.

    Raises:
        UserError: what `prepare` refuses of the source, or the split that serves as test is empty.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".exposures-") as folder:
        original, made = Path(folder, source.name), Path(folder, "made")
        manifest = prepare(source, archive, original, splits=splits, lock=lock, threads=threads)
        chosen, left_out = _chosen(manifest, settings, archive, name)
        _write(chosen, source, settings, made, threads)
        result = prepare(_declared(name, source), made, out, threads=threads)
        report = json.loads((original / "pairing.json").read_text(encoding="utf-8"))
    write_json(out / "pairing.json", report | {"unlisted": [*report["unlisted"], *left_out]})
    return result


def expose(
    image: UInt8, stops: float, settings: ExposuresSettings, generator: np.random.Generator | None = None
) -> UInt8:
    """What the sensor gives of an image.

    Args:
        image: sRGB levels, any shape, uint8.
        stops: exposure relative to the image [stops].
        settings: full well and read noise [electrons].
        generator: source of the noise; None for none at all.

    Returns:
        sRGB levels, the same shape, uint8.
    """
    electrons = _LINEAR[image] * (2.0**stops * settings.full_well)
    if generator is not None:
        electrons = generator.poisson(electrons) + generator.normal(0.0, settings.read_noise, image.shape)
    return encode_srgb(np.clip(electrons / settings.full_well, 0.0, 1.0))


def decode_srgb(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light in [0, 1] of sRGB values in [0, 1] (IEC 61966-2-1)."""
    linear: NDArray[np.float64] = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return linear


def encode_srgb(linear: NDArray[np.float64]) -> UInt8:
    """Levels of sRGB (uint8, rounded to nearest) of linear light in [0, 1]."""
    values = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    levels: UInt8 = np.rint(255 * values).astype(np.uint8)
    return levels


_LINEAR = decode_srgb(np.arange(256) / 255)


def _declared(name: str, source: Dataset) -> Dataset:
    """The new dataset, in split folders: stems of different splits may be equal."""
    files = {role: f"{role}/{{split}}/{{stem}}" for role in SOURCES[_TASK]} | {LABEL: f"{LABELS}/{{split}}/{{stem}}"}
    return Dataset(name, _TASK, files, classes=source.classes, colours=source.colours)


def _chosen(
    manifest: Manifest, settings: ExposuresSettings, archive: Path, name: str
) -> tuple[Manifest, tuple[str, ...]]:
    """The images by their split in the new dataset, and the stems that are left out."""
    renamed: Mapping[str, str] = {"train": "train", "val": "test"} if settings.test_from == "val" else {}
    splits = renamed or dict(zip(SPLITS, SPLITS, strict=True))
    pairs = [replace(pair, split=splits[pair.split]) for pair in manifest.pairs if pair.split in splits]
    if not any(pair.split == "test" for pair in pairs):
        counts = ", ".join(f"{split} {len(manifest.split(split))}" for split in SPLITS)
        other = "val" if settings.test_from == "test" else "test"
        raise UserError(
            f"{archive}: expected images in the split {settings.test_from} for {name}, found {counts}; "
            f"set test_from: {other} if that split may serve as test, or get the whole archive"
        )
    rest = tuple(pair.stem for pair in manifest.pairs if pair.split not in splits)
    warn_skipped(name, "of the split test, skipped, because test_from is val", rest)
    return Manifest(manifest.sources, tuple(pairs)), rest


def _write(manifest: Manifest, source: Dataset, settings: ExposuresSettings, folder: Path, threads: int) -> None:
    """Write `<source>/<split>/<stem>.png` and `labels/<split>/<stem>.png` for all images."""
    table = ClassTable(source.classes, source.colours)
    with ThreadPoolExecutor(threads) as pool:
        done = pool.map(lambda pair: _write_pair(pair, source.void, table, settings, folder), manifest.pairs)
        for _ in progress(done, "exposures", len(manifest.pairs), "image"):
            pass


def _write_pair(pair: Pair, void: int | None, table: ClassTable, settings: ExposuresSettings, folder: Path) -> None:
    image = read_image(pair.path("image"))
    rgb = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    for role, stops in zip(SOURCES[_TASK], (settings.under, settings.over), strict=True):
        generator = np.random.Generator(np.random.PCG64(seed_for(settings.seed, pair.stem, role)))
        write_image(folder / role / pair.split / f"{pair.stem}.png", expose(rgb, stops, settings, generator))
    label = read_label(pair.path(LABEL))
    if void is not None:
        label[label == void] = IGNORED_LABEL
    write_label(folder / LABELS / pair.split / f"{pair.stem}.png", label, table)
