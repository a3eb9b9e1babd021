"""Parity with the published code, and the command's own judgement on vectors that are right, wrong or forged."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from decofuse.errors import UserError
from decofuse.models.registry import METHODS
from decofuse.parity import FORMS, compare, run_parity
from decofuse.parity import cddfuse as form
from decofuse.parity.golden import Golden, fill
from decofuse.parity.probes import pipeline
from decofuse.parity.tolerance import absolute, of_largest, pixels, relative

GOLDEN = Path(__file__).parents[2] / "shared" / "golden"


def block(prefix, c, heads):
    return {
        f"{prefix}.norm1.body.weight": (c,),
        f"{prefix}.norm1.body.bias": (c,),
        f"{prefix}.attn.temperature": (heads, 1, 1),
        f"{prefix}.attn.qkv.weight": (3 * c, c, 1, 1),
        f"{prefix}.attn.qkv_dwconv.weight": (3 * c, 1, 3, 3),
        f"{prefix}.attn.project_out.weight": (c, c, 1, 1),
        f"{prefix}.norm2.body.weight": (c,),
        f"{prefix}.norm2.body.bias": (c,),
        f"{prefix}.ffn.project_in.weight": (4 * c, c, 1, 1),
        f"{prefix}.ffn.dwconv.weight": (4 * c, 1, 3, 3),
        f"{prefix}.ffn.project_out.weight": (c, 2 * c, 1, 1),
    }


def base(prefix, c, heads):
    return {
        f"{prefix}norm1.body.weight": (c,),
        f"{prefix}norm1.body.bias": (c,),
        f"{prefix}attn.scale": (heads, 1, 1),
        f"{prefix}attn.qkv1.weight": (3 * c, c, 1, 1),
        f"{prefix}attn.qkv2.weight": (3 * c, 3 * c, 3, 3),
        f"{prefix}attn.proj.weight": (c, c, 1, 1),
        f"{prefix}norm2.body.weight": (c,),
        f"{prefix}norm2.body.bias": (c,),
        f"{prefix}mlp.project_in.weight": (2 * c, c, 1, 1),
        f"{prefix}mlp.dwconv.weight": (2 * c, 2, 3, 3),
        f"{prefix}mlp.project_out.weight": (c, c, 1, 1),
    }


def node(prefix, c):
    transforms = {
        f"{prefix}.theta_{name}.bottleneckBlock.{index}.weight": shape
        for name in ("phi", "rho", "eta")
        for index, shape in ((0, (c, c // 2, 1, 1)), (3, (c, 1, 3, 3)), (5, (c // 2, c, 1, 1)))
    }
    return {**transforms, f"{prefix}.shffleconv.weight": (c, c, 1, 1), f"{prefix}.shffleconv.bias": (c,)}


def upstream_shapes(c, heads, blocks, nodes):
    """The published network's tensors at another size."""
    encoder, decoder = {"patch_embed.proj.weight": (c, 1, 3, 3)}, {"reduce_channel.weight": (c, 2 * c, 1, 1)}
    for i in range(blocks):
        encoder |= block(f"encoder_level1.{i}", c, heads)
        decoder |= block(f"encoder_level2.{i}", c, heads)
    encoder |= base("baseFeature.", c, heads)
    for i in range(nodes):
        encoder |= node(f"detailFeature.net.{i}", c)
    decoder |= {"output.0.weight": (c // 2, c, 3, 3), "output.2.weight": (1, c // 2, 3, 3)}
    fusion = {"BaseFuseLayer": base("", c, heads), "DetailFuseLayer": node("net.0", c)}
    factors = {
        f"{part}.{name}": [0.25]
        for part, names in {"DIDF_Encoder": encoder, **fusion}.items()
        for name in names
        if name.endswith("theta_rho.bottleneckBlock.5.weight")
    }
    return {"DIDF_Encoder": encoder, "DIDF_Decoder": decoder, **fusion, "scale": factors}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A vector of another network and image size, its expected values from this project in float64."""
    folder = tmp_path_factory.mktemp("small")
    generator = np.random.default_rng(3)
    inputs = {
        "vi": generator.random((3, 1, 26, 35), dtype=np.float32),
        "ir": generator.random((3, 1, 26, 35), dtype=np.float32),
        "prep.rgb": generator.integers(0, 256, (33, 45, 3), dtype=np.uint8),
        "read.bgr": generator.integers(0, 256, (7, 9, 3), dtype=np.uint8),
        "eval.fi": generator.integers(0, 256, (50, 53), dtype=np.uint8),
        "eval.ir": generator.integers(0, 256, (50, 53), dtype=np.uint8),
        "eval.vi": generator.integers(0, 256, (50, 53), dtype=np.uint8),
    }
    vector, manifest = folder / "small.npz", folder / "small.json"
    manifest.write_text(json.dumps(upstream_shapes(16, 4, 2, 2)))
    for _ in range(2):  # the luma is an output and an input
        np.savez(vector, **inputs)
        inputs |= pipeline(Golden.read(vector, manifest))
    np.savez(vector, **inputs)
    np.savez(vector, **inputs, **form.probe(Golden.read(vector, manifest), torch.float64))
    return vector, manifest


def changed(small, tmp_path, **arrays):
    """The small vector with some keys replaced or added."""
    with np.load(small[0]) as known:
        np.savez(tmp_path / "changed.npz", **{**known, **arrays})
    return tmp_path / "changed.npz", small[1]


@pytest.fixture(scope="module")
def published():
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden vectors at {GOLDEN}")
    return compare("cddfuse", GOLDEN / "cddfuse.npz", GOLDEN / "cddfuse.json")


def test_every_key_of_the_published_vector_is_within_tolerance(published):
    with np.load(GOLDEN / "cddfuse.npz") as arrays:
        assert [(row.dtype, row.name) for row in published] == [
            (dtype, key) for dtype in ("float32", "float64") for key in arrays.files
        ]
    assert [row for row in published if not row.ok] == []
    assert sum(row.tolerance == "input" for row in published) == 2 * 7


@pytest.mark.parametrize("method", [name for name in FORMS if name != "cddfuse"])
def test_every_method_agrees_with_its_published_code(method):
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden vectors at {GOLDEN}")
    # In float64, which pins the formulas; the command compares in float32 too, which takes as long again.
    rows = compare(method, GOLDEN / f"{method}.npz", GOLDEN / f"{method}.json", [torch.float64])
    with np.load(GOLDEN / f"{method}.npz") as arrays:
        assert [row.name for row in rows] == arrays.files
    assert [row for row in rows if not row.ok] == []


def test_every_trained_method_has_golden_vectors():
    assert set(FORMS) == {name for name, method in METHODS.items() if method.phases}


def test_float64_agrees_far_closer_than_asked_for(published):
    """The float32 window of the old SSIM is the published one, so even its terms agree."""
    network = ("feat.", "fused", "recon.", "post.minmax", "p1.", "p2.")
    errors = {row.name: row.max_error for row in published if row.dtype == "float64" and row.name.startswith(network)}
    assert max(errors.values()) < 1e-12


def test_another_size_is_within_tolerance(small, capsys):
    assert run_parity("cddfuse", *small)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"cddfuse: {len(lines) - 1} of {len(lines) - 1} rows within tolerance"
    assert any(line.split()[:3] == ["ok", "float64", "p1.gradnorms.DIDF_Encoder"] for line in lines)


def test_a_wrong_value_fails_its_row_and_no_other(small, tmp_path, capsys):
    with np.load(small[0]) as known:
        fused = known["fused"].copy()
        norms = known["p1.gradnorms.BaseFuseLayer"].copy()
    fused[1, 0, 3, 4] += 1e-4
    norms[2] = 0  # a gradient where there must be none
    files = changed(small, tmp_path, fused=fused, **{"p1.gradnorms.BaseFuseLayer": norms, "feat.vi_base": fused})
    rows = compare("cddfuse", *files, [torch.float32])
    failed = {row.name: row for row in rows if not row.ok}
    assert failed.keys() == {"fused", "p1.gradnorms.BaseFuseLayer", "feat.vi_base"}
    assert failed["fused"].max_error == pytest.approx(1e-4, rel=0.1)
    assert failed["p1.gradnorms.BaseFuseLayer"].max_error == np.inf
    assert failed["feat.vi_base"].tolerance.startswith("expected float64 (3, 1, 26, 35), found float32 (3, 2, 7, 9)")
    assert not run_parity("cddfuse", *files, [torch.float32])
    assert "FAIL  float32  fused" in capsys.readouterr().out


def test_an_unknown_key_fails(small, tmp_path):
    rows = compare("cddfuse", *changed(small, tmp_path, **{"feat.vi_other": np.zeros(3), "p3": 1.0}), [torch.float32])
    assert {row.name: row.tolerance for row in rows if not row.ok} == {
        "feat.vi_other": "unknown key",
        "p3": "unknown key",
    }


@pytest.mark.parametrize(
    ("name", "shape", "mean", "deviation"),
    [
        ("a.weight", (40, 10, 3, 3), 0, 1 / 90**0.5),
        ("a.weight", (4000,), 1, 0.1),
        ("a.temperature", (4000, 1, 1), 1, 0.1),
        ("a.gamma_1", (4000,), 1, 0.1),
        ("a.bias", (4000,), 0, 0.1),
        ("a.running_mean", (4000,), 0, 0.1),
        ("a.running_var", (4000,), 1 + 0.1 * (2 / np.pi) ** 0.5, 0.1 * (1 - 2 / np.pi) ** 0.5),
    ],
)
def test_fill(name, shape, mean, deviation):
    values = fill(name, shape)
    assert values.dtype == np.float32
    assert values.shape == shape
    assert values.mean() == pytest.approx(mean, abs=4 * deviation / values.size**0.5)
    assert values.std() == pytest.approx(deviation, rel=0.05)
    assert np.array_equal(values, fill(name, shape))
    assert not np.array_equal(values, fill(f"b.{name}", shape))


def test_fill_of_a_counter():
    assert fill("bn.num_batches_tracked", ()).dtype == np.int64


def test_tolerances():
    nan = np.nan
    expected = np.array([1.0, 10.0, nan])
    assert absolute(1).error(np.array([1.5, 10.0, nan]), expected) == 0.5
    assert relative(1).error(np.array([1.5, 10.0, nan]), expected) == 0.5
    assert of_largest(1).error(np.array([1.5, 10.0, nan]), expected) == 0.05
    assert absolute(1).error(np.array([1.0, 10.0, 3.0]), expected) == np.inf
    assert pixels(1).error(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 5.0])) == 0.25
    assert pixels(1).error(np.array([1.0, 2.0]), np.array([1.0, 4.0])) == np.inf
    zero = np.zeros(1)
    assert relative(1).error(zero, zero) == 0
    assert relative(1).error(zero + 1, zero) == np.inf
    assert of_largest(1).error(np.full(2, nan), np.full(2, nan)) == 0


def test_unknown_methods_are_refused(small):
    with pytest.raises(UserError, match=r"expected a method with golden vectors \(cddfuse.*\), found average"):
        compare("average", *small)


def test_missing_files(small, tmp_path):
    with pytest.raises(UserError, match=r"other.npz: expected a golden vector .*no such file"):
        compare("cddfuse", tmp_path / "other.npz", small[1])
    with pytest.raises(UserError, match=r"other.json: expected a manifest .*no such file"):
        compare("cddfuse", small[0], tmp_path / "other.json")


def test_forged_vectors_are_refused(small, tmp_path):
    path = tmp_path / "forged.npz"
    np.savez(path, vi=np.array([{"code": "runs"}], dtype=object))
    with pytest.raises(UserError, match=r"forged.npz: expected a golden vector .*plain arrays"):
        compare("cddfuse", path, small[1])
    path.write_bytes(small[0].read_bytes()[:5000])
    with pytest.raises(UserError, match=r"forged.npz: expected a golden vector"):
        compare("cddfuse", path, small[1])
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("vi.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(1025):
            member.write(bytes(2**20))
    with pytest.raises(UserError, match=r"forged.npz: expected at most 1073741824 bytes unpacked"):
        compare("cddfuse", path, small[1])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"vi": np.zeros((2, 3, 8, 8), np.float32)},
            r"expected vi of any x 1 x any x any \(f\), found float32 \(2, 3, 8, 8\)",
        ),
        ({"ir": np.zeros((3, 1, 8, 8), np.float32)}, r"expected vi and ir of one size"),
        ({"prep.rgb": np.zeros(4)}, r"expected prep.rgb of any x any x 3 \(u\), found float64 \(4,\)"),
    ],
)
def test_inputs_of_another_form_are_refused(small, tmp_path, arrays, message):
    with pytest.raises(UserError, match=message):
        compare("cddfuse", *changed(small, tmp_path, **arrays), [torch.float32])


def test_a_vector_without_inputs_is_refused(small, tmp_path):
    np.savez(tmp_path / "empty.npz", fused=np.zeros(3))
    with pytest.raises(UserError, match=r"empty.npz: expected vi .*found nothing"):
        compare("cddfuse", tmp_path / "empty.npz", small[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: [], r"expected a manifest \{part"),
        (lambda parts: parts | {"DIDF_Encoder": {}}, r"expected CDDFuse's manifest"),
        (lambda parts: parts | {"Other": {"weight": [3]}}, r"Other.weight \[3\] is no tensor of this network"),
        (lambda parts: parts | {"BaseFuseLayer": {}}, r"expected also base_fusion"),
        (lambda parts: parts | {"BaseFuseLayer": {"norm1.body.weight": [-4]}}, r"positive whole numbers"),
        (lambda parts: parts | {"BaseFuseLayer": {"norm1.body.weight": ["4"]}}, r"positive whole numbers"),
        (lambda parts: parts | {"BaseFuseLayer": {"norm1.body.weight": [10**9]}}, r"at most 268435456 values"),
        (lambda parts: parts | {"scale": {"a": 2}}, r"expected a manifest \{part"),
    ],
)
def test_forged_manifests_are_refused(small, tmp_path, change, message):
    path = tmp_path / "forged.json"
    path.write_text(json.dumps(change(json.loads(small[1].read_text()))))
    with pytest.raises(UserError, match=rf"forged.json: .*{message}"):
        compare("cddfuse", small[0], path, [torch.float32])
