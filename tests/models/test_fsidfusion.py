"""What is special to FSIDFusion; what holds for every method is in test_contract.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from decofuse import parity
from decofuse.errors import UserError
from decofuse.models.fsidfusion import (
    PHASES,
    UPSTREAM,
    AttentionalFusion,
    FSIDFusion,
    fusion_terms,
    reconstruction_terms,
)
from decofuse.parity import fsidfusion as form
from decofuse.parity.golden import Golden

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
SMALL = {"channels": 16, "heads": 4, "blocks": 1, "detail_nodes": 1, "fusion_nodes": 2}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return FSIDFusion(**SMALL)


@pytest.fixture
def batch():
    return dict(zip(("visible", "infrared"), pair(2, 1, 16, 18), strict=True))


def pair(*shape):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(*shape, generator=generator), torch.rand(*shape, generator=generator)


def test_published_size():
    """The published one but for the 16,512 values that upstream stores and never uses."""
    counts = {
        name: sum(parameter.numel() for parameter in part.parameters()) for name, part in FSIDFusion().named_children()
    }
    assert counts == {"encoder": 2_542_424 - 16_512, "decoder": 207_936, "specific_fusion": 72_704}


@pytest.mark.parametrize(
    "wrong",
    [{"channels": 10}, {"channels": 9, "heads": 3}, {"fusion_nodes": 0}, {"interaction_heads": 3}, {"reduction": 5}],
)
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match="fsidfusion: channels"):
        FSIDFusion(**{**SMALL, **wrong})


def test_the_visible_image_is_added_before_the_sigmoid(network):
    visible, infrared = pair(1, 1, 12, 12)
    network.eval()
    features = network.encoder(visible, infrared)
    without = network.join(torch.zeros_like(visible), features)
    torch.testing.assert_close(network.fuse(visible, infrared).logit() - without.logit(), visible, atol=1e-5, rtol=0)


def test_the_attentional_fusion_weighs_its_inputs_by_two_that_sum_to_two():
    torch.manual_seed(0)
    join = AttentionalFusion(8, 4).eval()
    first, second = torch.randn(2, 3, 8, 5, 6)
    torch.testing.assert_close(join(first, first), 2 * first)
    torch.testing.assert_close(join(first, second) + join(second, first), 2 * (first + second))


def test_training_mode_takes_the_statistics_of_the_batch(network, batch):
    network.train()
    reconstruction_terms(network, batch)
    counters = [value for name, value in network.named_buffers() if name.endswith("num_batches_tracked")]
    assert [counter.item() for counter in counters] == [1, 1, 1, 1]
    fusion_terms(network, batch)  # three decodings, one encoding
    assert [counter.item() for counter in counters] == [2, 2, 2, 2]
    trained = network.fuse(**_sources(batch))
    assert not torch.allclose(trained, network.eval().fuse(**_sources(batch)))


def _sources(batch):
    return {"source_a": batch["visible"], "source_b": batch["infrared"]}


def test_evaluation_mode_keeps_pairs_of_a_batch_apart(network):
    network.eval()
    visible, infrared = pair(3, 1, 11, 14)
    together = network.fuse(visible, infrared)
    alone = torch.cat([network.fuse(visible[i : i + 1], infrared[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_a_training_step_needs_two_pairs(network, batch):
    network.train()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        reconstruction_terms(network, {name: images[:1] for name, images in batch.items()})
    assert {phase.smallest_batch for phase in PHASES.values()} == {2}


def test_the_fusion_phase_keeps_the_reconstruction_terms(network, batch):
    first, second = reconstruction_terms(network, batch), fusion_terms(network, batch)
    assert second.keys() == {*first, "intensity", "gradient"}
    for name, term in first.items():
        torch.testing.assert_close(second[name], term)
    assert PHASES["fusion"].previous == "reconstruction"
    assert set(PHASES["fusion"].trains) - set(PHASES["reconstruction"].trains) == {"specific_fusion"}


@pytest.mark.parametrize("terms", [reconstruction_terms, fusion_terms])
def test_the_ssim_form_changes_ssim_terms_only(network, batch, terms):
    network.decoder.output[2].weight.data *= 100  # reconstructions so bad that SSIM is negative in places
    old, new = (terms(network, batch, ssim=version) for version in ("kornia_0.2", "kornia_0.5"))
    assert {name for name in old if not torch.equal(old[name], new[name])} == {"ssim_visible", "ssim_infrared"}


def test_upstream_names():
    names = {
        ("DIDF_Encoder", "module.patch_embed.proj.weight"): "encoder.embed.weight",
        ("DIDF_Encoder", "baseFeature_ir.attn.scale"): "encoder.base_infrared.attention.temperature",
        ("DIDF_Encoder", "detailFeature_vis.net.2.shffleconv.bias"): "encoder.detail_visible.2.mix.bias",
        ("DIDF_Encoder", "duelFuse.theta_eta.bottleneckBlock.5.weight"): "encoder.interaction.eta.project.weight",
        ("DIDF_Encoder", "duelFuse.Trans2.mlp.dwconv.weight"): (
            "encoder.interaction.visible_before.feed_forward.local.weight"
        ),
        ("DIDF_Encoder", "duelFuse.AFF.global_att.5.running_var"): (
            "encoder.interaction.join.global_weight.5.running_var"
        ),
        ("SepcificFuseLayer", "net.3.theta_rho.bottleneckBlock.0.weight"): "specific_fusion.3.rho.expand.weight",
    }
    ours = FSIDFusion().state_dict()
    for (part, name), expected in names.items():
        assert UPSTREAM.translate(part, name) == expected
        assert expected in ours
    assert UPSTREAM.translate("DIDF_Encoder", "module.duelFuse.shffleconv.weight") is None


@pytest.fixture
def vector(tmp_path):
    """Inputs and manifest of a narrow network."""
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden vectors at {GOLDEN}")
    parts, own = json.loads((GOLDEN / "fsidfusion.json").read_text()), FSIDFusion(**SMALL).state_dict()
    factors = parts.pop("scale")
    shapes = {
        part: {name: list(own[ours].shape) for name in names if (ours := UPSTREAM.translate(part, name)) in own}
        for part, names in parts.items()
    }
    shapes["DIDF_Encoder"] |= {"duelFuse.shffleconv.weight": [32, 32, 1, 1], "duelFuse.shffleconv.bias": [32]}
    (tmp_path / "small.json").write_text(json.dumps({**shapes, "scale": factors}))
    visible, infrared = pair(2, 1, 13, 19)
    np.savez(tmp_path / "small.npz", vi=visible.numpy(), ir=infrared.numpy())
    return tmp_path / "small.npz", tmp_path / "small.json"


def test_parity_of_another_size(vector, monkeypatch):
    monkeypatch.setitem(parity.FORMS, "fsidfusion", parity.Form(form.INPUTS, form.rules, form.probe))
    with np.load(GOLDEN / "fsidfusion.npz") as published, np.load(vector[0]) as inputs:
        keys, known = set(published.files), dict(inputs)
    found = form.probe(Golden.read(*vector), torch.float64)
    assert found.keys() >= keys - {"vi", "ir"}
    assert np.isnan(found["p1.gradnorms.SepcificFuseLayer"]).all()
    assert np.isfinite(found["p2.gradnorms.SepcificFuseLayer"]).all()
    np.savez(vector[0], **known, **found)
    assert [row for row in parity.compare("fsidfusion", *vector) if not row.ok] == []


def test_vectors_of_another_form_are_refused(vector, tmp_path):
    np.savez(tmp_path / "one.npz", vi=np.zeros((1, 1, 8, 8)), ir=np.zeros((1, 1, 8, 8)))
    with pytest.raises(UserError, match="expected vi and ir of one size, at least 2 images of 6 x 6"):
        form.probe(Golden.read(tmp_path / "one.npz", vector[1]), torch.float32)
    with pytest.raises(UserError, match=r"cddfuse.json: expected FSIDFusion's manifest"):
        form.probe(Golden.read(vector[0], GOLDEN / "cddfuse.json"), torch.float32)
