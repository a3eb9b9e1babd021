"""What is special to PSFusion; what holds for every method is in test_contract.py, the numbers in test_parity.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from decofuse.errors import UserError
from decofuse.losses.segmentation import pixel_losses
from decofuse.models.psfusion import PHASES, UPSTREAM, PSFusion, fusion_terms, joint_terms
from decofuse.models.psfusion_blocks import _attend
from decofuse.models.registry.psfusion import PSFusionJoint, PSFusionNetwork
from decofuse.parity import compare
from decofuse.parity import psfusion as form
from decofuse.parity.golden import Golden

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
SMALL = {"channels": 8, "blocks": (1, 1, 1, 1)}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return PSFusion(**SMALL)


def pair(n, h, w):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 3, h, w, generator=generator), torch.rand(n, 1, h, w, generator=generator)


def batch(n=2, side=32):
    visible, infrared = pair(n, side, side)
    label = torch.randint(0, 9, (n, side, side), generator=torch.Generator().manual_seed(2))
    return {
        "visible": visible,
        "infrared": infrared,
        "label": label,
        "binary": (label > 0).long(),
        "boundary": (label > 4).long(),
        "mask": (label < 4).float()[:, None],
    }


def test_published_size():
    """The specification's counts; 9,474 parameters that upstream stores and never uses have no place here."""
    with torch.device("meta"):
        counts = {name: sum(p.numel() for p in part.parameters()) for name, part in PSFusion().named_children()}
    resnet = 128 + 221_952 + 1_116_416 + 6_822_400 + 13_114_368
    assert counts == {
        "visible_encoder": 71_200 + resnet,
        "infrared_encoder": 68_064 + resnet,
        "fusion": 966_946 + 663_842 + 512_290 + 243_584 + 79_808 + 61_376,
        "semantic": 147_712 + 221_952,
        "segmentation": 29_775 - 9_474,
        "restoration": 37_024 + 27_808 + 37_024 + 2 * 92_672,
        "fused_head": 289,
        "visible_head": 2_137,
        "infrared_head": 2_137,
    }
    assert sum(counts.values()) == 45_908_840 - 9_474


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": 12}, "channels must be a multiple of 8, found 12"),
        ({"channels": 0}, "channels must be a multiple of 8, found 0"),
        ({"blocks": (1, 1, 1)}, "blocks must be four numbers"),
        ({"blocks": (1, 0, 1, 1)}, "blocks must be four numbers"),
        ({"classes": 1}, "classes must be 2 to 255, found 1"),
        ({"sizes": "crop"}, "sizes must be resize or pad, found crop"),
    ],
)
def test_impossible_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        PSFusion(**{**SMALL, **wrong})


@pytest.mark.parametrize("settings", [{"channels": 12}, {"blocks": (3, 4, 6, 0)}, {"classes": 256}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        PSFusionNetwork(**settings)


@pytest.mark.parametrize("sizes", ["resize", "pad"])
@pytest.mark.parametrize(("height", "width"), [(32, 33), (61, 96), (95, 40)])
def test_any_size_is_fused_and_segmented(sizes, height, width):
    network = PSFusion(**SMALL, sizes=sizes).eval()
    with torch.no_grad():
        fused, logits = network.fuse(*pair(1, height, width)), network.segment(*pair(1, height, width))
    assert fused.shape == (1, 1, height, width)
    assert logits.shape == (1, 9, height, width)
    assert 0 <= fused.min() <= fused.max() <= 1


def test_multiples_of_32_are_left_as_they_are(network):
    images = pair(1, 64, 96)
    network.eval()
    with torch.no_grad():
        out = network(*images)
        for network.sizes in ("resize", "pad"):
            assert torch.equal(network.fuse(*images), out.fused)
            assert torch.equal(network.segment(*images), out.semantic)


def test_padding_reflects_and_crops(network):
    visible, infrared = pair(1, 61, 96)
    network.eval()
    network.sizes = "pad"
    with torch.no_grad():
        padded = network(*(F.pad(image, (0, 0, 0, 3), mode="reflect") for image in (visible, infrared)))
        assert torch.equal(network.fuse(visible, infrared), padded.fused[:, :, :61])


def test_fused_attention_is_the_published_formula():
    """Softmax over the positions of the query, with the key in the query's place and no scale; PSFusion's GEFM."""
    generator = torch.Generator().manual_seed(0)
    key, query, value = (torch.randn(2, 8, 4, 6, generator=generator, dtype=torch.float64) for _ in range(3))
    weights = torch.einsum("nci,ncj->nij", key.flatten(2), query.flatten(2)).softmax(dim=2)
    expected = torch.einsum("nij,ncj->nci", weights, value.flatten(2)).reshape(value.shape)
    torch.testing.assert_close(_attend(key, query, value), expected)


def test_every_weight_learns_once_attention_counts(network):
    """At first the scales of attention are 0, so that what is behind them learns nothing in the first step.

    A bias before a batch norm changes nothing and need not learn.
    """
    for level in network.fusion.levels[3:]:
        assert level.attention.visible_scale.item() == level.attention.infrared_scale.item() == 0
        level.attention.visible_scale.data.fill_(0.5)
        level.attention.infrared_scale.data.fill_(0.5)
    weights = PSFusionJoint().weights.model_dump()
    terms = joint_terms(network.train(), batch(side=64), hard_pixels=None)
    assert terms.keys() == weights.keys()
    sum(weights[name] * term for name, term in terms.items()).backward()
    weights = {name: p.grad for name, p in network.named_parameters() if not name.endswith(".bias")}
    assert [name for name, gradient in weights.items() if gradient is None or not gradient.any()] == []
    assert set(PHASES["joint"].trains) == {name for name, _ in network.named_children()}


def test_a_batch_of_one_is_too_small_to_train(network):
    assert PHASES["joint"].smallest_batch == 2
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        joint_terms(network.train(), batch(n=1), hard_pixels=None)


def test_the_mask_chooses_the_source_of_intensity():
    """In the whole image under the mask, the loss vanishes for the source that it names and for no other."""
    visible, infrared = (image[:, :1] for image in pair(2, 32, 32))
    mask = torch.ones(2, 1, 32, 32)
    for name, source in {"visible": visible, "infrared": infrared}.items():
        terms = {
            kind: fusion_terms(visible, infrared, source, mask, intensity_mask=kind) for kind in ("visible", "infrared")
        }
        assert terms[name]["intensity"] == 0
        assert all(kind == name or term["intensity"] > 0.01 for kind, term in terms.items())


def test_the_floor_takes_the_pole_out_of_the_correlation_term():
    """The negative of both sources has a negative correlation: upstream's term is negative there, and falls to −∞."""
    image = pair(2, 32, 32)[1]
    fused = 1 - image
    mask = torch.zeros(2, 1, 32, 32)
    faithful = fusion_terms(image, image, fused, mask)["correlation"]
    corrected = fusion_terms(image, image, fused, mask, correlation_floor=0.25)["correlation"]
    assert faithful.item() == pytest.approx(-0.5, abs=1e-3)
    assert corrected.item() == pytest.approx(4, abs=1e-3)
    same = [fusion_terms(image, image, image, mask, correlation_floor=f)["correlation"] for f in (None, 0.25)]
    assert torch.equal(*same)


def test_options_change_their_own_terms_only(network):
    network.eval()
    data = batch()
    data["label"][0, :8] = 255
    terms = joint_terms(network, data, hard_pixels=100)
    for options, changed in [
        ({"hard_pixels": 2000}, {"semantic"}),  # more than are hard, so that ignored ones count
        ({"hard_pixels": 100, "hard_threshold": 1e-9}, {"semantic"}),
        ({"hard_pixels": 100, "binary_weights": (1.0, 1.0)}, {"binary"}),
        ({"hard_pixels": 100, "intensity_mask": "infrared"}, {"intensity"}),
        ({"hard_pixels": 100, "correlation_floor": 2.0}, {"correlation"}),
    ]:
        other = joint_terms(network, data, **options)
        assert {name for name in terms if not torch.equal(terms[name], other[name])} == changed


def test_a_foreign_label_is_refused(network):
    data = batch()
    data["label"][1, 3, 4] = 9
    with pytest.raises(UserError, match=r"expected labels 0-8 or 255 \(ignored\), found 9; set network.classes"):
        joint_terms(network.eval(), data)


def test_ignored_pixels_count_with_the_constant_only(network):
    """With `hard_pixels` 100 the zeros of ignored pixels dilute the mean; with None they are left out."""
    network.eval()
    data = batch()
    data["label"][:] = 255
    data["label"][0, 0, :8] = 3
    logits = network(data["visible"], data["infrared"]).semantic
    labelled = pixel_losses(logits, data["label"])[0, 0, :8]
    constant, share = (joint_terms(network, data, hard_pixels=n)["semantic"] for n in (100, None))
    torch.testing.assert_close(constant, labelled.sum() / 100)
    torch.testing.assert_close(share, labelled.mean())


@pytest.mark.parametrize(
    ("settings", "fits"),
    [
        ({}, True),
        ({"batch_size": 2}, True),
        ({"data": {"size": 128}}, False),
        ({"data": {"size": 128}, "hard_pixels": 65535}, True),
        ({"data": {"size": 64}, "hard_pixels": None}, True),
    ],
)
def test_more_hard_pixels_than_a_batch_has_are_refused(settings, fits):
    if fits:
        PSFusionJoint.model_validate(settings)
    else:
        with pytest.raises(ValidationError, match="must be less than the 65536 pixels of a batch"):
            PSFusionJoint.model_validate(settings)


@pytest.fixture(scope="module")
def small_vector(tmp_path_factory):
    """A vector of a narrower network, another batch and another size, its values from this project in float64."""
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden vectors at {GOLDEN}")
    folder = tmp_path_factory.mktemp("small")
    with torch.device("meta"):
        ours = {name: list(tensor.shape) for name, tensor in PSFusion(**SMALL, classes=5).state_dict().items()}
    theirs = json.loads((GOLDEN / "psfusion.json").read_text())[""]
    names = {name: UPSTREAM.translate("", name) for name in theirs}
    manifest = {name: theirs[name] if new is None else ours[new] for name, new in names.items() if new in {None, *ours}}
    (folder / "small.json").write_text(json.dumps({"": manifest}))
    with np.load(GOLDEN / "psfusion.npz") as known:
        arrays = {key: known[key] for key in form.INPUTS}
    generator = np.random.default_rng(0)
    for prefix, n in (("", 1), ("train_", 3)):
        arrays[f"{prefix}vi"] = generator.random((n, 3, 64, 32), dtype=np.float32)
        arrays[f"{prefix}ir"] = generator.random((n, 1, 64, 32), dtype=np.float32)
    arrays["train_mask"] = generator.integers(0, 2, (3, 1, 64, 32)).astype(np.float32)
    arrays["train_label"] = generator.integers(0, 5, (3, 1, 64, 32), dtype=np.uint8)
    for key in ("train_bi", "train_bd"):
        arrays[key] = generator.integers(0, 2, (3, 1, 64, 32), dtype=np.uint8)
    np.savez(folder / "small.npz", **arrays)
    found = form.probe(Golden.read(folder / "small.npz", folder / "small.json"), torch.float64)
    np.savez(folder / "small.npz", **arrays, **found)
    return folder / "small.npz", folder / "small.json", {**arrays, **found}


def test_a_vector_of_another_size_is_within_tolerance(small_vector):
    vector, manifest, _ = small_vector
    rows = compare("psfusion", vector, manifest, [torch.float64])
    assert [row for row in rows if not row.ok] == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train_label", np.full((3, 1, 64, 32), 7, np.uint8), "expected labels 0-4"),
        ("train_bi", np.full((3, 1, 64, 32), 2, np.uint8), "expected 0 and 1 in train_bi"),
        ("ir", np.zeros((1, 1, 64, 64), np.float32), "of one size, multiples of 32"),
        ("probe_names", np.array(["high_fuse9"]), "expected names of PSFusion's modules, found high_fuse9"),
        ("train_ohem_n_min", np.array(0), "a positive train_ohem_n_min"),
        ("optim_it0_maxiter", np.array([0, 2]), "expected steps of a schedule"),
        ("fn_lr_it", np.array([-1]), "expected fn_lr_it from 0"),
        ("fn_ohem_labels", np.full((1, 12, 16), 9, np.uint8), "expected fn_ohem_labels of the shape and the classes"),
        ("fn_metric_pred", np.full((2, 1, 20, 20), 9, np.uint8), "expected fn_metric_pred below 9"),
        ("fn_mask", np.zeros((2, 1, 24, 41), np.float32), "of one shape"),
    ],
)
def test_forged_vectors_are_refused(small_vector, tmp_path, key, value, message):
    _, manifest, arrays = small_vector
    np.savez(tmp_path / "forged.npz", **{**arrays, key: value})
    with pytest.raises(UserError, match=message):
        compare("psfusion", tmp_path / "forged.npz", manifest, [torch.float32])
