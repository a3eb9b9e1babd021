"""`decofuse export`: every method as an ONNX model that fuses a real pair as PyTorch does, or no file at all."""

import importlib
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.nn import functional as F

from decofuse import config, stages
from decofuse.api import ImageFuser
from decofuse.cli import main
from decofuse.data.images import read_pixels, write_image
from decofuse.errors import UserError
from decofuse.fusing import onnx_export
from decofuse.fusing.onnx_export import AXES, TOLERANCE, export_onnx
from decofuse.fusing.views import view
from decofuse.models.method import Fuser
from decofuse.models.registry import METHODS
from decofuse.settings import FuseSettings, Views
from decofuse.training.checkpoint import Provenance, save_weights

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
GREY = Views(source_a="grey", source_b="grey", fused="luma")
STRETCHED = FuseSettings()
SLOW = ("psfusion", "sfdfuse", "ssdfusion")  # whose sizes are long formulas to the tracer: up to a minute each
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name, method in METHODS.items()
    if method.onnx is not None
]


@pytest.fixture(scope="module")
def pair(mirror, tmp_path_factory):
    """Files of a part of a RoadScene pair: sides that no network would choose, above every method's smallest."""
    folder = tmp_path_factory.mktemp("pair")
    with zipfile.ZipFile(mirror / "github.com/hanna-xu/RoadScene/archive/refs/heads/master.zip") as archive:
        name = sorted(name for name in archive.namelist() if "/crop_LR_visible/" in name and name.endswith(".jpg"))[5]
        for role, member in (("visible", name), ("infrared", name.replace("crop_LR_visible", "cropinfrared"))):
            pixels = cv2.imdecode(np.frombuffer(archive.read(member), np.uint8), cv2.IMREAD_COLOR)
            write_image(folder / f"{role}.png", np.ascontiguousarray(pixels[60:157, 100:231, ::-1]))
    return folder / "visible.png", folder / "infrared.png"


@pytest.fixture
def noise(tmp_path):
    """Files of a pair, where no real one is needed."""
    rng = np.random.default_rng(0)
    write_image(tmp_path / "v.png", rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    write_image(tmp_path / "i.png", rng.integers(0, 255, (48, 64), dtype=np.uint8))
    write_image(tmp_path / "small.png", rng.integers(0, 255, (6, 64), dtype=np.uint8))
    (tmp_path / "broken.png").write_bytes(b"broken")
    return tmp_path


@pytest.fixture
def export(monkeypatch, capfd):
    """Runs the command in this process; gives its status and everything that came out."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["decofuse", "export", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code or 0
        return code, *capfd.readouterr()

    return run


def trained(name, folder):
    """A method's network at the size of the smallest preset, and the words that name it on the command line."""
    method = METHODS[name]
    build = getattr(importlib.import_module(method.module), method.network)
    if not method.phases:
        return build().eval(), ("--method", name)
    size = stages.resolve(config.load(ROOT / "params.yaml", "smoke"))["methods"][name]["network"]
    torch.manual_seed(0)
    network = build(**size).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))  # as training would: nothing starts at 0
    tensors, about = network.state_dict(), Provenance(name, method.last_phase, size, {})
    save_weights(folder / "weights.safetensors", tensors, about)
    return network, ("--weights", folder)


def runs_as(network, model, views, images):
    """The largest difference between ONNX Runtime and PyTorch on N pairs of images of one size."""
    inputs = [
        np.stack([np.atleast_3d(view(image, colour)).transpose(2, 0, 1) for image in source])
        for source, colour in zip(images, (views.source_a, views.source_b), strict=True)
    ]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    (fused,) = session.run(["fused"], dict(zip(("source_a", "source_b"), inputs, strict=True)))
    with torch.no_grad():
        expected = network.fuse(*map(torch.from_numpy, inputs)).numpy()
    assert fused.shape == expected.shape
    assert expected.std() > 1e-3
    return np.abs(fused - expected).max()


@pytest.mark.parametrize("name", NAMES)
def test_every_method_fuses_a_real_pair_as_pytorch_does(name, export, pair, tmp_path):
    network, words = trained(name, tmp_path / "weights")
    out, method = tmp_path / "model.onnx", METHODS[name]
    code, said, error = export(*words, "--visible", pair[0], "--infrared", pair[1], "--out", out)
    assert (code, error) == (0, "")
    sizes = "any size" if "height" in method.onnx else "131x97 pixels"
    assert said.startswith(f"{out}: {name}, {sizes}")
    assert said.count("\n") == 1

    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    views = method.tasks["infrared-visible"]
    fixed = dict(zip(AXES, (1, 97, 131), strict=True))
    batch, height, width = (axis if axis in method.onnx else fixed[axis] for axis in AXES)
    channels = [3 if colour == "rgb" else 1 for colour in (views.source_a, views.source_b, views.fused)]
    for value, expected, count in zip(
        (*model.graph.input, *model.graph.output), ("source_a", "source_b", "fused"), channels, strict=True
    ):
        shape = [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        assert (value.name, shape) == (expected, [batch, count, height, width])
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert (about["decofuse.method"], about["decofuse.task"]) == (name, "infrared-visible")
    assert about.get("decofuse.phase") == method.last_phase
    assert ("decofuse.weights_sha256" in about) == bool(method.phases)

    images = [[read_pixels(path)] for path in pair]
    assert runs_as(network, out, views, images) <= TOLERANCE
    if "height" in method.onnx:
        least = network.smallest
        for rows, columns in ((64, 96), (least, least + 3)):
            parts = [[image[0][:rows, :columns]] * (2 if "batch" in method.onnx else 1) for image in images]
            assert runs_as(network, out, views, parts) <= TOLERANCE


class Branching(Fuser):
    """Its result hangs on the size, in a branch that tracing freezes."""

    def fuse(self, source_a, source_b):
        return source_a if source_a.shape[-1] * source_a.shape[-2] > 5000 else source_b


class Padded(Fuser):
    """Rounds sizes up by floor division of negative ones."""

    def fuse(self, source_a, source_b):
        height, width = source_a.shape[-2:]
        tall, wide = (-(-(side + 3) // 16) * 16 for side in (height, width))
        border = (2, wide - width - 2, 1, tall - height - 1)
        first, second = (F.pad(image, border, mode="replicate") for image in (source_a, source_b))
        means = (first + second).mean(dim=(1, 2, 3), keepdim=True)
        return (means * torch.maximum(first, second))[..., 1 : 1 + height, 2 : 2 + width].clamp(0, 1)


class Colourful(Fuser):
    def fuse(self, source_a, source_b):
        return torch.maximum(source_a, source_b)


class Deciding(Fuser):
    """Cannot be traced, as a branch hangs on values."""

    def fuse(self, source_a, source_b):
        return source_a if source_a.mean() > source_b.mean() else source_b


def fuser(network, views=GREY, settings=STRETCHED):
    return ImageFuser(network, views, settings, CPU)


def images(height=80, width=100, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, 255, (height, width), dtype=np.uint8) for _ in range(2))


def test_a_wrong_declaration_is_found_and_nothing_is_written(tmp_path):
    with pytest.raises(UserError, match=r"model.onnx: not written, as expected at most 0.0004 .* found \d"):
        export_onnx(fuser(Branching()), images(), AXES, {}, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
    assert export_onnx(fuser(Branching()), images(), (), {}, tmp_path / "model.onnx") == 0


def test_sizes_are_rounded_up_as_in_pytorch(tmp_path):
    assert export_onnx(fuser(Padded()), images(), AXES, {}, tmp_path / "model.onnx") <= 1e-5
    for height, width in ((13, 29), (14, 30), (61, 64)):
        parts = [[image[:height, :width]] for image in images()]
        assert runs_as(Padded(), tmp_path / "model.onnx", GREY, parts) <= 1e-5


def test_colour_and_what_has_to_follow_are_in_the_file(tmp_path):
    views = Views(source_a="rgb", source_b="rgb", fused="rgb")
    settings = FuseSettings(stretch=False, rounding="truncate")
    assert export_onnx(fuser(Colourful(), views, settings), images(), AXES, {"task": "t"}, tmp_path / "m.onnx") == 0
    model = onnx.load(tmp_path / "m.onnx")
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["decofuse.fused"].startswith("N x 3 x H x W: rgb in [0, 1]")
    assert about["decofuse.afterwards"] == "8-bit levels: floor(255 x) (16 bits: 65535 for 255)"
    assert about["decofuse.task"] == "t"
    assert [axis.dim_param or axis.dim_value for axis in model.graph.output[0].type.tensor_type.shape.dim][1] == 3
    export_onnx(fuser(Average()), images(), AXES, {}, tmp_path / "m.onnx")
    about = {entry.key: entry.value for entry in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert about["decofuse.afterwards"].startswith("x = (x - min) / (max - min) over each image; 8-bit levels: floor(")
    assert "; colour: from a colour source" in about["decofuse.afterwards"]


class Average(Fuser):
    def fuse(self, source_a, source_b):
        return (source_a + source_b) / 2


def test_bytes_depend_on_neither_images_nor_code_paths(tmp_path):
    for name, pair in (("one", images()), ("two", images(90, 70, seed=1))):
        export_onnx(fuser(Average()), pair, AXES, {}, tmp_path / name)
    content = (tmp_path / "one").read_bytes()
    assert content == (tmp_path / "two").read_bytes()
    assert b".py" not in content


def test_what_cannot_be_exported_is_one_line(tmp_path, capfd):
    with pytest.raises(UserError, match=r"^Deciding: expected a network that torch.onnx can export, found: [^\n]+$"):
        export_onnx(fuser(Deciding()), images(), AXES, {}, tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_too_many_parameters_for_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "LIMIT", -1)
    with pytest.raises(UserError, match=r"model.onnx: expected tensors of at most .* GiB"):
        export_onnx(fuser(Average()), images(), AXES, {}, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"model.onnx: could not be written \(No space left on device\)"):
        export_onnx(fuser(Average()), images(), AXES, {}, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--method average --visible v.png --out m.onnx", "expected --visible and --infrared, or --source-a and"),
        ("--method average --source-a v.png --source-b i.png --out m.onnx", "expected --task beside --source-a"),
        ("--visible v.png --infrared i.png --out m.onnx", "expected either the folder of trained weights or the name"),
        ("--weights w --visible v.png --infrared i.png --out m.onnx", "w/weights.safetensors: expected weights, found"),
        ("--method cddfuse --visible v.png --infrared i.png --out m.onnx", "expected one of average, laplacian, found"),
        ("--method average --visible v.png --infrared gone.png --out m.onnx", "gone.png: expected a readable image"),
        ("--method average --visible broken.png --infrared i.png --out m.onnx", "broken.png: expected a readable ima"),
        ("--method average --visible v.png --infrared small.png --out m.onnx", "small.png: expected 64x48 pixels"),
        ("--method laplacian --visible v.png --infrared i.png --out m.onnx", "laplacian: expected a method of which"),
        ("--method average --visible v.png --infrared i.png --out m.pth", "m.pth: expected the name of a file that"),
        ("--method average --visible v.png --infrared i.png --out v.png/m.onnx", "v.png/m.onnx: expected a place that"),
        (
            "--method average --task pan --source-a v.png --source-b i.png --out m.onnx",
            "average: expected a task that it serves (infrared-visible, medical, multi-exposure, multi-focus), found",
        ),
    ],
)
def test_bad_input_is_one_line_that_names_it(export, noise, monkeypatch, words, message):
    monkeypatch.chdir(noise)
    before = set(noise.iterdir())
    code, said, error = export(*words.split())
    assert (code, said) == (1, "")
    assert message in error
    assert error.startswith("decofuse: error: ")
    assert error.count("\n") == 1
    assert set(noise.iterdir()) == before


def test_images_of_the_smallest_size_leave_no_other_to_compare(tmp_path):
    with pytest.raises(UserError, match="expected sides above 1 pixels"):
        export_onnx(fuser(Average()), images(1, 1), AXES, {}, tmp_path / "model.onnx")


def test_a_pair_that_is_too_small_for_the_network(export, noise):
    _, words = trained("ssdfusion", noise / "weights")
    small = noise / "small.png"
    code, said, error = export(*words, "--visible", small, "--infrared", small, "--out", noise / "m.onnx")
    assert (code, said) == (1, "")
    assert f"{small}: expected sides of at least 38 pixels, found 64x6" in error
