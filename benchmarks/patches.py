"""Training patches against the field's usual way: time, size, random reads, peak memory.

    python benchmarks/patches.py [--mirror FOLDER]

With a folder of public archives (--mirror, or DECOFUSE_MIRROR) the images are those of RoadScene, else synthetic ones.
Both sides run here, on the same images, cores and disk, and must give the same patches bit for bit. Times that are
compared closely are the best of several alternating repeats.

The usual way: gather all windows of an image pixel offset by pixel offset, test the contrast of each, store each patch
as a float32 dataset of its own; to read, open the file for each item.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np

from decofuse.data.images import Float32, UInt8, luma, read_image, write_image
from decofuse.data.manifest import ImageFile, Manifest, Pair
from decofuse.data.patch_file import PatchDataset
from decofuse.data.patches import write_patches
from decofuse.files import sha256
from decofuse.settings import PatchSettings

ROADSCENE = "github.com/hanna-xu/RoadScene/archive/refs/heads/master.zip"
SOURCES = ("visible", "infrared")
SETTINGS = PatchSettings()
WORKERS = 2
REPEATS = 7
BATCH = 8
PEAK = """
import sys
from pathlib import Path
from decofuse.data.patches import write_patches
from decofuse.settings import PatchSettings
write_patches(Path(sys.argv[1]), PatchSettings(), Path(sys.argv[2]))
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""

Scene = tuple[str, UInt8, UInt8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mirror", default=os.environ.get("DECOFUSE_MIRROR", ""), help="folder of public archives")
    archive = Path(parser.parse_args().mirror) / ROADSCENE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jpeg = roadscene(archive, folder / "jpeg") if archive.is_file() else store(folder / "jpeg", ".jpg", synthetic())
        png = store(folder / "png", ".png", resized(jpeg))
        origin = "RoadScene" if archive.is_file() else "synthetic"
        compare(f"{origin}, JPEG", jpeg, folder)
        compare(f"{origin} resized to 480x640, PNG as in MSRS", png, folder)


# --- images ----------------------------------------------------------------------------------------------------------


def roadscene(archive: Path, folder: Path) -> Path:
    """Unpack RoadScene and pair its images by name; returns the manifest."""
    with zipfile.ZipFile(archive) as content:
        content.extractall(folder)
    visible = sorted(folder.rglob("crop_LR_visible/*.jpg"))
    return write_manifest(folder, [(path, path.parents[1] / "cropinfrared" / path.name) for path in visible])


def synthetic() -> Iterator[Scene]:
    """Smooth colour fields with sensor noise, in sizes like RoadScene's."""
    rng = np.random.default_rng(0)
    for number in range(100):
        height, width = int(rng.integers(280, 420)), int(rng.integers(450, 600))
        coarse = rng.integers(0, 256, (height // 40, width // 40, 4)).astype(np.float32)
        coarse[..., :3] = 0.75 * coarse[..., :1] + 0.25 * coarse[..., :3]  # colours resemble each other
        scene = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        noise = rng.normal(0, 1, (height, width, 1)) + rng.normal(0, 0.5, (height, width, 4))
        levels = np.clip(scene + noise, 0, 255).astype(np.uint8)
        yield f"{number:03}", levels[..., :3], levels[..., 3]


def resized(manifest: Path, count: int = 100) -> Iterator[Scene]:
    for pair in Manifest.read(manifest).pairs[:count]:
        visible, infrared = (cv2.resize(read_image(pair.files[source].path), (640, 480)) for source in SOURCES)
        yield pair.stem, visible.astype(np.uint8), infrared.astype(np.uint8)


def store(folder: Path, suffix: str, scenes: Iterable[Scene]) -> Path:
    """Write scenes as image files; returns the manifest."""
    paths = []
    for stem, *images in scenes:
        paths.append((folder / SOURCES[0] / f"{stem}{suffix}", folder / SOURCES[1] / f"{stem}{suffix}"))
        for path, image in zip(paths[-1], images, strict=True):
            write_image(path, np.ascontiguousarray(image))
    return write_manifest(folder, paths)


def write_manifest(folder: Path, paths: Iterable[tuple[Path, Path]]) -> Path:
    pairs = []
    for visible, infrared in paths:
        images = {source: read_image(path) for source, path in zip(SOURCES, (visible, infrared), strict=True)}
        files = {
            source: ImageFile(path, 3 if images[source].ndim == 3 else 1, sha256(path))
            for source, path in zip(SOURCES, (visible, infrared), strict=True)
        }
        height, width = images["visible"].shape[:2]
        pairs.append(Pair("train", visible.stem, height, width, files))
    Manifest(SOURCES, tuple(pairs)).write(folder / "manifest.csv")
    return folder / "manifest.csv"


# --- the usual way ---------------------------------------------------------------------------------------------------


def usual_write(pairs: Iterable[Pair], out: Path) -> None:
    with h5py.File(out, "w") as file:
        groups = [file.create_group(source) for source in SOURCES]
        kept = 0
        for pair in pairs:
            windows = [usual_windows(luma(read_image(pair.files[source].path))[None]) for source in SOURCES]
            for number in range(windows[0].shape[-1]):
                patches = [window[..., number] for window in windows]
                if not any(usual_low_contrast(patch) for patch in patches):
                    for group, patch in zip(groups, patches, strict=True):
                        group.create_dataset(str(kept), data=patch)
                    kept += 1


def usual_windows(image: Float32) -> Float32:
    """All windows of a 1×H×W image as 1×P×P×n, gathered for one pixel offset after the other."""
    size, stride = SETTINGS.size, SETTINGS.stride
    _, height, width = image.shape
    count = ((height - size) // stride + 1) * ((width - size) // stride + 1)
    gathered = np.zeros((1, size * size, count), np.float32)
    for i in range(size):
        for j in range(size):
            pixels = image[:, i : height - size + i + 1 : stride, j : width - size + j + 1 : stride]
            gathered[:, i * size + j, :] = pixels.reshape(1, count)
    return gathered.reshape(1, size, size, count)


def usual_low_contrast(patch: Float32) -> bool:
    p10, p90 = np.percentile(patch, [10, 90])
    with np.errstate(invalid="ignore"):
        return bool((p90 - p10) / p90 < SETTINGS.low_contrast)


def usual_read(path: Path, key: str) -> list[Float32]:
    with h5py.File(path, "r") as file:
        return [np.array(file[source][key]) for source in SOURCES]


# --- measuring -------------------------------------------------------------------------------------------------------


def compare(name: str, manifest: Path, folder: Path) -> None:
    """Measure one set of images and print its table."""
    pairs = Manifest.read(manifest).pairs
    ours, usual = folder / "ours.h5", folder / "usual.h5"
    decoding, patching = best(lambda: decode(pairs), lambda: write_patches(manifest, SETTINGS, ours, workers=WORKERS))
    (gathering,) = best(lambda: usual_write(pairs, usual), repeats=1)
    count = check_equal(ours, usual)
    print(f"\n{name}: {len(pairs)} pairs, {count} patches kept, {WORKERS} threads")
    show("patching against only decoding", decoding, patching, "s", f"{patching / decoding:7.2f}x   <= 1.5")
    faster("patching", gathering, patching, "s", ">= 15")
    faster("file", usual.stat().st_size / 2**20, ours.stat().st_size / 2**20, "MiB", ">= 4")
    reading = read_usual(usual, count) * 1e6
    with PatchDataset(ours, ["train"], cache_bytes=0) as patches:
        faster("random reads, nothing kept", reading, read_ours(patches) * 1e6, "us", "")
    with PatchDataset(ours, ["train"]) as patches:
        faster("random reads, first epoch", reading, read_ours(patches, repeats=1) * 1e6, "us", "")
        faster("random reads, later epochs", reading, read_ours(patches) * 1e6, "us", ">= 10")
    peaks = [peak_memory(manifest, folder, copies) for copies in (1, 4)]
    print(
        f"  peak memory: {peaks[0]:.0f} MB with {len(pairs)} pairs, {peaks[1]:.0f} MB with 4 times as many (< 400 MB)"
    )


def show(title: str, usual: float, ours: float, unit: str, verdict: str) -> None:
    print(f"  {title:36}{usual:10.3f} -> {ours:8.3f} {unit:4}{verdict}")


def faster(title: str, usual: float, ours: float, unit: str, target: str) -> None:
    show(title, usual, ours, unit, f"{usual / ours:7.2f}x   {target}")


def best(*functions: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Shortest time of each function over alternating repeats [s]."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def decode(pairs: Iterable[Pair]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(lambda pair: [read_image(pair.files[source].path).shape for source in SOURCES], pairs):
            pass


def check_equal(ours: Path, usual: Path) -> int:
    """Compare all patches bit for bit; returns their number."""
    with h5py.File(usual, "r") as file, PatchDataset(ours, ["train"]) as patches:
        if not len(patches) == len(file["visible"]) == len(file["infrared"]):
            sys.exit(f"{len(patches)} patches, the usual way keeps {len(file['visible'])}")
        for number in range(len(patches)):
            for source, patch in patches.batch([number]).items():
                if not np.array_equal(patch[0], file[source][str(number)]):
                    sys.exit(f"patch {number} of {source} differs")
        return len(patches)


def read_usual(path: Path, count: int, items: int = 400) -> float:
    """Seconds a patch of all sources."""
    keys = np.random.default_rng(0).integers(count, size=items)
    return best(lambda: [usual_read(path, str(key)) for key in keys])[0] / items


def read_ours(patches: PatchDataset, repeats: int = REPEATS) -> float:
    """Seconds a patch of all sources, in random batches that cover the file."""

    def epoch() -> None:
        order = np.random.default_rng(0).permutation(len(patches))
        for first in range(0, len(order), BATCH):
            patches.batch(order[first : first + BATCH])

    return best(epoch, repeats=repeats)[0] / len(patches)


def peak_memory(manifest: Path, folder: Path, copies: int) -> float:
    """Peak resident memory of the stage in a process of its own, with each pair listed `copies` times [MB]."""
    pairs = Manifest.read(manifest).pairs
    repeated = [replace(pair, stem=f"{pair.stem}-{copy}") for copy in range(copies) for pair in pairs]
    Manifest(SOURCES, tuple(repeated)).write(folder / "repeated.csv")
    command = [sys.executable, "-c", PEAK, str(folder / "repeated.csv"), str(folder / "repeated.h5")]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1000


if __name__ == "__main__":
    main()
