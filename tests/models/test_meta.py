"""Meta features; their numbers are in the parity of SSDFusion's golden vector."""

import pytest
import torch

from decofuse.models.meta import FeatureTransform, MetaModules, Teacher, meta_terms
from decofuse.models.restormer import ChannelNorm
from decofuse.models.ssdfusion import SSDFusion
from decofuse.models.ssdfusion_meta import fresh_modules, fuse_in_colour
from decofuse.segmentation.segnext import SegNeXt


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def levels(channels, h, w, step=1):
    generator = torch.Generator().manual_seed(step)
    return [torch.rand(2, c, h // (step << i), w // (step << i), generator=generator) for i, c in enumerate(channels)]


def test_published_size():
    with torch.device("meta"):
        modules = MetaModules()
        with_norm = FeatureTransform(32, ChannelNorm)
    assert [parameters(each) for each in modules.extractors] == [248_672, 272_160, 391_776]
    assert [parameters(each) for each in modules.transforms] == [10_304 - 64] * 3  # upstream's norm does nothing
    assert parameters(with_norm) == 10_304
    assert parameters(modules) == 943_520 - 3 * 64


def test_features_have_half_the_size():
    torch.manual_seed(0)
    modules = MetaModules((4, 6), (3, 5))
    features = modules(levels((4, 6), 32, 48), levels((3, 5, 7), 32, 48, step=4))
    assert [tuple(each.shape) for level in features for each in level] == [(2, 4, 16, 24)] * 2 + [(2, 6, 8, 12)] * 2


def test_terms_are_zero_where_the_features_agree(monkeypatch):
    torch.manual_seed(0)
    modules = MetaModules((4, 6), (3, 5))
    details, maps = levels((4, 6), 32, 32), levels((3, 5), 32, 32, step=4)
    assert all(term > 0 for term in meta_terms(modules, details, maps).values())
    for extract in modules.extractors:
        monkeypatch.setattr(extract, "forward", lambda detail, segmentation: detail[..., ::2, ::2])
    for transform in modules.transforms:
        monkeypatch.setattr(transform, "forward", lambda detail: detail[..., ::2, ::2])
    assert meta_terms(modules, details, maps) == {"meta_0": 0, "meta_1": 0}


def test_the_gradient_reaches_every_module_and_the_details_on_both_ways():
    torch.manual_seed(0)
    modules = MetaModules((4,), (3,))
    details, maps = [each.requires_grad_() for each in levels((4,), 16, 16)], levels((3,), 16, 16, step=4)
    both = torch.autograd.grad(meta_terms(modules, details, maps)["meta_0"], details)[0]
    features = modules(details, maps)[0]
    one = torch.autograd.grad((features.meta - features.transformed.detach()).square().mean(), details)[0]
    assert one.any() and not torch.allclose(both, one)
    meta_terms(modules, details, maps)["meta_0"].backward()
    assert all(parameter.grad is not None for parameter in modules.parameters())


@pytest.mark.parametrize(
    ("channels", "problem"),
    [
        (((4, 4), (3,)), "as many levels"),
        (((), ()), "as many levels"),
        (((4,), (0,)), "as many levels, at least 1"),
        (((3,), (3,)), "even numbers of detail channels, found \\(3,\\)"),
    ],
)
def test_impossible_sizes_are_refused(channels, problem):
    with pytest.raises(ValueError, match=problem):
        MetaModules(*channels)


def test_maps_that_do_not_fit_are_refused():
    modules = MetaModules((4,), (3,))
    with pytest.raises(ValueError, match="4 times as large as the segmentation map, found 16x16 and 4x5"):
        modules(levels((4,), 16, 16), [torch.rand(2, 3, 4, 5)])
    with pytest.raises(ValueError, match="zip"):
        modules(levels((4,), 16, 16), [])


def test_the_teacher_is_frozen_and_takes_any_image():
    segmentation = SegNeXt(3, widths=(4, 8), depths=(1, 1), ratios=(2, 2), channels=32, drop_path=0.5).train()
    before = {name: tensor.clone() for name, tensor in segmentation.state_dict().items()}
    teach = Teacher(segmentation)
    rgb = torch.rand(2, 3, 32, 32, requires_grad=True)
    maps = teach(rgb)
    assert [tuple(each.shape) for each in maps] == [(2, 4, 8, 8), (2, 8, 4, 4)]
    assert not any(each.requires_grad for each in maps)
    assert all(map(torch.equal, maps, teach(rgb)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in segmentation.state_dict().items())


@pytest.mark.parametrize("norm", ["identity", "layer"])
def test_a_network_that_has_learnt_to_fuse_starts_the_meta_phase(norm):
    network = SSDFusion(channels=8, heads=2, blocks=1, detail_nodes=1, norm=norm).eval()
    modules = fresh_modules(network, (4, 8, 8))
    assert isinstance(modules.transforms[0].downsampler.norm, type(network.down_1.norm))
    batch = {
        "visible": torch.rand(2, 3, 32, 48),
        "infrared": torch.rand(2, 1, 32, 48),
        "label": torch.zeros(2, 1, 32, 48),
    }
    with torch.no_grad():
        fusion = fuse_in_colour(network, batch)
    assert fusion.rgb.shape == (2, 3, 32, 48) and 0 <= fusion.rgb.min() <= fusion.rgb.max() <= 1
    terms = meta_terms(modules, fusion.details, levels((4, 8, 8), 32, 48, step=4))
    assert all(term.shape == () and term.isfinite() for term in [*terms.values(), *fusion.terms.values()])
