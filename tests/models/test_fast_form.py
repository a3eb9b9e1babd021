"""The fast form of the Restormer blocks against the plain one that the benchmark holds it against."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from decofuse.models.cddfuse import PHASES, CDDFuse
from decofuse.models.channel_attention import channel_attention, gelu_gate
from decofuse.models.registry.cddfuse import CDDFuseReconstruction
from decofuse.training.execution import prepare
from decofuse.training.optimiser import PartOptimizer

SPEC = importlib.util.spec_from_file_location(
    "plain_restormer", Path(__file__).parents[2] / "benchmarks/plain_restormer.py"
)
reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)

SETTINGS = CDDFuseReconstruction()
CPU = torch.device("cpu")


def pair():
    """The same weights in both forms."""
    torch.manual_seed(0)
    fast = CDDFuse(channels=16, heads=2, blocks=1, detail_nodes=1)
    return fast, reference.plain(copy.deepcopy(fast))


def batch(dtype=torch.float32, count=2):
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(count, 1, 20, 28, generator=generator, dtype=dtype) for name in ("visible", "infrared")}


def loss(network, samples):
    weights = SETTINGS.weights.model_dump()
    return sum(weights[name] * term for name, term in PHASES["reconstruction"].terms(network, samples).items())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_agree_in_float64(layout):
    fast, slow = (network.double() for network in pair())
    fast = fast.to(memory_format=layout)
    values = [loss(network, batch(torch.float64)) for network in (fast, slow)]
    torch.testing.assert_close(*values, rtol=1e-13, atol=0)
    for value in values:
        value.backward()
    plain = dict(slow.named_parameters())
    for name, parameter in fast.named_parameters():
        if plain[name].grad is not None:
            torch.testing.assert_close(parameter.grad, plain[name].grad, rtol=1e-9, atol=1e-12)


def test_weights_after_a_step_agree_in_float32():
    states = []
    for network in pair():
        optimizer = PartOptimizer(network, PHASES["reconstruction"].trains, SETTINGS.optimizer)
        loss(network, batch()).backward()
        optimizer.clip()
        optimizer.instance.step()
        states.append(network.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=1e-5)


def test_a_channel_of_zeros_has_no_norm_and_a_finite_gradient():
    mixed = torch.rand(2, 12, 5, 6, requires_grad=True)
    with torch.no_grad():
        mixed[:, 0] = 0
        mixed[:, 5] = 0
    result = channel_attention(mixed, torch.ones(2, 1, 1), torch.eye(4)[..., None, None])
    result.sum().backward()
    assert result.isfinite().all()
    assert mixed.grad.isfinite().all()


@pytest.mark.parametrize("function", ["attention", "gate"])
def test_gradients_are_the_numerical_ones(function):
    torch.manual_seed(0)
    mixed = torch.randn(2, 12, 3, 4, dtype=torch.float64, requires_grad=True)
    if function == "gate":
        assert torch.autograd.gradcheck(gelu_gate, mixed)
        return
    temperature = torch.rand(2, 1, 1, dtype=torch.float64, requires_grad=True)
    project = torch.randn(4, 4, 1, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(channel_attention, (mixed, temperature, project))


def test_recomputed_activations_change_nothing():
    fast, _ = pair()
    again = copy.deepcopy(fast)
    prepare(again.children(), SETTINGS.model_copy(update={"checkpointing": True}), CPU)
    for network in (fast, again):
        loss(network, batch()).backward()
    gradients = [parameter.grad for network in (fast, again) for parameter in network.parameters()]
    for one, other in zip(gradients[: len(gradients) // 2], gradients[len(gradients) // 2 :], strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def curve(device, precision, steps):
    """Losses of a short training."""
    torch.manual_seed(0)
    network = CDDFuse(channels=16, heads=2, blocks=1, detail_nodes=1).to(device)
    settings = SETTINGS.model_copy(update={"precision": precision})
    prepare(network.children(), settings, device)
    optimizer = PartOptimizer(network, PHASES["reconstruction"].trains, settings.optimizer)
    losses = []
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        smooth = nn.functional.interpolate(torch.rand(4, 2, 8, 8, generator=generator), (32, 32), mode="bicubic")
        visible, infrared = smooth.clamp(0, 1).to(device).split(1, dim=1)
        optimizer.instance.zero_grad()
        value = loss(network, {"visible": visible, "infrared": infrared})
        value.backward()
        optimizer.clip()
        optimizer.instance.step()
        losses.append(value.item())
    return torch.tensor(losses)


def apart(device, steps):
    """Largest relative distance of the two loss curves, each smoothed over ten steps."""
    exact, half = (curve(device, precision, steps).unfold(0, 10, 1).mean(1) for precision in ("float32", "bfloat16"))
    return ((exact - half).abs() / exact).max().item()


def test_bfloat16_trains_as_float32_does():
    assert apart(CPU, 30) < 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_bfloat16_trains_as_float32_does_on_a_gpu():
    assert apart(torch.device("cuda"), 200) < 0.02
