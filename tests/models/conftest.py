"""Training data for the contract that every method keeps: four real pairs, or generated ones where there are none."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from decofuse import config, stages
from decofuse.data.manifest import ImageFile, Manifest, Pair
from decofuse.data.patches import write_patches
from decofuse.data.scenes import generate_scene
from decofuse.files import sha256
from decofuse.settings import PatchSettings

ROOT = Path(__file__).parents[2]
ROADSCENE = ROOT.parent / "shared/data/mirror/github.com/hanna-xu/RoadScene/archive/refs/heads/master.zip"
SIZE = (96, 128)


def _roadscene():
    """Visible, infrared and a label map: what is warm is a person."""
    with zipfile.ZipFile(ROADSCENE) as archive:
        names = sorted(name for name in archive.namelist() if "/crop_LR_visible/" in name and name.endswith(".jpg"))
        for name in names[:120:24]:
            infrared = archive.read(name.replace("crop_LR_visible", "cropinfrared"))
            images = [
                cv2.resize(cv2.imdecode(np.frombuffer(data, np.uint8), flag), SIZE[::-1], interpolation=cv2.INTER_AREA)
                for data, flag in ((archive.read(name), cv2.IMREAD_COLOR), (infrared, cv2.IMREAD_GRAYSCALE))
            ]
            yield np.ascontiguousarray(images[0][..., ::-1]), images[1], 2 * (images[1] > 160).astype(np.uint8)


def _scenes():
    for index in range(5):
        scene = generate_scene(0, "train", index, *SIZE)
        yield scene.visible, scene.infrared, scene.label


@pytest.fixture(scope="session")
def training_data(tmp_path_factory):
    """A folder with `manifest.csv` and `patches.h5` of four training pairs and one for validation, all labelled."""
    folder, pairs = tmp_path_factory.mktemp("pairs"), []
    for number, images in enumerate(_roadscene() if ROADSCENE.is_file() else _scenes()):
        files = {}
        for role, pixels in zip(("visible", "infrared", "label"), images, strict=True):
            path = folder / f"{number}-{role}.png"
            Image.fromarray(pixels).save(path)
            files[role] = ImageFile(path, 3 if role == "visible" else 1, sha256(path))
        pairs.append(Pair("val" if number == 4 else "train", str(number), *SIZE, files))
    Manifest(("visible", "infrared"), tuple(pairs)).write(folder / "manifest.csv")
    write_patches(folder / "manifest.csv", PatchSettings(size=32, stride=32), folder / "patches.h5")
    return folder


@pytest.fixture(scope="session")
def smoke():
    """Parameters of the smallest preset: every method at a size that a test can train."""
    return stages.resolve(config.load(ROOT / "params.yaml", "smoke"))
