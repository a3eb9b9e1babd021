"""The meta phase; its numbers are in the parity of SSDFusion's golden vector."""

import copy
import gc
import weakref

import pytest
import torch

from decofuse.models.meta import MetaNetwork, Teacher
from decofuse.models.ssdfusion import SSDFusion
from decofuse.models.ssdfusion_meta import META_WEIGHTS, fresh_modules, fuse_in_colour
from decofuse.segmentation.segnext import SegNeXt
from decofuse.training.meta import MetaTask, inner_steps, outer_gradient
from decofuse.training.meta_phase import meta_phase_terms

WEIGHTS = {"intensity": 1.0, "gradient": 10.0, "decomposition": 2.0, **META_WEIGHTS}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture
def segmentation():
    torch.manual_seed(0)
    return SegNeXt(3, widths=(4, 8, 8), depths=(1, 1, 1), ratios=(2, 2, 2), channels=32)


@pytest.fixture
def task(segmentation):
    network = SSDFusion(channels=8, heads=2, blocks=1, detail_nodes=1).eval()
    return MetaTask(network, fresh_modules(network, (4, 8, 8)), fuse_in_colour, Teacher(segmentation), WEIGHTS)


def batches(count, n=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        rgb, infrared = (torch.rand(n, channels, 32, 32, generator=generator, dtype=dtype) for channels in (3, 1))
        yield {"visible": rgb, "infrared": infrared, "label": (infrared > 0.8).long()}


def changed(module, before):
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def test_the_inner_phase_changes_the_meta_modules_and_batch_statistics_alone(task, segmentation):
    before = [copy.deepcopy(module.state_dict()) for module in (task.network, task.modules, segmentation)]
    # Steps as large as they come: those of the published size are below the resolution of float32.
    for step in inner_steps(task, batches(2), learning_rate=1.0, clip_norm=1.0):
        assert all(term.isfinite() for term in step.terms.values())
    of_network, of_modules = changed(task.network, before[0]), changed(task.modules, before[1])
    assert of_network and all(name.endswith(STATISTICS) for name in of_network)
    assert {name for name in task.network.state_dict() if name.endswith(STATISTICS)} == of_network
    trained = {".".join(name.split(".")[:2]) for name in of_modules if not name.endswith(STATISTICS)}
    assert trained == {f"{kind}.{i}" for kind in ("extractors", "transforms") for i in range(3)}
    assert not changed(segmentation, before[2])
    assert task.network.encoder.training and task.modules.training and not segmentation.training


def test_the_copy_follows_the_sum_of_the_gradients_and_is_dropped(task):
    task.network.double()
    task.modules.double()
    task.teach.segmentation.double()
    before = [parameter.detach().clone() for parameter in task.network.parameters()]
    sums = [torch.zeros_like(parameter) for parameter in before]
    for step in inner_steps(task, batches(3, dtype=torch.float64), learning_rate=1e-6, clip_norm=1e12):
        moved = [parameter.detach().clone() for parameter in step.copied.parameters()]
        gradients = [0 if parameter.grad is None else parameter.grad for parameter in task.network.parameters()]
        sums = [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
        dropped = weakref.ref(step.copied)
    for start, end, total in zip(before, moved, sums, strict=True):
        torch.testing.assert_close(end, start - 1e-6 * total)
    del step
    gc.collect()
    assert dropped() is None


def test_the_phase_goes_on_from_the_gradients_of_the_last_outer_step(task):
    batch = next(batches(1))
    outer_gradient(task, batch)
    left = {name: each.grad.clone() for name, each in task.network.named_parameters()}
    for _ in inner_steps(task, batches(1)):
        decoder = {name: each.grad for name, each in task.network.decoder.named_parameters()}
    assert all(torch.equal(gradient, left[f"decoder.{name}"]) for name, gradient in decoder.items())
    assert not torch.equal(task.network.encoder.embed.weight.grad, left["encoder.embed.weight"])


def test_memory_does_not_grow_with_the_number_of_steps(task):
    """After each step no graph is left, and no more tensors than after the one before."""
    saved, alive = weakref.WeakSet(), []

    class Saved:
        def __init__(self, tensor):
            self.tensor = tensor.detach()
            saved.add(self)

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda packed: packed.tensor):
        for _ in inner_steps(task, batches(4, n=1)):
            gc.collect()
            assert not saved
            alive.append(sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects()))
    assert len(set(alive[1:])) == 1


def test_the_outer_step_gives_gradients_to_the_network_alone(task, segmentation):
    for parameter in task.network.parameters():
        parameter.grad = torch.full_like(parameter, 1e9)
    terms = outer_gradient(task, next(batches(1)))
    assert terms.keys() == WEIGHTS.keys()
    assert all(each.grad is not None and each.grad.abs().max() < 1e8 for each in task.network.parameters())
    assert all(each.grad is None for module in (task.modules, segmentation) for each in module.parameters())


def test_the_training_loop_gives_the_network_the_gradient_of_the_outer_step(task):
    batch = next(batches(1))
    outer_gradient(task, batch)
    expected = {name: each.grad.clone() for name, each in task.network.named_parameters()}
    task.network.zero_grad(set_to_none=True)
    whole = MetaNetwork(task.network, task.modules, task.teach)
    terms = meta_phase_terms(whole, batch, task.fuse, WEIGHTS)
    sum(WEIGHTS[name] * term for name, term in terms.items()).backward()
    for name, each in task.network.named_parameters():
        torch.testing.assert_close(each.grad, expected[name], rtol=1e-4, atol=1e-6)


def test_the_meta_loss_does_not_reach_the_decoder(task):
    for step in inner_steps(task, batches(1)):
        norms = step.gradient_norms
    assert all(parameter.grad is None for parameter in task.network.decoder.parameters())
    assert norms.keys() == {f"{kind}.{i}" for kind in ("extractors", "transforms") for i in range(3)}
    assert all(norm > 0 for norm in norms.values())
