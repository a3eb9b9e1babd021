"""DecoFuse from Python."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from decofuse.api import load
from decofuse.errors import UserError
from decofuse.fusing.fuse import fuse_pair
from decofuse.models.cddfuse import CDDFuse
from decofuse.models.registry import METHODS
from decofuse.training.checkpoint import Provenance, save_weights

CPU = torch.device("cpu")
SIZE = {"channels": 8, "heads": 2, "blocks": 1}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    tensors = CDDFuse(**SIZE).state_dict()
    save_weights(folder / "weights.safetensors", tensors, Provenance("cddfuse", "fusion", SIZE, {}))
    return folder


def pair(height=50, width=70, dtype=np.uint8):
    rng = np.random.default_rng(0)
    top = np.iinfo(dtype).max
    return rng.integers(0, top, (height, width, 3), dtype=dtype), rng.integers(0, top, (height, width), dtype=dtype)


def test_arrays_are_fused_as_the_workflow_fuses_them(weights):
    fuser = load(weights, device="cpu")
    visible, infrared = pair()
    entry = METHODS["cddfuse"]
    expected = fuse_pair(
        fuser.network, (visible, infrared), entry.tasks["infrared-visible"], entry.settings().fuse, CPU
    )
    fused = fuser.fuse(visible, infrared)
    assert (fused.shape, fused.dtype) == (visible.shape, np.uint8)
    assert np.array_equal(fused, expected.image)


def test_a_batch_is_fused_as_one_by_one(weights):
    fuser = load(weights, device="cpu", stretch=False)
    pairs = [pair(), tuple(image[::-1].copy() for image in pair())]
    together, alone = fuser.fuse_batch(pairs), [fuser.fuse(*sources) for sources in pairs]
    for first, second in zip(together, alone, strict=True):
        assert np.abs(first.astype(int) - second).max() <= 1


def test_sixteen_bits_stay_sixteen_bits_and_are_finer():
    fuser = load(method="average", stretch=False)
    visible, infrared = pair(dtype=np.uint16)
    fused = fuser.fuse(visible[..., 0], infrared)
    assert fused.dtype == np.uint16
    assert np.abs(fused - (visible[..., 0] / 2 + infrared / 2)).max() <= 0.51
    mixed = fuser.fuse(visible[..., 0], (infrared // 257).astype(np.uint8))
    assert mixed.dtype == np.uint16
    assert np.abs(mixed.astype(int) - fused).max() <= 129  # half of what 8 bits cannot tell apart, halved


def test_colour_of_sixteen_bits_comes_back():
    fuser = load(method="average", stretch=False)
    visible = pair(dtype=np.uint16)[0] // 2 + 16000
    luma = np.rint(visible @ np.array([0.299, 0.587, 0.114])).astype(np.uint16)
    assert np.abs(fuser.fuse(visible, luma).astype(int) - visible).max() <= 2


def test_the_stretch_can_be_chosen(weights):
    sources = tuple(image // 4 + 90 for image in pair())
    assert load(weights, stretch=True).fuse(*sources).max() == 255
    assert load(weights, stretch=False).fuse(*sources).max() < 255


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected either the folder of trained weights or the name of a method"),
        ({"method": "cddfuse"}, "method: expected one of average, laplacian, found 'cddfuse'"),
        ({"method": "average", "task": "painting"}, "average: expected a task that it serves .*, found 'painting'"),
        ({"weights": "nowhere"}, "nowhere/weights.safetensors: expected weights, found no such file"),
    ],
)
def test_what_cannot_be_loaded_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        load(**arguments)


def test_foreign_and_unfinished_weights_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"weights.safetensors: expected weights of this project, found a damaged or"):
        load(tmp_path)
    save_weights(path, {"x": torch.zeros(1)}, Provenance("cddfuse", "reconstruction", SIZE, {}))
    with pytest.raises(
        UserError, match="expected weights of cddfuse after fusion or meta, found cddfuse after reconstruction"
    ):
        load(tmp_path)
    save_weights(path, {"x": torch.zeros(1)}, Provenance("cddfuse", "fusion", {"colour": "blue"}, {}))
    with pytest.raises(UserError, match=r"expected the size of a cddfuse network, found another: .*colour"):
        load(tmp_path)
    save_weights(path, {"x": torch.zeros(1)}, Provenance("paint", "fusion", {}, {}))
    with pytest.raises(UserError, match=r"expected one of .*cddfuse.*, found 'paint'"):
        load(tmp_path)


@pytest.mark.parametrize(
    "image",
    [np.zeros((50, 70)), np.zeros((50, 70, 4), np.uint8), np.zeros(70, np.uint8), np.zeros((2, 50, 70, 3), np.uint8)],
)
def test_other_arrays_are_refused(image):
    with pytest.raises(ValueError, match="expected HxW or HxWx3 of uint8 or uint16"):
        load(method="average").fuse(image, pair()[1])


def test_importing_the_package_loads_neither_torch_nor_mlflow():
    code = "import sys, decofuse; sys.exit('torch' in sys.modules or 'mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
