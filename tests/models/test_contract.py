"""What holds for every registered method: the contract that training and fusing build on."""

import importlib

import pytest
import torch

from decofuse.models.method import Fuser
from decofuse.models.registry import METHODS

TRAINED = [(name, phase) for name, method in METHODS.items() for phase in method.phases]


def build(name):
    torch.manual_seed(0)
    method = METHODS[name]
    settings = method.settings()
    size = settings.network.model_dump() if method.phases else {}
    return getattr(importlib.import_module(method.module), method.network)(**size)


def images(n, h, w, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(n, 1, h, w, generator=generator) for _ in range(2)]


@pytest.fixture(scope="module", params=METHODS)
def network(request):
    return build(request.param).eval()


def test_it_is_a_fuser(network):
    assert isinstance(network, Fuser)
    assert network.smallest >= 1


@pytest.mark.parametrize("size", [(61, 83), (16, 16), (9, 40)])
def test_any_size_is_kept_and_the_range_too(network, size):
    with torch.no_grad():
        fused = network.fuse(*images(1, *size))
    assert fused.shape == (1, 1, *size)
    assert fused.dtype == torch.float32
    assert 0 <= fused.min() <= fused.max() <= 1


def test_the_smallest_size(network):
    with torch.no_grad():
        assert network.fuse(*images(1, network.smallest, network.smallest)).isfinite().all()


def test_black_and_white_images(network):
    with torch.no_grad():
        fused = network.fuse(torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16))
    assert fused.isfinite().all()


def test_it_is_deterministic_and_leaves_its_inputs_alone(network):
    sources = images(2, 16, 24)
    copies = [source.clone() for source in sources]
    with torch.no_grad():
        assert torch.equal(network.fuse(*sources), network.fuse(*sources))
    assert all(torch.equal(source, copy) for source, copy in zip(sources, copies, strict=True))


def test_it_follows_the_dtype(network):
    with torch.no_grad():
        single = network.fuse(*images(1, 16, 16))
        double = network.double().fuse(*(image.double() for image in images(1, 16, 16)))
        network.float()
    assert double.dtype == torch.float64
    torch.testing.assert_close(single, double.float(), atol=1e-5, rtol=0)


def test_saved_weights_give_the_same_network(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    other = type(network)() if not network.state_dict() else build(_name(network))
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    sources = images(1, 16, 16)
    with torch.no_grad():
        assert torch.equal(network.fuse(*sources), other.eval().fuse(*sources))


@pytest.mark.parametrize(("name", "phase"), TRAINED)
def test_phases(name, phase):
    """Terms are named as their weights; their gradient reaches every tensor of the trained parts, and no other."""
    network = build(name)
    declared = importlib.import_module(METHODS[name].module).PHASES[phase]
    assert declared.previous in (None, *METHODS[name].phases)
    assert set(declared.trains) <= {part for part, _ in network.named_children()}
    for part, child in network.named_children():
        child.requires_grad_(part in declared.trains)
    visible, infrared = images(2, 24, 24)
    terms = declared.terms(network, {"visible": visible, "infrared": infrared})
    weights = getattr(METHODS[name].settings(), phase).weights.model_dump()
    assert terms.keys() == weights.keys()
    assert all(term.shape == () and term.isfinite() for term in terms.values())
    sum(weights[term] * value for term, value in terms.items()).backward()
    for parameter_name, parameter in network.named_parameters():
        if parameter_name.partition(".")[0] in declared.trains:
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all() and parameter.grad.any(), parameter_name
        else:
            assert parameter.grad is None, parameter_name


@pytest.mark.parametrize("name", METHODS)
def test_settings_have_a_section_a_phase(name):
    settings = METHODS[name].settings()
    assert all(hasattr(settings, phase) for phase in METHODS[name].phases)
    if METHODS[name].phases:
        assert set(importlib.import_module(METHODS[name].module).PHASES) == set(METHODS[name].phases)


def _name(network):
    return next(name for name, method in METHODS.items() if method.network == type(network).__name__)
