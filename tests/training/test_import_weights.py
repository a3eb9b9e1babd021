"""Published checkpoints, whole or wrong, hostile or damaged, and what becomes of them."""

import argparse
import io
import json
import os
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import decofuse.cli.tools  # noqa: F401 - registers the command
from decofuse.cli.app import app
from decofuse.errors import UserError
from decofuse.fusing.network import load_network
from decofuse.models import cddfuse, fsidfusion
from decofuse.models.method import Upstream
from decofuse.parity.golden import fill
from decofuse.training.checkpoint import Provenance, load_weights
from decofuse.training.import_weights import import_weights

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
SMALL = {"channels": 16, "heads": 4, "blocks": 1, "detail_nodes": 1}
METHODS = {"cddfuse": (cddfuse.CDDFuse, cddfuse.UPSTREAM), "fsidfusion": (fsidfusion.FSIDFusion, fsidfusion.UPSTREAM)}
BASE = {
    "attention.temperature": "attn.scale",
    "attention.expand": "attn.qkv1",
    "attention.local": "attn.qkv2",
    "attention.project": "attn.proj",
    "feed_forward.expand": "mlp.project_in",
    "feed_forward.local": "mlp.dwconv",
    "feed_forward.project": "mlp.project_out",
}
RESTORMER = {
    "attention.temperature": "attn.temperature",
    "attention.expand": "attn.qkv",
    "attention.local": "attn.qkv_dwconv",
    "attention.project": "attn.project_out",
    "feed_forward.expand": "ffn.project_in",
    "feed_forward.local": "ffn.dwconv",
    "feed_forward.project": "ffn.project_out",
}
WHOLE = {
    "embed": "patch_embed.proj",
    "reduce": "reduce_channel",
    "base": "baseFeature",
    "base_visible": "baseFeature_vis",
    "base_infrared": "baseFeature_ir",
    "interaction": "duelFuse",
    "infrared_before": "Trans1",
    "visible_before": "Trans2",
    "infrared_after": "Trans3",
    "visible_after": "Trans4",
    "join": "AFF",
    "local_weight": "local_att",
    "global_weight": "global_att",
}


def theirs(method, name):
    """Part and name that the authors give to one of our tensors."""
    upstream = METHODS[method][1]
    child, _, rest = name.partition(".")
    part = next(part for part, ours in upstream.parts.items() if ours == child)
    blocks = "encoder_level1" if child == "encoder" else "encoder_level2"
    table = RESTORMER if rest.startswith("blocks.") else BASE
    for new, old in table.items():
        rest = rest.replace(new, old)
    rest = re.sub(r"\b(norm\d)\.", r"\1.body.", rest)
    rest = re.sub(
        r"\b(phi|rho|eta)\.(expand|local|project)",
        lambda found: f"theta_{found[1]}.bottleneckBlock.{ {'expand': 0, 'local': 3, 'project': 5}[found[2]] }",
        rest,
    )
    rest = re.sub(r"\bmix\b", "shffleconv", rest)
    rest = re.sub(r"\bdetail(_visible|_infrared)?\.", lambda found: f"detailFeature{_short(found[1])}.net.", rest)
    if child in ("detail_fusion", "specific_fusion"):
        rest = f"net.{rest}"
    rest = rest.replace("blocks.", f"{blocks}.")
    return part, ".".join(WHOLE.get(segment, segment) for segment in rest.split("."))


def _short(role):
    return {"_visible": "_vis", "_infrared": "_ir"}.get(role, "")


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture
def network(method):
    torch.manual_seed(0)
    network = METHODS[method][0](**SMALL)
    for name, buffer in network.named_buffers():  # no zeros and ones, which a fresh network would have too
        buffer.copy_(torch.tensor(7) if name.endswith("tracked") else torch.rand_like(buffer) + 0.5)
    return network


@pytest.fixture
def checkpoint(method, network):
    """The network as its authors would have saved it."""
    parts = {part: {} for part in METHODS[method][1].parts}
    for name, value in network.state_dict().items():
        part, old = theirs(method, name)
        parts[part][f"module.{old}"] = value.clone()
    if method == "fsidfusion":
        parts["DIDF_Encoder"]["module.duelFuse.shffleconv.weight"] = torch.zeros(32, 32, 1, 1)
    return parts


def bring_in(method, stored, tmp_path, **changes):
    path = tmp_path / "published.pth"
    torch.save(stored, path)
    return run(method, path, tmp_path / "out", **changes)


def run(method, path, out, **changes):
    build, upstream = METHODS[method]
    given = {"method": method, "phase": "fusion", "build": build, "network": SMALL, "upstream": upstream, **changes}
    return import_weights(path, out, **given)


def assert_same_network(path, method, network):
    tensors, about = load_weights(path, method, "fusion")
    assert about == Provenance(method, "fusion", SMALL, {})
    own = network.state_dict()
    assert tensors.keys() == own.keys()
    assert all(torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype for name, value in own.items())


def refused(message, tmp_path, call, *args, **kwargs):
    """The call ends with one line that fits `message`, and nothing is left behind."""
    with pytest.raises(UserError, match=message) as caught:
        call(*args, **kwargs)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700
    assert not (tmp_path / "out").exists()


def test_every_tensor_arrives_buffers_and_counters_too(method, network, checkpoint, tmp_path):
    path = bring_in(method, checkpoint, tmp_path)
    assert path == tmp_path / "out" / "weights.safetensors"
    assert_same_network(path, method, network)


def test_the_imported_network_fuses_as_the_original(method, network, checkpoint, tmp_path):
    bring_in(method, checkpoint, tmp_path)
    sources = torch.rand(2, 1, 1, 12, 17)
    again = load_network(METHODS[method][0], method, ["fusion"], tmp_path / "out").eval()
    with torch.no_grad():
        assert torch.equal(again.fuse(*sources), network.eval().fuse(*sources))


def test_other_entries_beside_the_parts_are_ignored(method, network, checkpoint, tmp_path):
    beside = {
        "epoch": 119,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []},
        "best": np.float64(0.5),
        "args": argparse.Namespace(lr=1e-4),
    }
    assert_same_network(bring_in(method, {**beside, **checkpoint}, tmp_path), method, network)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_nested_and_bare_names(method, network, checkpoint, wrapper, tmp_path):
    bare = {
        part: {name.removeprefix("module."): value for name, value in names.items()}
        for part, names in checkpoint.items()
    }
    assert_same_network(bring_in(method, {wrapper: bare, "epoch": 3}, tmp_path), method, network)


def test_the_old_format_and_other_precisions(method, network, checkpoint, tmp_path):
    path = tmp_path / "published.pth"
    double = {
        part: {name: value.double() if value.is_floating_point() else value for name, value in names.items()}
        for part, names in checkpoint.items()
    }
    torch.save(double, path, _use_new_zipfile_serialization=False)
    assert_same_network(run(method, path, tmp_path / "out"), method, network)


def test_one_flat_safetensors_file(method, network, checkpoint, tmp_path):
    path = tmp_path / "published.safetensors"
    save_file({f"{part}.{name}": value for part, names in checkpoint.items() for name, value in names.items()}, path)
    assert_same_network(run(method, path, tmp_path / "out"), method, network)


def _first(checkpoint, ending):
    return next(name for name in checkpoint["DIDF_Encoder"] if name.endswith(ending))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: parts["DIDF_Decoder"].pop("module.output.2.weight"), "decoder.output.2.weight is missing"),
        (
            lambda parts: parts["DIDF_Decoder"].update({"module.other\n.weight": torch.zeros(2)}),
            r"DIDF_Decoder.module.other\?.weight is not known",
        ),
        (
            lambda parts: parts["DIDF_Decoder"].update({"module.output.2.weight": torch.zeros(1, 8, 5, 5)}),
            r"DIDF_Decoder.module.output.2.weight has shape \(1, 8, 5, 5\), expected \(1, 8, 3, 3\)",
        ),
        (
            lambda parts: parts["DIDF_Decoder"]["module.output.2.weight"].view(-1)[3].fill_(np.nan),
            "DIDF_Decoder.module.output.2.weight holds values that are not finite",
        ),
        (
            lambda parts: parts["DIDF_Decoder"].update(
                {"module.output.2.weight": torch.full((1, 8, 3, 3), 1e300, dtype=torch.float64)}
            ),
            "DIDF_Decoder.module.output.2.weight holds values that are not finite",
        ),
        (
            lambda parts: parts["DIDF_Decoder"].update(
                {"module.output.2.weight": torch.zeros(1, 8, 3, 3, dtype=torch.int64)}
            ),
            "DIDF_Decoder.module.output.2.weight holds torch.int64, expected torch.float32",
        ),
        (
            lambda parts: parts["DIDF_Decoder"].update({"module.output.2.weight": torch.zeros(1, 8, 3, 3).to_sparse()}),
            "decoder.output.2.weight is missing",
        ),
        (
            lambda parts: parts["DIDF_Decoder"].clear(),
            r"expected the parts DIDF_Encoder, .* found nothing for DIDF_Decoder among its entries \(DIDF_Encoder",
        ),
        (lambda parts: parts.pop("DIDF_Encoder"), "found nothing for DIDF_Encoder among its entries"),
        (lambda parts: [names.clear() for names in parts.values()], "found nothing for DIDF_Encoder, DIDF_Decoder"),
        (
            lambda parts: parts["DIDF_Encoder"].update(
                {_first(parts, "norm1.body.bias").removeprefix("module."): torch.ones(16)}
            ),
            "expected DIDF_Encoder.module.*norm1.body.bias and DIDF_Encoder.*norm1.body.bias to be equal",
        ),
    ],
)
def test_what_does_not_fit_is_named(method, checkpoint, change, message, tmp_path):
    change(checkpoint)
    refused(message, tmp_path, bring_in, method, checkpoint, tmp_path)


def test_many_misfits_are_counted(method, checkpoint, tmp_path):
    names = len(checkpoint["DIDF_Decoder"])
    checkpoint["DIDF_Decoder"] = {f"x{name}": value for name, value in checkpoint["DIDF_Decoder"].items()}
    refused(rf"DIDF_Decoder.xmodule.* \(and {2 * names - 3} more\)", tmp_path, bring_in, method, checkpoint, tmp_path)


def test_another_size_of_network_is_refused(method, checkpoint, tmp_path):
    other = {**SMALL, "channels": 32}
    refused(r"has shape .*, expected .* more\)", tmp_path, bring_in, method, checkpoint, tmp_path, network=other)
    impossible = {**SMALL, "channels": 15}
    refused("channels must be even", tmp_path, bring_in, method, checkpoint, tmp_path, network=impossible)


def test_a_file_that_did_not_fit_leaves_older_weights_alone(method, checkpoint, tmp_path):
    before = bring_in(method, checkpoint, tmp_path).read_bytes()
    checkpoint["DIDF_Decoder"].popitem()
    with pytest.raises(UserError, match="is missing"):
        bring_in(method, checkpoint, tmp_path)
    assert (tmp_path / "out" / "weights.safetensors").read_bytes() == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["weights.safetensors"]


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("form", ["archive", "legacy", "pickle"])
def test_a_file_that_would_run_code_is_refused(form, tmp_path):
    path, trace = tmp_path / "published.pth", tmp_path / "attacked"
    stored = {"DIDF_Encoder": {"patch_embed.proj.weight": torch.zeros(2)}, "epoch": Attack(trace)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(stored))
    else:
        torch.save(stored, path, _use_new_zipfile_serialization=form == "archive")
    message = "damaged or foreign" if form == "pickle" else r"a file that asks for \w+\.mkdir; nothing was run"
    refused(message, tmp_path, run, "cddfuse", path, tmp_path / "out")
    assert not trace.exists()


def test_a_pickled_network_is_refused(network, method, tmp_path):
    refused("asks for decofuse.models", tmp_path, bring_in, method, network, tmp_path)


def _archive(change):
    file = io.BytesIO()
    torch.save({"weight": torch.arange(1000.0)}, file)
    return change(file.getvalue())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged or foreign"),
        (b"no checkpoint at all", "damaged or foreign"),
        (_archive(lambda content: content[:3000]), "damaged or foreign"),
        (_archive(lambda content: content.replace(np.float32([500, 501]).tobytes(), bytes(8))), "damaged or foreign"),
        (_archive(lambda content: content), r"found nothing for DIDF_Encoder, .* among its entries \(weight\)"),
    ],
    ids=["empty", "foreign", "cut off", "bits changed", "another network"],
)
def test_files_that_are_no_checkpoint_of_the_method(content, message, tmp_path):
    path = tmp_path / "published.pth"
    path.write_bytes(content)
    refused(message, tmp_path, run, "cddfuse", path, tmp_path / "out")


def test_other_files(tmp_path):
    path = tmp_path / "published.safetensors"
    refused("found no such file", tmp_path, run, "cddfuse", path, tmp_path / "out")
    refused("found no such file", tmp_path, run, "cddfuse", tmp_path, tmp_path / "out")
    path.write_bytes(b"no tensors here")
    refused("damaged or foreign", tmp_path, run, "cddfuse", path, tmp_path / "out")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    refused("expected a state dict, found list", tmp_path, run, "cddfuse", tmp_path / "list.pth", tmp_path / "out")


def test_an_archive_packed_anew_is_read(method, network, checkpoint, tmp_path):
    file = io.BytesIO()
    torch.save(checkpoint, file)
    path = tmp_path / "published.pth"
    with zipfile.ZipFile(file) as stored, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for member in stored.infolist():
            packed.writestr(member.filename, stored.read(member))
    assert_same_network(run(method, path, tmp_path / "out"), method, network)


class Flat(torch.nn.Module):
    """Stands for a method that is published as one state dict with second names for some tensors."""

    UPSTREAM = Upstream(
        parts={"": "", "MTAN": ""}, names={"upper": "shared", "lower": "shared"}, unused=("table", "loss.*")
    )

    def __init__(self):
        super().__init__()
        self.shared = torch.nn.Linear(2, 3)


@pytest.mark.parametrize(
    "place",
    [lambda state: state, *(lambda state, key=key: {key: state, "ep": 3} for key in ("state_dict", "model", "MTAN"))],
)
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
def test_one_state_dict_with_second_names_and_unused_tensors(place, prefix, tmp_path):
    network = Flat()
    state = {
        f"{prefix}{name}.{leaf}": value
        for leaf, value in network.shared.state_dict().items()
        for name in ("upper", "lower")
    }
    state |= {f"{prefix}table": torch.zeros(9), "loss.sobel.weight": torch.zeros(1), "iterations": 12}
    given = {"build": Flat, "network": {}, "upstream": Flat.UPSTREAM}
    tensors, _ = load_weights(bring_in("cddfuse", place(state), tmp_path, **given), "cddfuse", "fusion")
    assert tensors.keys() == {"shared.weight", "shared.bias"}
    assert all(torch.equal(tensors[f"shared.{leaf}"], value) for leaf, value in network.shared.state_dict().items())


def test_second_names_must_agree(tmp_path):
    state = {"upper.weight": torch.zeros(3, 2), "upper.bias": torch.zeros(3), "lower.bias": torch.ones(3)}
    given = {"build": Flat, "network": {}, "upstream": Flat.UPSTREAM}
    refused("expected upper.bias and lower.bias to be equal", tmp_path, bring_in, "cddfuse", state, tmp_path, **given)
    refused(
        r"expected a state dict \(or one under state_dict or model\), found no tensors among its entries \(a\)",
        tmp_path,
        bring_in,
        "cddfuse",
        {"a": 3},
        tmp_path,
        **given,
    )


def command(*words):
    return CliRunner().invoke(app, ["import-weights", *map(str, words)])


def test_the_command(tmp_path):
    torch.manual_seed(0)
    network = cddfuse.CDDFuse(**SMALL)
    parts = {part: {} for part in cddfuse.UPSTREAM.parts}
    for name, value in network.state_dict().items():
        part, old = theirs("cddfuse", name)
        parts[part][old] = value
    torch.save(parts, tmp_path / "published.pth")
    words = ["--method", "cddfuse", tmp_path / "published.pth", "--out", tmp_path / "out"]
    done = command(*words, "--network", json.dumps(SMALL))
    assert done.exit_code == 0, done.exception
    assert done.output.split() == [str(tmp_path / "out" / "weights.safetensors")]
    tensors, about = load_weights(tmp_path / "out" / "weights.safetensors", "cddfuse", "fusion")
    assert about.network == {**SMALL, "skip": "visible"}
    assert torch.equal(tensors["encoder.embed.weight"], network.encoder.embed.weight)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "average"], r"import-weights: expected a method with training \(cddfuse.*\), found 'average'"),
        (["--method", "cddfuse", "--network", "{"], "--network: Invalid JSON"),
        (["--method", "cddfuse", "--network", "[]"], "--network: Input should be an object, found"),
        (["--method", "cddfuse", "--network", '{"width": 3}'], "--network.width: .* settings of cddfuse are channels"),
        (["--method", "cddfuse", "--network", '{"channels": "3"}'], "--network.channels: .*found '3'"),
        (["--method", "cddfuse", "--network", '{"channels": 18}'], "--network: channels 18 is not a multiple"),
    ],
)
def test_wrong_options_of_the_command(words, message, tmp_path):
    done = command(*words, tmp_path / "published.pth", "--out", tmp_path / "out")
    assert isinstance(done.exception, UserError)
    assert re.search(message, str(done.exception))
    assert str(done.exception).isprintable()


def test_published_names_with_the_golden_weights_fuse_as_published(method, tmp_path):
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden vectors at {GOLDEN}")
    parts = json.loads((GOLDEN / f"{method}.json").read_text())
    factors = parts.pop("scale")
    stored = {
        part: {
            f"module.{name}": torch.from_numpy(fill(f"{part}.{name}", tuple(shape)))
            * torch.tensor(factors.get(f"{part}.{name}", [1])[0])
            for name, shape in tensors.items()
        }
        for part, tensors in parts.items()
    }
    bring_in(method, stored, tmp_path, network={})
    network = load_network(METHODS[method][0], method, ["fusion"], tmp_path / "out").eval()
    with np.load(GOLDEN / f"{method}.npz") as arrays, torch.no_grad():
        fused = network.fuse(torch.from_numpy(arrays["vi"]), torch.from_numpy(arrays["ir"]))
        assert fused.numpy() == pytest.approx(arrays["fused"], abs=1e-5)
