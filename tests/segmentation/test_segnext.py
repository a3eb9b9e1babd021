"""SegNeXt; that it computes what mmsegmentation does is in the parity of SSDFusion's golden vector."""

import pytest
import torch

from decofuse.segmentation.segnext import MSCAN, HamburgerHead, SegNeXt, factorise

SMALL = {"widths": (4, 8, 8, 16), "depths": (1, 1, 2, 1), "ratios": (2, 2, 2, 2), "channels": 32, "rank": 4}


def build(**options):
    torch.manual_seed(0)
    return SegNeXt(3, **SMALL, **options).eval()


def images(n=2, h=32, w=48):
    return torch.rand(n, 3, h, w, generator=torch.Generator().manual_seed(1))


def test_published_size():
    with torch.device("meta"):
        network = SegNeXt(9)
    assert sum(parameter.numel() for parameter in network.backbone.parameters()) == 3_903_584
    assert sum(parameter.numel() for parameter in network.head.parameters()) == 323_593


def test_drop_path_rises_from_the_first_block_to_the_last():
    with torch.device("meta"):
        backbone = MSCAN(drop_path=0.12)
    rates = [block.drop_path.probability for stage in backbone.stages for block in stage.blocks]
    assert rates == pytest.approx([0.01 * i for i in range(13)])


@pytest.mark.parametrize(("h", "w"), [(32, 48), (33, 47), (5, 1)])
def test_sizes(h, w):
    network = build()
    with torch.no_grad():
        maps, logits = network.features(images(2, h, w)), network(images(2, h, w))
    assert [tuple(each.shape) for each in maps] == [
        (2, channels, -(-h // stride), -(-w // stride))
        for channels, stride in zip(SMALL["widths"], (4, 8, 16, 32), strict=True)
    ]
    assert logits.shape == (2, 3, h, w)


def test_predictions_are_random_unless_bases_are_fixed_or_given():
    image = images()
    bases = torch.nn.functional.normalize(torch.rand(2, 32, 4), dim=1)
    with torch.no_grad():
        network = build()
        assert not torch.equal(network(image), network(image))
        assert torch.equal(network(image, bases), network(image, bases))
        network = build(bases="fixed")
        state = torch.get_rng_state()
        assert torch.equal(network(image), network(image))
        assert torch.equal(torch.get_rng_state(), state)
        assert not torch.equal(network(image), network(image, bases))


def test_fixed_bases_do_not_depend_on_the_batch():
    network = build(bases="fixed")
    with torch.no_grad():
        together = network(images(3))
        alone = torch.cat([network(image[None]) for image in images(3)])
    torch.testing.assert_close(together, alone)


def test_factorising_comes_closer_with_each_step():
    generator = torch.Generator().manual_seed(2)
    left, right, bases = (torch.rand(1, n, 3, generator=generator, dtype=torch.float64) for n in (12, 40, 12))
    values = left @ right.mT
    errors = [(factorise(values, bases, steps) - values).norm().item() for steps in (0, 5, 50, 500)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01 * values.norm()


def test_training_reaches_every_tensor():
    network = build(drop_path=0.0, dropout=0.0).train()
    torch.nn.functional.cross_entropy(network(images(2, 64, 64)), torch.zeros(2, 64, 64, dtype=torch.int64)).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"depths": (1, 1)}, "mscan: expected widths, depths and ratios of as many levels"),
        ({"widths": (3, 8, 8, 16)}, "mscan: .*first width even, found"),
        ({"widths": (8,)}, "at least two levels"),
        ({"channels": 40}, "channels a multiple of 32"),
        ({"rank": 0}, "rank and inputs must be at least 1"),
        ({"bases": "given"}, "random or fixed, found given"),
        ({"drop_path": 1.0}, r"expected a probability in \[0, 1\), found 1.0"),
    ],
)
def test_wrong_arguments_are_refused(wrong, problem):
    with pytest.raises(ValueError, match=problem):
        SegNeXt(3, **{**SMALL, **wrong})


def test_the_head_joins_maps_at_the_size_of_the_first():
    head = HamburgerHead(5, inputs=(4, 6), channels=32).eval()
    with torch.no_grad():
        assert head([torch.rand(1, 4, 9, 7), torch.rand(1, 6, 5, 4)]).shape == (1, 5, 9, 7)
