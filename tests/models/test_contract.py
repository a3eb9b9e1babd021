"""What holds for every registered method: the contract that training and fusing build on."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from decofuse import stages
from decofuse.cli.training import make_job
from decofuse.data.dataset import FUSION_TASKS
from decofuse.errors import UserError
from decofuse.models.method import Fuser
from decofuse.models.registry import METHODS
from decofuse.seeding import seed_for
from decofuse.training.checkpoint import OPTIMIZER, WEIGHTS, Provenance, fill_network, load_weights, save_weights
from decofuse.training.optimiser import PartOptimizer
from decofuse.training.stage import train

TRAINED = [(name, phase) for name, method in METHODS.items() for phase in method.phases]
CPU = torch.device("cpu")


def build(name, parameters):
    torch.manual_seed(0)
    method = METHODS[name]
    size = parameters["methods"][name].get("network", {})
    return getattr(importlib.import_module(method.module), method.network)(**size)


def images(network_name, n, h, w, seed=0):
    """Both sources as the method sees those of its first task."""
    generator = torch.Generator().manual_seed(seed)
    views = next(iter(METHODS[network_name].tasks.values()))
    channels = [3 if kind == "rgb" else 1 for kind in (views.source_a, views.source_b)]
    return [torch.rand(n, count, h, w, generator=generator) for count in channels]


def batch_of(job, folder, name, phase, count=4):
    """A batch of the phase's own samples, late in training, when every loss term counts."""
    file = "patches.h5" if METHODS[name].phases[phase].reads == "patches" else "manifest.csv"
    samples = job.samples(folder / file, "train", job.settings.data, 0, False)
    arrays = samples.batch(np.arange(min(count, len(samples))), 10**6)
    samples.close()
    return {key: torch.from_numpy(np.asarray(value)) for key, value in arrays.items()}


def loss_of(network, job, batch):
    torch.manual_seed(0)
    terms = job.declaration.terms(network, batch, **job.options)
    assert terms.keys() == job.weights.keys()
    assert all(term.shape == () and term.isfinite() for term in terms.values())
    return sum(job.weights[name] * term for name, term in terms.items())


@pytest.mark.parametrize("name", METHODS)
class TestFusing:
    @pytest.fixture
    def network(self, name, smoke):
        return build(name, smoke).eval()

    def test_it_is_a_fuser_that_declares_itself(self, name, network):
        method = METHODS[name]
        assert isinstance(network, Fuser)
        assert network.smallest >= 1
        assert method.tasks
        assert set(method.tasks) <= set(FUSION_TASKS)
        assert method.sizes
        assert not method.phases or (method.upstream and method.licence)

    @pytest.mark.parametrize("size", [(61, 83), (64, 64)])
    def test_any_size_is_kept_and_the_range_too(self, name, network, size):
        with torch.no_grad():
            fused = network.fuse(*images(name, 1, *size))
        assert fused.shape == (1, 1, *size)
        assert fused.dtype == torch.float32
        assert 0 <= fused.min() <= fused.max() <= 1

    def test_every_task_gives_what_it_declares(self, name, network):
        for views in METHODS[name].tasks.values():
            given = [torch.rand(1, 3 if kind == "rgb" else 1, 48, 56) for kind in (views.source_a, views.source_b)]
            with torch.no_grad():
                assert network.fuse(*given).shape == (1, 3 if views.fused == "rgb" else 1, 48, 56)

    def test_the_smallest_size(self, name, network):
        with torch.no_grad():
            fused = network.fuse(*images(name, 1, network.smallest, network.smallest))
        assert fused.shape[2:] == (network.smallest, network.smallest)
        assert fused.isfinite().all()

    def test_black_and_white_images(self, name, network):
        first, second = images(name, 1, 48, 48)
        with torch.no_grad():
            assert network.fuse(torch.zeros_like(first), torch.ones_like(second)).isfinite().all()

    def test_it_is_deterministic_and_leaves_its_inputs_alone(self, name, network):
        sources = images(name, 2, 48, 64)
        copies = [source.clone() for source in sources]
        with torch.no_grad():
            assert torch.equal(network.fuse(*sources), network.fuse(*sources))
        assert all(torch.equal(source, copy) for source, copy in zip(sources, copies, strict=True))

    def test_samples_of_a_batch_do_not_meet(self, name, network):
        sources = images(name, 2, 48, 64)
        with torch.no_grad():
            together = network.fuse(*sources)
            alone = network.fuse(*(source[1:] for source in sources))
        torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=0)

    def test_float64_is_close_to_float32(self, name, network):
        sources = images(name, 1, 48, 48)
        with torch.no_grad():
            single = network.fuse(*sources)
            double = network.double().fuse(*(image.double() for image in sources))
        assert double.dtype == torch.float64
        torch.testing.assert_close(single, double.float(), atol=1e-4, rtol=0)

    def test_saved_weights_give_the_same_network(self, name, network, smoke, tmp_path):
        if not METHODS[name].phases:
            pytest.skip("a fuser without training has no weights")
        phase = METHODS[name].last_phase
        save_weights(tmp_path / WEIGHTS, network.state_dict(), Provenance(name, phase, {}, {}))
        torch.manual_seed(1)
        size = smoke["methods"][name]["network"]
        other = getattr(importlib.import_module(METHODS[name].module), METHODS[name].network)(**size)
        fill_network(other, load_weights(tmp_path / WEIGHTS, name, phase)[0], tmp_path / WEIGHTS)
        sources = images(name, 1, 48, 48)
        with torch.no_grad():
            assert torch.equal(network.fuse(*sources), other.eval().fuse(*sources))

    def test_settings_have_a_section_a_phase(self, name, network):
        settings = METHODS[name].settings()
        phases = METHODS[name].phases
        assert all(hasattr(settings, phase) for phase in phases)
        if phases:
            assert list(importlib.import_module(METHODS[name].module).PHASES) == list(phases)


@pytest.mark.parametrize(("name", "phase"), TRAINED)
class TestTraining:
    @pytest.fixture
    def job(self, name, phase, smoke):
        return make_job(name, phase, stages.train(smoke, name, phase))

    @pytest.fixture
    def network(self, name, job, smoke):
        network = build(name, smoke)
        for part, child in network.named_children():
            child.requires_grad_(part in job.declaration.trains)
        return network

    def test_gradients_reach_what_trains_and_nothing_else(self, name, phase, job, network, training_data):
        children = [part for part, _ in network.named_children()]
        assert set(job.declaration.trains) <= set(children)
        assert {part.partition(".")[0] for part, _ in network.named_parameters()} <= set(children)
        with torch.no_grad():  # a weight that starts at zero hides what lies behind it
            for parameter in network.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        loss_of(network, job, batch_of(job, training_data, name, phase)).backward()
        reached = []
        for parameter_name, parameter in network.named_parameters():
            if parameter_name.partition(".")[0] in job.declaration.trains:
                assert parameter.grad is not None, parameter_name
                assert parameter.grad.isfinite().all(), parameter_name
                reached.append(bool(parameter.grad.any()))
            else:
                assert parameter.grad is None, parameter_name
        # A few may be exactly zero: behind a clamp, or the common offset of a softmax.
        assert np.mean(reached) > 0.85

    def test_the_loss_falls_on_four_pairs(self, name, phase, job, network, training_data):
        batch = batch_of(job, training_data, name, phase)
        settings = job.settings.optimizer.model_copy(update={"learning_rate": 1e-3, "clip_norm": 1.0})
        optimizer = PartOptimizer(network, job.declaration.trains, settings, job.declaration.joint)
        losses = []
        for _ in range(12):
            optimizer.instance.zero_grad()
            loss = loss_of(network, job, batch)
            loss.backward()
            optimizer.clip()
            optimizer.instance.step()
            losses.append(loss.item())
        assert min(losses[-3:]) < losses[0]

    def test_same_seed_same_weights_and_another_run_of_the_stage(
        self, name, phase, job, network, training_data, tmp_path
    ):
        job = replace(job, settings=job.settings.model_copy(update={"epochs": 1}))
        file = "patches.h5" if METHODS[name].phases[phase].reads == "patches" else "manifest.csv"
        start = self.before(job, network, tmp_path)
        for out in ("first", "second"):
            train(
                job,
                data=[training_data / file],
                start=start,
                out=tmp_path / out,
                states=tmp_path / "states",
                device=CPU,
                log=lambda *_: None,
            )
        assert (tmp_path / "first" / WEIGHTS).read_bytes() == (tmp_path / "second" / WEIGHTS).read_bytes()
        tensors, about = load_weights(tmp_path / "first" / WEIGHTS, name, phase)
        assert {part: about.epochs[part] for part in job.declaration.trains} == dict.fromkeys(job.declaration.trains, 1)
        changed = {
            key.partition(".")[0] for key, value in network.state_dict().items() if not value.equal(tensors[key])
        }
        if start:
            statistics = {key.partition(".")[0] for key, _ in network.named_buffers()}
            assert changed - statistics <= set(job.declaration.trains)
            assert changed

    def test_weights_of_another_phase_or_method_are_refused(self, name, phase, job, network, training_data, tmp_path):
        if job.declaration.previous is None:
            pytest.skip("a first phase starts from nothing")
        file = "patches.h5" if METHODS[name].phases[phase].reads == "patches" else "manifest.csv"
        for method, wrong in ((name, phase), ("average", job.declaration.previous)):
            start = self.before(job, network, tmp_path, Provenance(method, wrong, {}, {}))
            with pytest.raises(UserError, match=f"expected weights of {name} after {job.declaration.previous}, found"):
                train(
                    job,
                    data=[training_data / file],
                    start=start,
                    out=tmp_path / "out",
                    states=tmp_path / "states",
                    device=CPU,
                    log=lambda *_: None,
                )
        assert not (tmp_path / "out").exists()

    def before(self, job, network, folder, about=None):
        """A folder as the phase before leaves it, with the initial weights; None for a first phase."""
        previous = job.declaration.previous
        if previous is None:
            return None
        with torch.random.fork_rng():
            torch.manual_seed(seed_for(job.seed, job.method, "initial weights"))
            network.load_state_dict(job.build(**job.network).state_dict())
        about = about or Provenance(job.method, previous, job.network, {})
        save_weights(folder / "before" / WEIGHTS, network.state_dict(), about)
        save_weights(folder / "before" / OPTIMIZER, {"none": torch.zeros(1)}, about)
        return folder / "before"
