"""What is special to SFDFuse; what holds for every method is in test_contract.py, the numbers in test_parity.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from decofuse import parity
from decofuse.models.registry.sfdfuse import SFDFuseSettings
from decofuse.models.sfdfuse import UPSTREAM, SFDFuse, even, fusion_terms, reconstruction_terms
from decofuse.models.sfdfuse_blocks import ConvFormer, DetailConv, DualFeedForward, ShuffledFeedForward
from decofuse.models.sfdfuse_interaction import CrossAttention, FrequencyBranch
from decofuse.parity import sfdfuse as form
from decofuse.parity.golden import Golden
from decofuse.training.optimiser import learning_rate

SMALL = {"channels": 16, "heads": 2, "blocks": 1, "detail_nodes": 1}
MANIFEST = Path(__file__).parents[3] / "shared" / "golden" / "sfdfuse.json"


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def network():
    return SFDFuse(**SMALL).eval()


def pair(*shape):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(*shape, generator=generator), torch.rand(*shape, generator=generator)


def batch(*shape):
    return dict(zip(("visible", "infrared"), pair(*shape), strict=True))


def features(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_published_size():
    """Upstream's counts less the inverse wavelet, the layer that it never uses, and the filters, which are a buffer."""
    network = SFDFuse()
    counts = {
        name: sum(parameter.numel() for parameter in part.parameters()) for name, part in network.named_children()
    }
    assert counts == {
        "encoder": 1_973_836 - 2048,
        "decoder": 253_863 - 8192,
        "base_fusion": 44_520,
        "detail_fusion": 44_040,
    }
    assert [tuple(buffer.shape) for buffer in network.buffers()] == [(256, 1, 2, 2)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": 12, "heads": 8}, "sfdfuse: channels"),
        ({"channels": 10, "heads": 2}, "sfdfuse: channels"),
        ({"blocks": 0}, "sfdfuse: channels"),
        ({"heads": 0}, "sfdfuse: channels"),
        ({"wavelet": "learnable"}, "fixed or learned, found learnable"),
        ({"drop_path": 1.0}, r"drop path: .* found 1\.0"),
    ],
)
def test_impossible_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SFDFuse(**{**SMALL, **wrong})


def test_odd_sizes(network):
    """Encoder and decoder cut an odd side, as upstream; fusing repeats its last line and crops it."""
    visible, infrared = pair(1, 1, 13, 21)
    parts = network.encoder(visible)
    assert parts.base.shape == (1, 16, 12, 20)
    assert network.decoder(*parts, visible).shape == (1, 1, 12, 20)
    fused = network.fuse(visible, infrared)
    assert fused.shape == visible.shape
    padded = [F.pad(image, (0, 1, 0, 1), mode="replicate") for image in (visible, infrared)]
    assert torch.equal(fused, network.fuse(*padded)[..., :13, :21])


def test_losses_leave_out_an_odd_row_and_column(network):
    odd = batch(1, 1, 13, 16)
    cut = {source: even(image) for source, image in odd.items()}
    for terms in (reconstruction_terms, fusion_terms):
        expected = terms(network, cut)
        assert all(torch.equal(value, expected[name]) for name, value in terms(network, odd).items())


def test_drop_path_acts_in_training_only():
    network = SFDFuse(**SMALL, drop_path=0.5)
    for name, parameter in network.named_parameters():
        if ".scale" in name:
            torch.nn.init.ones_(parameter)
    images = pair(4, 1, 8, 8)
    kept = network.eval().fuse(*images)
    assert torch.equal(kept, network.fuse(*images))
    network.train()
    assert not torch.equal(network.fuse(*images), network.fuse(*images))
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(network.fuse(*images))
    assert torch.equal(*results)
    never = SFDFuse(**SMALL, drop_path=0.0)
    never.load_state_dict(network.state_dict())
    assert torch.equal(never.train().fuse(*images), kept)


def test_a_new_conv_former_is_nearly_the_identity():
    x = torch.randn(2, 8, 6, 6)
    assert 0 < (ConvFormer(8, 0.0)(x) - x).abs().max() < 1e-4


def test_the_infrared_detail_changes_infrared_terms_only(network):
    patches = batch(2, 1, 16, 16)
    faithful, corrected = (
        reconstruction_terms(network, patches, infrared_detail=source) for source in ("visible", "infrared")
    )
    changed = {name for name in faithful if not torch.equal(faithful[name], corrected[name])}
    assert changed == {"ssim_infrared", "mse_infrared"}


def test_learned_filters_take_the_same_weights(network):
    learned = SFDFuse(**SMALL, wavelet="learned")
    learned.load_state_dict(network.state_dict())
    name = "encoder.frequency.filters"
    assert name not in dict(network.named_parameters())
    fusion_terms(learned, batch(1, 1, 16, 16))["intensity"].backward()
    assert dict(learned.named_parameters())[name].grad.any()


def test_haar_bands():
    branch = FrequencyBranch(3, "fixed").double()
    x = features(2, 3, 6, 8)
    blocks = x.unfold(2, 2, 2).unfold(3, 2, 2)  # N×C×H/2×W/2×2×2
    top, bottom, left, right = blocks[..., 0, :], blocks[..., 1, :], blocks[..., 0], blocks[..., 1]
    ll, lh, hl, hh = branch.bands(x)
    tight = {"atol": 1e-6, "rtol": 1e-6}  # the filters are float32
    torch.testing.assert_close(ll, blocks.sum((-1, -2)) / 2, **tight)
    torch.testing.assert_close(lh, (top - bottom).sum(-1) / 2, **tight)
    torch.testing.assert_close(hl, (left - right).sum(-1) / 2, **tight)
    torch.testing.assert_close(sum(band.square().sum() for band in (ll, lh, hl, hh)), x.square().sum(), **tight)
    low, high = branch(x)
    assert low.shape == high.shape == x.shape


def test_differences_do_not_see_a_constant():
    conv = DetailConv(4).double()
    x = torch.full((1, 4, 5, 5), 3.0, dtype=torch.float64)
    inside = conv(x)[..., 1:-1, 1:-1]
    expected = F.conv2d(x, conv.plain.weight, conv.bias())
    torch.testing.assert_close(inside, expected)


def test_detail_conv_is_the_sum_of_five():
    conv = DetailConv(3).double()
    x = features(1, 3, 6, 7)
    shifted = F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2)  # N×C×H×W×9, pixels around each
    neighbours = [3, 0, 1, 6, 4, 2, 7, 8, 5]
    contract = "nihwk,oik->nohw"
    total = conv(x) - sum(layer.bias for layer in conv.children())[:, None, None]
    total = total - torch.einsum(contract, shifted, conv.plain.weight.flatten(2))
    total = total - torch.einsum(contract, shifted - shifted[..., 4:5], conv.central.weight.flatten(2))
    total = total - torch.einsum(contract, shifted[..., 0::3] - shifted[..., 2::3], conv.horizontal.weight)
    total = total - torch.einsum(contract, shifted[..., 0:3] - shifted[..., 6:9], conv.vertical.weight)
    from_neighbours = torch.empty_like(shifted)
    from_neighbours[..., neighbours] = shifted  # the weight of p(k) also acts, negated, at k
    total = total - torch.einsum(contract, shifted - from_neighbours, conv.angular.weight.flatten(2))
    torch.testing.assert_close(total, torch.zeros_like(total))


@pytest.mark.parametrize("feed_forward", [ShuffledFeedForward, DualFeedForward])
def test_feed_forwards_gate_by_the_second_half(feed_forward):
    block = feed_forward(4).double()
    x = features(1, 4, 5, 5)
    block.expand.weight.data[8:] = 0  # makes the gate 0, and so the product
    assert block(x).abs().max() == 0


def test_cross_attention_is_symmetric():
    attention = CrossAttention(8, heads=2).double()
    first, second = features(2, 8, 4, 5), features(2, 8, 4, 5)
    torch.testing.assert_close(attention(first, second), attention(second, first))


def test_published_learning_rates():
    """Of encoder and decoder, which are trained in both phases: halved each ten epochs, not below 1e-6."""
    settings = SFDFuseSettings()
    rates = [
        learning_rate(phase.optimizer, phase.schedule, epoch)
        for phase, first in ((settings.reconstruction, 0), (settings.fusion, settings.reconstruction.epochs))
        for epoch in range(first, first + phase.epochs)
    ]
    assert rates[::10] == pytest.approx([1e-4, 5e-5, 2.5e-5, 1.25e-5, 6.25e-6, 3.125e-6, 1.5625e-6, 1e-6, 1e-6])
    assert rates[9::10] == rates[::10]


@pytest.mark.parametrize("prefix", ["", "module."])
def test_upstream_names(prefix):
    node = "detailFeature.net.1.theta_rho.bottleneckBlock"
    names = {
        ("DIDF_Encoder", "patch_embed.proj.weight"): "encoder.embed.weight",
        ("DIDF_Encoder", "encoder_level1.1.ffn.dwconv.weight"): "encoder.blocks.1.feed_forward.local.weight",
        ("DIDF_Encoder", "encoder_level1.2.layer_scale_1"): "encoder.blocks.2.scale1",
        ("DIDF_Encoder", "encoder_level1.3.token_mixer.act1.scale"): "encoder.blocks.3.mixer.activation.gain",
        ("DIDF_Encoder", "encoder_level1.3.mlp.norm.body.bias"): "encoder.blocks.3.feed_forward.norm.bias",
        ("DIDF_Encoder", "baseFeature.attn.scale"): "encoder.base.attention.temperature",
        ("DIDF_Encoder", "FreFeature.wt_filter"): "encoder.frequency.filters",
        ("DIDF_Encoder", "FreFeature.iwt_filter"): None,
        ("DIDF_Encoder", f"{node}.2.conv1_2.conv.weight"): "encoder.detail.1.rho.local.horizontal.weight",
        ("DIDF_Encoder", f"{node}.2.conv1_5.bias"): "encoder.detail.1.rho.local.plain.bias",
        ("DIDF_Encoder", f"{node}.4.weight"): "encoder.detail.1.rho.project.weight",
        ("DIDF_Encoder", "upsample1.0.bias"): "encoder.frequency.enlarge.bias",
        (
            "DIDF_Encoder",
            "init_fusion_b.attention.qkv_dwconv.weight",
        ): "encoder.base_interaction.attention.local.weight",
        ("DIDF_Decoder_Phase", "reduce_channel.weight"): None,
        ("DIDF_Decoder_Phase", "fusion1.ca.ca.2.bias"): "decoder.join.channel.2.bias",
        ("DIDF_Decoder_Phase", "fusion1.conv.weight"): "decoder.join.project.weight",
        ("DIDF_Decoder_Phase", "fusion2.conv.weight"): None,
        ("DetailFuseLayer", "ffn.dwconv_dilated2_1.weight"): "detail_fusion.feed_forward.dilated.weight",
    }
    ours = SFDFuse().state_dict()
    for (part, name), expected in names.items():
        assert UPSTREAM.translate(part, prefix + name) == expected
        assert expected is None or expected in ours


def test_parity_of_another_size(tmp_path, monkeypatch):
    """A vector of a narrow network and of other images, its expected values from this project in float64."""
    if not MANIFEST.is_file():
        pytest.skip(f"no golden manifest at {MANIFEST}")
    ours = SFDFuse(channels=16, heads=2, detail_nodes=1).state_dict()
    published = json.loads(MANIFEST.read_text())
    shapes = {part: {} for part in UPSTREAM.parts}
    for part, narrow in shapes.items():
        for name, shape in published[part].items():
            translated = UPSTREAM.translate(part, name)
            if translated is None or translated in ours:
                narrow[name] = shape if translated is None else list(ours[translated].shape)
    factors = {name: factor for name, factor in published["scale"].items() if ".net.1." not in name}
    (tmp_path / "narrow.json").write_text(json.dumps(shapes | {"scale": factors}))
    generator = np.random.default_rng(3)
    sizes = {"vi": (3, 1, 16, 20), "ir": (3, 1, 16, 20), "odd.vi": (1, 1, 15, 14), "odd.ir": (1, 1, 15, 14)}
    inputs = {name: generator.random(size, dtype=np.float32) for name, size in sizes.items()}
    files = tmp_path / "narrow.npz", tmp_path / "narrow.json"
    np.savez(files[0], **inputs)
    np.savez(files[0], **inputs, **form.probe(Golden.read(*files), torch.float64))
    monkeypatch.setitem(parity.FORMS, "sfdfuse", parity.Form(form.INPUTS, form.rules, form.probe))
    rows = parity.compare("sfdfuse", *files)
    assert [row for row in rows if not row.ok] == []
    assert {row.name for row in rows} >= {"odd.fused", "p2.nossim.gradnorms.DetailFuseLayer", "feat.vi_hh"}
