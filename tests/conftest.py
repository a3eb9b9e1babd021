"""Fixtures that every test may use."""

import os
from pathlib import Path

import numpy as np
import pytest

from decofuse.data.images import write_image
from decofuse.data.manifest import ImageFile, Manifest, Pair
from decofuse.files import sha256

# As the command line sets it, and before torch is loaded: beside other busy processes waiting threads must not spin.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
PARALLEL = "PYTEST_XDIST_WORKER" in os.environ
if PARALLEL:  # each process has a processor of its own, and no more
    os.environ.setdefault("OMP_NUM_THREADS", "1")

MIRROR = Path(__file__).parents[2] / "shared" / "data" / "mirror"


def pytest_collection_modifyitems(items):
    """Begin with the longest tests, so that no process is left alone with them in the end."""
    if PARALLEL:
        items.sort(key=lambda item: item.path.parent.name != "workflow")


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Folder with copies of public archives, laid out as DECOFUSE_MIRROR expects."""
    if not MIRROR.is_dir():
        pytest.skip(f"no mirror of the public archives at {MIRROR}")
    return MIRROR


@pytest.fixture(scope="session")
def labelled():
    """Makes a small dataset with labels of three classes in a folder; its manifest."""
    return _labelled


def _labelled(folder, count=3, height=48, width=64, label=None, label_size=None):
    """A dataset whose images say by their colour which class a pixel has: left red, right blue."""
    pairs = []
    for index in range(count):
        classes = np.zeros((height, width), np.uint8) if label is None else np.full((height, width), label, np.uint8)
        if label is None:
            classes[10:30, 5:20], classes[10:30, 40:60] = 1, 2
        image = np.zeros((height, width, 3), np.uint8)
        image[classes == 1], image[classes == 2] = (200, 0, 0), (0, 0, 100)
        files = {}
        stored = classes[: label_size[0], : label_size[1]] if label_size else classes
        for role, pixels in (("visible", image), ("infrared", image[..., 0]), ("label", stored)):
            path = folder / f"{index}-{role}.png"
            write_image(path, np.ascontiguousarray(pixels))
            files[role] = ImageFile(path, 3 if pixels.ndim == 3 else 1, sha256(path))
        pairs.append(Pair("train" if index else "val", f"s{index}", height, width, files))
    manifest = folder / "manifest.csv"
    Manifest(("visible", "infrared"), tuple(pairs)).write(manifest)
    return manifest
