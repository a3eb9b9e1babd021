"""What is special to SSDFusion; what holds for every method is in test_contract.py, the numbers in test_parity.py."""

import pytest
import torch
from pydantic import ValidationError

from decofuse.models.registry.ssdfusion import SSDFusionNetwork
from decofuse.models.ssdfusion import PHASES, UPSTREAM, SSDFusion, fusion_terms, reconstruction_terms, upstream

SMALL = {"channels": 8, "heads": 2, "blocks": 1, "detail_nodes": 1}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SSDFusion(**SMALL)


def pair(*shape):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(*shape, generator=generator), torch.rand(*shape, generator=generator)


def batch(*shape):
    visible, infrared = pair(*shape)
    return {"visible": visible, "infrared": infrared, "label": torch.zeros(shape, dtype=torch.uint8)}


def test_published_size():
    """The specification's counts, less the tensors that upstream stores and never uses."""
    with torch.device("meta"):
        counts = {name: sum(p.numel() for p in part.parameters()) for name, part in SSDFusion().named_children()}
    fusion = 462_968 - 6 * 64
    assert counts == {
        "encoder": 49_856 - 8 * 64,
        **{f"fusion_{level}": fusion for level in range(3)},
        "refiner_1": 144_768,
        "refiner_2": 247_168,
        "down_1": 4_192 - 64,
        "decoder": 454_736 - 8 * 192 - 18_432,
    }
    assert sum(counts.values()) == 2_289_624 - 21_696


def test_the_layer_norm_adds_the_tensors_of_the_norms():
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in SSDFusion(norm="layer").parameters())
    assert count == 2_289_624 - 18_432  # all but the convolution that is never used


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": 10, "heads": 4}, "even and a multiple of heads"),
        ({"channels": 9, "heads": 3}, "even and a multiple of heads"),
        ({"blocks": 0}, "at least 1"),
        ({"norm": "batch"}, "identity or layer, found batch"),
        ({"margin": 65}, "in 0 to 64, found 65"),
        ({"drop_path": (0.1,)}, "two probabilities, found 1"),
        ({"drop_path": (0.1, 1.0)}, "expected a probability"),
    ],
)
def test_impossible_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SSDFusion(**{**SMALL, **wrong})


def test_impossible_widths_are_refused_in_settings_too():
    with pytest.raises(ValidationError, match="not even and a multiple of heads 8"):
        SSDFusionNetwork(channels=20)


@pytest.mark.parametrize("margin", [0, 1, 64])
@pytest.mark.parametrize("size", [(38, 49), (48, 41)])
def test_images_are_padded_for_fusing_alone(network, margin, size):
    network.margin = margin
    with torch.no_grad():
        assert network.eval().fuse(*pair(1, 1, *size)).shape == (1, 1, *size)


def test_the_smallest_side_is_the_smallest_that_can_be_padded(network):
    with torch.no_grad(), pytest.raises(RuntimeError, match="Padding size"):
        network.eval().fuse(*pair(1, 1, SSDFusion.smallest - 1, 64))


def test_without_margin_sides_of_multiples_of_16_are_not_padded(network):
    images = pair(1, 1, 48, 64)
    with torch.no_grad():
        fused = network.eval().features(*images).fused
        assert not torch.equal(network.fuse(*images), fused)
        network.margin = 0
        assert torch.equal(network.fuse(*images), fused)


def test_features_need_multiples_of_4(network):
    with pytest.raises(ValueError, match="multiples of 4, found 30x32"):
        network.features(*pair(1, 1, 30, 32))


def test_features_of_three_levels(network):
    output = network.features(*pair(2, 1, 24, 32))
    shapes = [(2, 8, 24, 32), (2, 8, 12, 16), (2, 8, 6, 8)]
    for maps in (output.base, output.detail, output.merged):
        assert [tuple(features.shape) for features in maps] == shapes
    for parts in (*zip(*output.of_visible, strict=True), *zip(*output.of_infrared, strict=True)):
        assert [tuple(features.shape) for features in parts] == shapes


def test_pairs_of_a_batch_do_not_mix_in_evaluation_mode(network):
    visible, infrared = pair(3, 1, 16, 20)
    network.eval()
    together = network.features(visible, infrared).fused
    alone = torch.cat([network.features(visible[i : i + 1], infrared[i : i + 1]).fused for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_drop_path_is_drawn_in_training_mode_only():
    torch.manual_seed(0)
    network = SSDFusion(**SMALL, drop_path=(0.5, 0.5))
    images = pair(4, 1, 16, 16)

    def fused(seed):
        torch.manual_seed(seed)
        return network.features(*images).fused

    assert torch.equal(fused(0), fused(0))
    assert not torch.equal(fused(0), fused(1))
    network.eval()
    assert torch.equal(fused(0), fused(1))


def test_the_residual_of_the_visible_copy(network):
    """In logits, the two forms differ by the difference of the sources."""
    visible, infrared = pair(2, 1, 16, 16)
    network.eval()
    shared, own = (network.reconstruct(visible, infrared, residual) for residual in ("infrared", "own"))
    assert torch.equal(shared.infrared, own.infrared)
    torch.testing.assert_close(own.visible.logit() - shared.visible.logit(), visible - infrared, atol=1e-5, rtol=0)


def test_the_residual_changes_terms_of_the_visible_copy_only(network):
    samples = batch(2, 1, 16, 16)
    network.eval()
    shared, own = (reconstruction_terms(network, samples, residual=residual) for residual in ("infrared", "own"))
    changed = {name for name in shared if not torch.equal(shared[name], own[name])}
    assert changed == {"ssim_visible", "image_visible", "gradient"}


@pytest.mark.parametrize("terms", [reconstruction_terms, fusion_terms])
def test_levels_weigh_the_decomposition_term(network, terms):
    samples = batch(2, 1, 16, 16)
    network.eval()
    each = [terms(network, samples, levels=levels)["decomposition"] for levels in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    torch.testing.assert_close(terms(network, samples)["decomposition"], each[0] + each[1] / 2 + each[2] / 5)


def test_a_label_changes_the_intensity_term_only(network):
    samples = batch(2, 1, 16, 16)
    network.eval()
    without = fusion_terms(network, samples)
    samples["label"][..., :8] = 3
    labelled = fusion_terms(network, samples)
    assert {name for name in labelled if not torch.equal(labelled[name], without[name])} == {"intensity"}


def test_both_phases_leave_out_the_same_two_parts(network):
    parts = {name for name, _ in network.named_children()}
    for phase in PHASES.values():
        assert parts - {*phase.trains} == {"fusion_0", "down_1"}
        assert phase.joint
    assert not PHASES["fusion"].carries


@pytest.mark.parametrize("prefix", ["", "module."])
def test_upstream_names(prefix):
    names = {
        "shared_encoder.encoder_level1.3.attn.qkv_dwconv.weight": "encoder.blocks.3.attention.local.weight",
        "fusion_0.extractor_ir.conv_detail.bias": "fusion_0.infrared.detail_mix.bias",
        "fusion_1.extractor_vi.base_extractor.mlp.dwconv.weight": "fusion_1.visible.base.feed_forward.local.weight",
        "fusion_2.eca_base.conv.weight": "fusion_2.base_gate.weigh.weight",
        "fusion_2.fusor.base_fusor.attn.scale": "fusion_2.merger.base.attention.temperature",
        "fusion_2.fusor.conv_fusor.bias": "fusion_2.merger.mix.bias",
        "fusion_2.fusor.fusor.dense_block.net.1.conv2d.bias": "fusion_2.merger.dense.units.1.conv.bias",
        "fusion_2.fusor.spade.mlp_shared.0.weight": "fusion_2.merger.modulate.shared.weight",
        "refiner_1.patch_embed.norm.running_var": "refiner_1.embed_norm.running_var",
        "refiner_1.extractor.0.norm1.weight": "refiner_1.block.norm1.weight",
        "refiner_2.conv_2.norm.bias": "refiner_2.project_norm.bias",
        "down_1.down.weight": "down_1.down.weight",
        "shared_decoder.output.2.weight": "decoder.output.2.weight",
    }
    with torch.device("meta"):
        ours = SSDFusion().state_dict()
    for name, expected in names.items():
        assert UPSTREAM.translate("", prefix + name) == expected
        assert expected in ours


def test_upstream_tensors_without_effect():
    with torch.device("meta"):
        layered = SSDFusion(norm="layer").state_dict()
    norms = (
        "shared_encoder.encoder_level1.0.norm1.weight",
        "shared_decoder.encoder_level2.3.norm2.bias",
        "fusion_0.extractor_vi.base_extractor.norm2.weight",
        "fusion_1.fusor.base_fusor.norm1.bias",
        "down_1.norm.weight",
    )
    for name in norms:
        assert UPSTREAM.translate("", name) is None
        assert upstream("layer").translate("", name) in layered
    assert upstream("layer").translate("", "shared_decoder.reduce_channel.weight") is None
