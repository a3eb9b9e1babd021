"""What is special to DeFusion; what holds for every method is in test_contract.py."""

import json
from pathlib import Path

import pytest
import torch

from decofuse.models.defusion import PHASES, UPSTREAM, DeFusion, annealing, cud_terms
from decofuse.models.registry.defusion import DeFusionSettings

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
SMALL = {"width": 8, "encoder_blocks": (1,) * 5, "common_blocks": (1,) * 4, "unique_blocks": (1,) * 4}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return DeFusion(**SMALL)


def images(count, *shape):
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(*shape, generator=generator) for _ in range(count)]


def views(n=2, size=32, step=20_000):
    view_a, view_b, image = images(3, n, 3, size, size)
    mask_a, mask_b = (torch.zeros(n, 1, size, size) for _ in range(2))
    mask_a[..., : size // 2 + 4], mask_b[..., size // 2 - 4 :] = 1, 1
    return {
        "view_a": view_a,
        "view_b": view_b,
        "image": image,
        "mask_a": mask_a,
        "mask_b": mask_b,
        "step": torch.tensor(step),
    }


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_sizes():
    released = DeFusion()
    assert {name: count(part) for name, part in released.named_children()} == {
        "encoder": 12_256 + 37_248 + 88_448 + 328_320,
        "joint_encoder": 5_245_440,
        "common_decoder": 627_008 + 51_840 + 5_168 + 1_392,
        "unique_decoder": 1_260_480 + 160_128 + 50_048 + 5_392,
        "common_head": 435,
        "unique_head": 435,
        "fusion_head": 435,
    }
    assert count(released) == 7_874_473
    deep = DeFusion(common_blocks=(4, 4, 6, 6))
    assert [count(stage) for stage in deep.common_decoder.stages] == [778_880, 63_744, 7_952, 4_176]
    assert count(deep) == 8_043_817


def test_the_settings_build_the_published_network():
    with torch.device("meta"):
        assert count(DeFusion(**DeFusionSettings().network.model_dump())) == 7_874_473


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 12}, "positive multiple of 8, found 12"),
        ({"width": 0}, "positive multiple of 8, found 0"),
        ({"encoder_blocks": (1, 1, 1, 1)}, r"encoder_blocks must be 5 numbers of at least 1, found \(1, 1, 1, 1\)"),
        ({"common_blocks": (1, 1, 0, 1)}, "common_blocks must be 4 numbers"),
        ({"unique_blocks": (1,) * 5}, "unique_blocks must be 4 numbers"),
        ({"start": "black"}, "start must be published or grey, found black"),
    ],
)
def test_impossible_sizes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=f"defusion: .*{message}"):
        DeFusion(**{**SMALL, **wrong})


def test_initial_weights():
    torch.manual_seed(0)
    for name, weight in DeFusion().named_parameters():
        if weight.ndim == 4 and weight.numel() > 20_000:
            out, _, height, width = weight.shape
            assert weight.std().item() == pytest.approx((2 / (height * width * out)) ** 0.5, rel=0.03), name


@pytest.mark.parametrize("size", [(17, 17), (17, 40), (33, 31)])
def test_sizes(network, size):
    rgb = network.fuse(*images(2, 1, 3, *size))
    assert rgb.shape == (1, 3, *size)
    assert 0 <= rgb.min() <= rgb.max() <= 1


def test_infrared_enters_first_and_luma_comes_out(network):
    network.fusion_head.weight.data /= 100  # untrained heads give values far above 1
    network.fusion_head.bias.data.fill_(0.5)
    visible, infrared = images(2, 1, 1, 20, 24)
    red, green, blue = network.fuse(infrared.expand(-1, 3, -1, -1), visible.expand(-1, 3, -1, -1)).unbind(dim=1)
    expected = 0.299 * red + 0.587 * green + 0.114 * blue
    torch.testing.assert_close(network.fuse(visible, infrared)[:, 0], expected)
    assert not torch.allclose(network.fuse(infrared, visible)[:, 0], expected, atol=1e-4)


def test_decomposing_pads_crops_and_clamps(network):
    network.unique_head.bias.data += 0.9
    first, second = images(2, 1, 3, 24, 32)
    padded = [torch.nn.functional.pad(image, [16] * 4, mode="reflect") for image in (first, second)]
    for found, whole in zip(network.decompose(first, second), network(*padded), strict=True):
        assert torch.equal(found, whole[..., 16:-16, 16:-16].clamp(0, 1))
    assert network(first, second).unique_a.max() > 1


def test_the_unique_head_can_show_the_common_part(network):
    pair = images(2, 1, 3, 24, 24)
    trained, other = network.decompose(*pair), network.decompose(*pair, common_head="unique")
    assert [torch.equal(*both) for both in zip(trained, other, strict=True)] == [False, True, True, True]


def test_exchanged_views_exchange_unique_parts_only_with_symmetric_joint_features(network):
    """The encoder and the unique decoder are shared; only the joint features know which view is the first."""
    reduce, shortcut = network.joint_encoder[0].reduce.weight.data, network.joint_encoder[0].shortcut.weight.data
    for weight in (reduce, shortcut):
        half = weight.shape[1] // 2
        weight[:, half:] = weight[:, :half]
    first, second = images(2, 1, 3, 24, 24)
    torch.testing.assert_close(network.embed(first, second).unique_a, network.embed(second, first).unique_b)


@pytest.mark.parametrize(
    ("step", "leak", "fusion"),
    [
        (0, 0, 0),
        (2999, 0, 0),
        (3000, 0.15 * 9 / 49, 0),
        (7000, 0.15, 0),
        (16_999, 0.15, 0),
        (17_000, 0.15, 0.25),
        (24_000, 0.15, 1),
        (40_000, 0.15, 1),
        (40_001, 0.015, 1),
    ],
)
def test_annealing(step, leak, fusion):
    assert annealing(step) == pytest.approx((leak, fusion))


def test_terms_are_sums_over_the_batch(network):
    batch = views(n=3)
    alone = [
        cud_terms(network, {key: value[i : i + 1] if value.ndim else value for key, value in batch.items()})
        for i in range(3)
    ]
    for name, value in cud_terms(network, batch).items():
        torch.testing.assert_close(value, sum(terms[name] for terms in alone))


def test_a_scaled_annealing_is_that_of_a_later_step(network):
    scaled, later = cud_terms(network, views(step=20), 1e-3), cud_terms(network, views(step=20_000))
    assert scaled == later
    assert cud_terms(network, views(step=20))["fusion"] == 0
    assert later["fusion"] > 0


def test_early_terms_ignore_what_lies_outside_of_the_masks(network):
    """While α is 0, changing the clean image where only one view shows it changes that view's unique term alone."""
    batch = views(step=0)
    before = cud_terms(network, batch)
    batch["image"] = batch["image"].clone()
    batch["image"][..., :4] = 0
    after = cud_terms(network, batch)
    assert [name for name in before if before[name] != after[name]] == ["unique_a"]


def test_a_grey_start_is_an_even_grey_from_which_everything_learns():
    torch.manual_seed(0)
    network = DeFusion(**SMALL, start="grey")
    batch = views()
    for image in network(batch["view_a"], batch["view_b"]):
        assert (image == image[0, 0, 0, 0]).all()
        assert image.max().item() == pytest.approx(0.3)
    optimizer = torch.optim.SGD(network.parameters(), 1e-4)
    sum(cud_terms(network, batch).values()).backward()
    optimizer.step()
    sum(cud_terms(network, batch).values()).backward()
    assert all(parameter.grad.any() for parameter in network.parameters())


def test_the_phase_trains_everything(network):
    assert set(PHASES["cud"].trains) == {name for name, _ in network.named_children()}


@pytest.fixture(scope="module")
def manifest():
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden vectors at {GOLDEN}")
    return json.loads((GOLDEN / "defusion.json").read_text())


def test_upstream_names_every_tensor(manifest):
    ours = {name: list(tensor.shape) for name, tensor in DeFusion().state_dict().items()}
    assert {UPSTREAM.translate("", name): shape for name, shape in manifest[""].items()} == ours
    assert len(manifest["alias"]) == 292
    for name, shape in manifest["alias"].items():
        assert ours[UPSTREAM.translate("state_dict", f"module.{name}")] == shape
