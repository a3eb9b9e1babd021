"""What fusing in tiles changes, and what a large image takes.

    python benchmarks/tiling.py WEIGHTS...      # folders of trained weights; without any, the methods without training

For each method: a real pair of RoadScene (DECOFUSE_MIRROR), enlarged to 960 x 1280, is fused whole and in tiles, and
the largest and mean difference of the 8-bit results is printed, brought to levels as published; then a 6,000 x 4,000
pair is fused by the command line below a limit, and its peak memory is printed.
"""

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from decofuse.api import load
from decofuse.data.images import Pixels, read_image, write_image
from decofuse.fusing.fuse import fuse_pair
from decofuse.fusing.image_fuser import ImageFuser
from decofuse.fusing.tiling import smallest_tiles

SIDES = (256, 512, 768)
LARGE = (6000, 4000)  # width, height
LIMIT = 4_000_000_000
ARCHIVE = "github.com/hanna-xu/RoadScene/archive/refs/heads/master.zip"


def main() -> None:
    """Print a line a method and side, then a line a large image."""
    folders = [Path(name) for name in sys.argv[1:]]
    fusers = {name: load(method=name) for name in ("average", "laplacian")}
    fusers |= {folder.parent.name: load(folder) for folder in folders}
    with tempfile.TemporaryDirectory() as scratch:
        visible, infrared = _pair(Path(scratch), (1280, 960))
        print("method side max_levels mean_levels")
        for name, fuser in fusers.items():
            whole = fuser.fuse(visible, infrared)
            for side in SIDES:
                difference = np.abs(whole.astype(int) - _tiled(fuser, visible, infrared, side))
                print(name, side, difference.max(), f"{difference.mean():.2f}", flush=True)
        large = _pair(Path(scratch), LARGE)
        for image, name in zip(large, ("visible", "infrared"), strict=True):
            write_image(Path(scratch) / f"{name}.png", image)
        for arguments in (
            ["--method", "average"],
            ["--method", "laplacian"],
            *(["--weights", str(f)] for f in folders),
        ):
            peak, seconds = _large(Path(scratch), arguments)
            print(f"{LARGE[0]}x{LARGE[1]} {arguments[1]}: peak {peak / 1e9:.2f} GB, {seconds:.0f} s", flush=True)


def _tiled(fuser: ImageFuser, visible: Pixels, infrared: Pixels, side: int) -> Pixels:
    smallest = smallest_tiles(fuser.reach)
    tiles = replace(smallest, side=max(side, smallest.side))
    return fuse_pair(fuser.network, (visible, infrared), fuser.views, fuser.settings, fuser.device, tiles=tiles).image


def _large(folder: Path, arguments: list[str]) -> tuple[float, float]:
    """Peak memory in bytes and time of `decofuse fuse` on the large pair, by a process of its own."""
    fuse = [sys.executable, "-m", "decofuse.cli", "fuse", *arguments, "--max-memory", f"{LIMIT}"]
    files = ["--visible", folder / "visible.png", "--infrared", folder / "infrared.png", "--out", folder / "out.png"]
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in (*fuse, *files)], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{arguments}: failed")
    return usage.ru_maxrss * 1024, time.perf_counter() - start


def _pair(folder: Path, size: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """A RoadScene pair at `size` (width, height): visible in colour, infrared."""
    archive = Path(os.environ["DECOFUSE_MIRROR"]) / ARCHIVE
    images = []
    with zipfile.ZipFile(archive) as names:
        for kind in ("crop_LR_visible", "cropinfrared"):
            name = sorted(name for name in names.namelist() if f"/{kind}/FLIR_08" in name)[0]
            path = folder / f"{kind}{Path(name).suffix}"
            path.write_bytes(names.read(name))
            resized = cv2.resize(read_image(path), size, interpolation=cv2.INTER_CUBIC)
            images.append(resized.astype(np.uint8, copy=False))
    return images[0], images[1]


if __name__ == "__main__":
    main()
