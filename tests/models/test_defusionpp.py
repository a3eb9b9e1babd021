"""What is special to DeFusion++: parts, directions, phases, sizes; the numbers are in the golden vectors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from decofuse import parity
from decofuse.errors import UserError
from decofuse.losses.cud import part_masks
from decofuse.models.defusionpp import PHASES, UPSTREAM, DeFusionPP, Pretext, Shown, cud_terms, mae_terms, pretext_terms
from decofuse.models.registry.defusionpp import METHOD, DeFusionPPSettings
from decofuse.parity import defusionpp as form
from decofuse.parity.defusionpp_network import build as build_small

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
TEACHER = {"width": 8, "depth": 1, "heads": 2, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}
SMALL = {"image_size": 32, "patch": 8, "width": 16, "depth": 2, "heads": 2, "last_heads": 4, "decoder_heads": 4}


def build(**settings):
    torch.manual_seed(0)
    return DeFusionPP(**{**SMALL, "teacher": TEACHER, **settings}).eval()


def images(*shape, count=2):
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(*shape, generator=generator) for _ in range(count)]


def views(n=2, size=32):
    view_a, view_b, image = images(n, 3, size, size, count=3)
    masks = [(mask > 0.3).float() for mask in images(n, 1, size, size)]
    return {"view_a": view_a, "view_b": view_b, "image": image, "mask_a": masks[0], "mask_b": masks[1]}


def parameters(modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def trained(network, phase):
    return [network.get_submodule(name) for name in PHASES[phase].trains]


def test_published_size():
    """The tables of 2 x 37,824 and the encoder's last norm (384), which upstream never uses, are left out."""
    with torch.device("meta"):
        network = DeFusionPP()
    assert parameters(trained(network, "cud")) == 13_420_800 - 384
    assert parameters(trained(network, "mcud")) == 13_718_016 - 384
    assert parameters(trained(network, "mae")) == 2 * 111_655_680
    assert parameters([network]) == parameters(trained(network, "mcud")) + parameters(trained(network, "mae"))
    fusing = set(PHASES["cud"].trains) - {"mim"}
    assert parameters([network.get_submodule(name) for name in fusing]) == 12_381_888


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        (
            {"image_size": 112, "patch": 8, "width": 96, "depth": 4, "heads": 4, "last_heads": 8, "decoder_heads": 8},
            2_386_560,
        ),
        (
            {"image_size": 56, "patch": 4, "width": 128, "depth": 4, "heads": 4, "last_heads": 8, "decoder_heads": 8},
            4_096_704,
        ),
        ({"image_size": 224, "depth": 4}, 9_861_888),
    ],
)
def test_reduced_sizes(sizes, count):
    with torch.device("meta"):
        network = DeFusionPP(**sizes, teacher=TEACHER)
    assert parameters(trained(network, "cud")) == count - 2 * sizes.get("width", 192)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"depth": 0}, "must be at least 1"),
        ({"image_size": 36}, "two or more whole patches of 8, found 36"),
        ({"image_size": 8}, "two or more whole patches of 8, found 8"),
        ({"decoder_heads": 3}, "a multiple of 4 and of all heads, found 16"),
        ({"width": 18, "heads": 2, "last_heads": 2, "decoder_heads": 2}, "a multiple of 4 and of all heads, found 18"),
    ],
)
def test_impossible_sizes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=f"defusionpp: .*{message}"):
        build(**wrong)


@pytest.mark.parametrize("size", [(1, 1), (5, 70), (17, 33), (32, 32)])
@pytest.mark.parametrize("patch", [8, 16])
def test_any_size_is_fused(size, patch):
    network = build(patch=patch)
    with torch.no_grad():
        grey, colour = (network.fuse(*images(1, channels, *size)) for channels in (1, 3))
    assert grey.shape == (1, 1, *size)
    assert colour.shape == (1, 3, *size)
    assert 0 <= colour.min() <= colour.max() <= 1


def test_fusing_needs_no_teacher():
    network = build()
    sources = images(1, 1, 20, 24)
    with torch.no_grad():
        before = network.fuse(*sources)
        network.teacher_infrared = network.teacher_visible = network.predictors = network.mim = None
        assert torch.equal(network.fuse(*sources), before)


def test_infrared_is_the_first_of_a_grey_pair():
    network = build()
    visible, infrared = images(1, 1, 40, 40)
    grey, colour = (
        network.decompose(visible, infrared),
        network.decompose(*(i.expand(-1, 3, -1, -1) for i in (infrared, visible))),
    )
    assert torch.equal(grey.fused, colour.fused)
    assert torch.equal(grey.common, colour.common)
    assert torch.equal(grey.unique_a, colour.unique_b)
    assert torch.equal(grey.unique_b, colour.unique_a)
    luma = torch.tensor([0.299, 0.587, 0.114]).reshape(3, 1, 1) * grey.fused
    torch.testing.assert_close(network.fuse(visible, infrared), luma.sum(dim=1, keepdim=True))


def test_a_part_is_unique_to_its_source():
    """Identical sources: both unique parts are the same; otherwise each follows its own."""
    network = build()
    first, second = images(1, 3, 32, 32)
    same = network.decompose(first, first)
    assert torch.equal(same.unique_a, same.unique_b)
    exchanged, shown = network.decompose(second, first), network.decompose(first, second)
    assert torch.equal(exchanged.unique_a, shown.unique_b)
    assert not torch.equal(exchanged.common, shown.common)


def test_the_direction_of_a_batch_is_drawn():
    network = build()
    first, second = images(1, 3, 32, 32)
    noise = torch.rand(1, 16)
    either = [network(first, second, direction, noise).shown.fused for direction in ("12", "21")]
    found = [network(first, second, noise=noise).shown.fused for _ in range(20)]
    which = [[torch.equal(image, known) for known in either] for image in found]
    assert all(sum(one) == 1 for one in which)
    assert 2 < sum(one[0] for one in which) < 18


def test_masks_change_the_reconstruction_alone():
    network = build()
    first, second = images(1, 3, 32, 32)
    one, two = (network(first, second, "12", noise) for noise in images(1, 16))
    assert all(torch.equal(a, b) for a, b in zip(one.shown, two.shown, strict=True))
    assert not torch.equal(one.reconstruction, two.reconstruction)


def test_training_mode_is_random_and_follows_the_seed():
    network, batch = build().train(), views()
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(cud_terms(network, batch)["fusion_l1"].item())
    assert losses[0] == losses[1] != losses[2]


def test_perfect_images_cost_nothing():
    batch = views()
    masks = part_masks(batch["mask_a"], batch["mask_b"])
    assert torch.equal(masks.common + masks.unique_a + masks.unique_b, torch.maximum(batch["mask_a"], batch["mask_b"]))
    shown = Shown(*(mask * batch["image"] for mask in masks), batch["image"])
    assert all(term < 1e-6 for term in pretext_terms(Pretext(shown, batch["image"]), batch).values())


def test_terms_are_sums_over_the_samples():
    batch = views(4)
    shown = Shown(*images(4, 3, 32, 32, count=4))
    whole = pretext_terms(Pretext(shown, shown.fused), batch)
    halves = [
        pretext_terms(
            Pretext(Shown(*(i[part] for i in shown)), shown.fused[part]), {k: v[part] for k, v in batch.items()}
        )
        for part in (slice(2), slice(2, None))
    ]
    for name, term in whole.items():
        torch.testing.assert_close(term, halves[0][name] + halves[1][name])


def test_the_teachers_learn_a_modality_each():
    network = build()
    visible, infrared = images(2, 3, 32, 32)
    losses = []
    for changed in ({}, {"visible": visible / 2}):
        torch.manual_seed(0)
        losses.append(
            mae_terms(network, {"visible": visible, "infrared": infrared, **changed}, normalise_patches=False)
        )
    assert losses[0]["infrared"] == losses[1]["infrared"]
    assert losses[0]["visible"] != losses[1]["visible"]


def test_phases_follow_one_another_and_the_teachers_stay_frozen():
    assert [phase.previous for phase in PHASES.values()] == [None, *list(PHASES)[:-1]]
    assert list(PHASES) == list(METHOD.phases)
    assert not set(PHASES["mcud"].trains) & set(PHASES["mae"].trains)


def test_settings_of_one_size():
    with pytest.raises(ValidationError, match=r"mae.data.size 224 is not network.image_size 112"):
        DeFusionPPSettings.model_validate({"network": {"image_size": 112}, "cud": {"data": {"size": 112}}})
    with pytest.raises(ValidationError, match="width 192 is not a multiple of 5 heads"):
        DeFusionPPSettings.model_validate({"network": {"heads": 5}})
    with pytest.raises(ValidationError, match="decoder_width 512 is not a multiple of its 3 heads"):
        DeFusionPPSettings.model_validate({"network": {"teacher": {"decoder_heads": 3}}})


@pytest.mark.parametrize("prefix", ["", "module."])
def test_upstream_names(prefix):
    names = {
        "encoder.patch_embed.proj.weight": "encoder.embed.weight",
        "encoder.cls_token": "encoder.class_token",
        "encoder.blocks.10.attn.qkv.bias": "encoder.blocks.10.qkv.bias",
        "enc_norm1.weight": "decomposition.norm_embedded.weight",
        "mask_token": "mim.mask_token",
        "decode_common_skipconn.multi_input_self_attn.query.weight": "decomposition.shallow.common.query.weight",
        "decoder_unique_residual.mlp.fc2.bias": "decomposition.deep.residual.reduce.bias",
        "decoder_fuse_blocks.0.multi_input_self_attn.multihead_attn.in_proj_bias": "fusion.deep.attention.in_proj_bias",
        "decoder_fuse_blocks.2.weight": "head_fused.project.weight",
        "recon_blocks_mim_encoder.1.norm2.bias": "fusion.refine.1.norm2.bias",
        "latent_predict2.bias": "predictors.visible.bias",
        "model_encoder1.mask_token": "teacher_infrared.decoder.mask_token",
        "model_encoder2.blocks.3.attn.proj.weight": "teacher_visible.encoder.blocks.3.project.weight",
        "model_encoder2.decoder_blocks.7.norm1.weight": "teacher_visible.decoder.blocks.7.norm1.weight",
        "model_encoder1.norm.weight": "teacher_infrared.norm.weight",
        "encoder.norm.weight": None,
        "encoder.pos_embed": None,
        "decoder_pos_embed": None,
        "model_encoder2.decoder_pos_embed": None,
    }
    with torch.device("meta"):
        ours = DeFusionPP().state_dict()
    for name, expected in names.items():
        assert UPSTREAM.translate("", prefix + name) == expected
        assert expected is None or expected in ours


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden vectors at {GOLDEN}")
    return GOLDEN / "defusionpp.npz", GOLDEN / "defusionpp.json"


def test_the_published_code_is_reproduced(golden, monkeypatch):
    monkeypatch.setitem(parity.FORMS, "defusionpp", parity.Form(form.INPUTS, form.rules, form.probe))
    rows = parity.compare("defusionpp", *golden)
    assert [row for row in rows if not row.ok] == []
    assert len(rows) == 2 * 81


def test_another_manifest_is_refused(golden):
    with pytest.raises(UserError, match=r"expected DeFusion\+\+'s manifest, found another"):
        build_small(parity.Golden.read(golden[0], GOLDEN / "cddfuse.json"), torch.float32)


def test_inputs_of_another_form_are_refused(golden, tmp_path):
    with np.load(golden[0]) as known:
        np.savez(tmp_path / "changed.npz", **{**known, "small/x2_u8": np.zeros((1, 3, 32, 32), np.uint8)})
    with pytest.raises(UserError, match=r"expected small/x2_u8 of 2 x 3 x 32 x 32 \(u\)"):
        form.probe(parity.Golden.read(tmp_path / "changed.npz", golden[1]), torch.float32)
