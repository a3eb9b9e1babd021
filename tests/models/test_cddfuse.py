"""What is special to CDDFuse; what holds for every method is in test_contract.py, the numbers in test_parity.py."""

import pytest
import torch

from decofuse.models.cddfuse import PHASES, UPSTREAM, CDDFuse, fusion_terms, reconstruction_terms

SMALL = {"channels": 16, "heads": 4, "blocks": 1, "detail_nodes": 1}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return CDDFuse(**SMALL)


def pair(*shape):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(*shape, generator=generator), torch.rand(*shape, generator=generator)


def test_published_size():
    counts = {
        name: sum(parameter.numel() for parameter in part.parameters()) for name, part in CDDFuse().named_children()
    }
    assert counts == {"encoder": 599_144, "decoder": 207_936, "base_fusion": 363_016, "detail_fusion": 18_176}


@pytest.mark.parametrize(
    "wrong", [{"channels": 10, "heads": 4}, {"channels": 9, "heads": 3}, {"blocks": 0}, {"heads": 0}]
)
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match="cddfuse: channels"):
        CDDFuse(**{**SMALL, **wrong})


def test_an_unknown_skip_is_refused():
    with pytest.raises(ValueError, match="visible, sum or none, found infrared"):
        CDDFuse(**SMALL, skip="infrared")


def test_skip_chooses_the_image_before_the_sigmoid(network):
    visible, infrared = pair(1, 1, 12, 12)
    logits = {}
    for skip in ("none", "visible", "sum"):
        network.skip = skip
        logits[skip] = network.fuse(visible, infrared).logit()
    torch.testing.assert_close(logits["visible"] - logits["none"], visible, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits["sum"] - logits["none"], visible + infrared, atol=1e-5, rtol=0)


def test_training_and_evaluation_mode_agree(network):
    images = pair(2, 1, 12, 16)
    assert torch.equal(network.train().fuse(*images), network.eval().fuse(*images))


def test_pairs_of_a_batch_do_not_mix(network):
    visible, infrared = pair(3, 1, 11, 14)
    together = network.fuse(visible, infrared)
    alone = torch.cat([network.fuse(visible[i : i + 1], infrared[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_the_ssim_form_changes_ssim_terms_only(network):
    network.decoder.output[2].weight.data *= 100  # reconstructions so bad that SSIM is negative in places
    visible, infrared = pair(2, 1, 16, 16)
    batch = {"visible": visible, "infrared": infrared}
    old, new = (reconstruction_terms(network, batch, ssim=form) for form in ("kornia_0.2", "kornia_0.5"))
    assert {name for name in old if not torch.equal(old[name], new[name])} == {"ssim_visible", "ssim_infrared"}


def test_reconstruction_does_not_depend_on_skip(network):
    visible, infrared = pair(1, 1, 16, 16)
    batch = {"visible": visible, "infrared": infrared}
    terms = reconstruction_terms(network, batch)
    network.skip = "none"
    assert all(torch.equal(value, terms[name]) for name, value in reconstruction_terms(network, batch).items())
    assert not torch.equal(
        fusion_terms(network, batch)["intensity"], fusion_terms(CDDFuse(**SMALL), batch)["intensity"]
    )


def test_the_fusion_phase_continues_the_reconstruction():
    assert PHASES["reconstruction"].previous is None
    assert PHASES["fusion"].previous == "reconstruction"
    assert set(PHASES["fusion"].trains) == {name for name, _ in CDDFuse(**SMALL).named_children()}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_upstream_names(prefix):
    names = {
        ("DIDF_Encoder", "patch_embed.proj.weight"): "encoder.embed.weight",
        ("DIDF_Encoder", "encoder_level1.0.norm1.body.bias"): "encoder.blocks.0.norm1.bias",
        ("DIDF_Encoder", "encoder_level1.3.attn.qkv_dwconv.weight"): "encoder.blocks.3.attention.local.weight",
        ("DIDF_Encoder", "baseFeature.attn.scale"): "encoder.base.attention.temperature",
        ("DIDF_Encoder", "baseFeature.attn.qkv2.weight"): "encoder.base.attention.local.weight",
        ("DIDF_Decoder", "encoder_level2.1.ffn.project_in.weight"): "decoder.blocks.1.feed_forward.expand.weight",
        ("DIDF_Decoder", "output.2.weight"): "decoder.output.2.weight",
        ("BaseFuseLayer", "mlp.dwconv.weight"): "base_fusion.feed_forward.local.weight",
        ("DetailFuseLayer", "net.0.theta_rho.bottleneckBlock.3.weight"): "detail_fusion.0.rho.local.weight",
        ("DetailFuseLayer", "net.0.shffleconv.bias"): "detail_fusion.0.mix.bias",
    }
    ours = CDDFuse().state_dict()
    for (part, name), expected in names.items():
        assert UPSTREAM.translate(part, prefix + name) == expected
        assert expected in ours
    with pytest.raises(KeyError):
        UPSTREAM.translate("Segmentation", "weight")
