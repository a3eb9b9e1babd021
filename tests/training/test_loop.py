"""The loop: schedule, clipping, frozen parts, interruption, divergence."""

import numpy as np
import pytest
import torch
from torch import nn

from decofuse.errors import UserError
from decofuse.settings import (
    AdamSettings,
    CosineSchedule,
    MilestoneSchedule,
    PhaseSettings,
    PolySchedule,
    SGDSettings,
    StepSchedule,
)
from decofuse.training.checkpoint import ResumeState
from decofuse.training.loop import Task, run
from decofuse.training.optimiser import PartOptimizer, learning_rate


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


class Moody(Toy):
    """Random in training, and with batch statistics."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(self.first, nn.BatchNorm2d(2), nn.Dropout(0.3))


class Noise:
    def __init__(self, count, stop_at=None, random=False):
        self.values = np.random.default_rng(0).random((count, 1, 8, 8), dtype=np.float32)
        self.asked, self.stop_at, self.random = 0, stop_at, random

    def __len__(self):
        return len(self.values)

    def batch(self, indices, step, first=0):
        self.asked += 1
        if self.asked == self.stop_at:
            raise KeyboardInterrupt
        brightness = np.random.default_rng(step).random(dtype=np.float32) if self.random else np.float32(1)
        return {"visible": self.values[indices] * brightness}

    def close(self):
        pass


def terms(network, batch):
    error = network(batch["visible"]) - batch["visible"]
    return {"square": error.square().mean(), "absolute": error.abs().mean()}


SETTINGS = PhaseSettings(
    epochs=3,
    batch_size=4,
    optimizer=AdamSettings(learning_rate=1e-2, clip_norm=0.5),
    schedule=StepSchedule(step_epochs=2, factor=0.1),
)


def start(
    tmp_path,
    *,
    parts=("first", "second"),
    stop_at=None,
    settings=SETTINGS,
    loss=terms,
    before=None,
    build=Toy,
    joint=False,
    smallest=1,
):
    torch.manual_seed(0)
    network = build()
    for name, part in network.named_children():
        part.requires_grad_(name in parts)
    task = Task(
        network,
        loss,
        {"square": 1.0, "absolute": 0.5},
        settings,
        Noise(10, stop_at, random=build is Moody),
        Noise(3),
        (0, "m", "p"),
        before or {},
        smallest,
    )
    optimizer = PartOptimizer(network, parts, settings.optimizer, joint)
    return task, optimizer, ResumeState(tmp_path / "state")


def trained(tmp_path, **kwargs):
    task, optimizer, resume = start(tmp_path, **kwargs)
    resume.folder.mkdir(parents=True, exist_ok=True)
    logged = []
    rows, _ = run(task, optimizer, resume, lambda step, values: logged.append((step, values)), save_every_s=0)
    return task.network, optimizer, rows, logged


def test_the_loss_falls_and_every_step_is_logged(tmp_path):
    _, _, rows, logged = trained(tmp_path)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    steps = [step for step, values in logged if "loss" in values]
    assert steps == list(range(1, 10))  # 10 samples in batches of 4: three steps an epoch, the last one short
    assert {"lr.first", "gradient_norm.first", "samples_per_s"} <= set(logged[0][1])


def test_a_row_is_the_mean_of_its_epoch(tmp_path):
    _, _, rows, logged = trained(tmp_path)
    means = [np.mean([values["loss"] for step, values in logged if "loss" in values][i : i + 3]) for i in (0, 3, 6)]
    assert [row["loss"] for row in rows] == pytest.approx(means)
    assert rows[0]["loss"] == pytest.approx(rows[0]["square"] + 0.5 * rows[0]["absolute"])
    assert rows[0]["val.loss"] == pytest.approx(rows[0]["val.square"] + 0.5 * rows[0]["val.absolute"])


SGD = SETTINGS.model_copy(
    update={"optimizer": SGDSettings(learning_rate=1e-2), "schedule": PolySchedule(warmup_steps=3, warmup_rate=1e-3)}
)


@pytest.mark.parametrize("stop_at", [1, 2, 4, 6, 9])
@pytest.mark.parametrize(("build", "settings"), [(Toy, SETTINGS), (Moody, SETTINGS), (Moody, SGD)])
def test_interrupted_at_any_step_ends_in_the_same_bits(tmp_path, stop_at, build, settings):
    """Whatever torch's generator did before: what is random in a step depends on the step alone."""
    whole, whole_optimizer, whole_rows, _ = trained(tmp_path / "whole", build=build, settings=settings)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", stop_at=stop_at, build=build, settings=settings)
    torch.rand(stop_at)
    network, optimizer, rows, _ = trained(tmp_path / "cut", build=build, settings=settings)
    assert rows == whole_rows
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(value, whole_optimizer.tensors()[name]) for name, value in optimizer.tensors().items())


def test_frozen_parts_keep_every_bit(tmp_path):
    torch.manual_seed(0)
    fresh = Toy().state_dict()
    network, _, _, _ = trained(tmp_path, parts=("second",))
    changed = {
        name.split(".")[0] for name, value in network.state_dict().items() if not torch.equal(value, fresh[name])
    }
    assert changed == {"second"}


def test_each_part_is_clipped_by_itself(tmp_path):
    task, optimizer, _ = start(tmp_path)
    values = terms(task.network, {"visible": torch.ones(2, 1, 8, 8) * 100})
    values["square"].backward()
    norms = optimizer.clip()
    for part, norm in norms.items():
        after = torch.linalg.vector_norm(
            torch.cat([p.grad.flatten() for p in task.network.get_submodule(part).parameters()])
        )
        assert norm > 0.5
        assert after.item() == pytest.approx(0.5, rel=1e-3)


def test_a_joint_optimiser_clips_as_a_whole(tmp_path):
    task, optimizer, _ = start(tmp_path, joint=True)
    terms(task.network, {"visible": torch.ones(2, 1, 8, 8) * 100})["square"].backward()
    assert list(optimizer.clip()) == ["network"]
    gradients = [parameter.grad.flatten() for parameter in task.network.parameters()]
    assert torch.linalg.vector_norm(torch.cat(gradients)).item() == pytest.approx(0.5, rel=1e-3)


def test_without_a_limit_nothing_is_clipped(tmp_path):
    settings = SETTINGS.model_copy(update={"optimizer": AdamSettings(clip_norm=None)})
    task, optimizer, _ = start(tmp_path, settings=settings)
    terms(task.network, {"visible": torch.ones(2, 1, 8, 8) * 100})["square"].backward()
    before = [parameter.grad.clone() for parameter in task.network.parameters()]
    assert all(norm > 0.5 for norm in optimizer.clip().values())
    assert all(torch.equal(p.grad, kept) for p, kept in zip(task.network.parameters(), before, strict=True))


def test_a_last_batch_that_is_too_small_is_left_out(tmp_path):
    _, _, _, logged = trained(tmp_path, smallest=3)
    assert [step for step, values in logged if "loss" in values] == list(range(1, 7))
    with pytest.raises(UserError, match=r"training m\.p: expected at least 5 samples a step, found 10 in all"):
        trained(tmp_path / "none", smallest=5)


def test_validation_sees_the_network_in_evaluation_mode_and_leaves_it_in_training(tmp_path):
    modes = []

    def watching(network, batch):
        modes.append((network.training, torch.is_grad_enabled()))
        return terms(network, batch)

    network, _, _, _ = trained(tmp_path, loss=watching, build=Moody)
    assert set(modes) == {(True, True), (False, False)}
    assert network.training


@pytest.mark.parametrize("schedule", [MilestoneSchedule(milestones=(2, 5), factor=0.1), CosineSchedule(floor=1e-5)])
def test_schedules_are_torchs(schedule):
    settings = AdamSettings(learning_rate=0.1)
    adam = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=0.1)
    if isinstance(schedule, MilestoneSchedule):
        reference = torch.optim.lr_scheduler.MultiStepLR(adam, [2, 5], 0.1)
    else:
        reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(adam, 1, 2, eta_min=1e-5)
    for epoch in range(20):
        assert learning_rate(settings, schedule, epoch) == pytest.approx(adam.param_groups[0]["lr"])
        adam.step()
        reference.step()


def test_the_polynomial_schedule_warms_up_and_ends_at_zero():
    settings, schedule = SGDSettings(learning_rate=1e-3), PolySchedule(warmup_steps=10, warmup_rate=1e-5, power=0.9)
    rates = [learning_rate(settings, schedule, 0, step, 110) for step in (0, 5, 10, 60, 110)]
    assert rates == [pytest.approx(rate) for rate in (1e-5, 1e-4, 1e-3, 1e-3 * 0.5**0.9, 0.0)]


def test_one_adam_with_groups_equals_one_adam_a_part(tmp_path):
    """The reference is torch's own: an optimiser, a clipping and a schedule for each part."""
    network, _, _, _ = trained(tmp_path)
    torch.manual_seed(0)
    reference = Toy()
    parts = [reference.first, reference.second]
    adams = [torch.optim.Adam(part.parameters(), lr=1e-2) for part in parts]
    schedules = [torch.optim.lr_scheduler.StepLR(adam, 2, 0.1) for adam in adams]
    data = Noise(10)
    from decofuse.seeding import epoch_order

    for epoch in range(3):
        order = epoch_order(10, 0, "m", "p", epoch)
        for first in range(0, 10, 4):
            for adam in adams:
                adam.zero_grad()
            values = terms(reference, {"visible": torch.from_numpy(data.values[order[first : first + 4]])})
            (values["square"] + 0.5 * values["absolute"]).backward()
            for part, adam in zip(parts, adams, strict=True):
                nn.utils.clip_grad_norm_(part.parameters(), 0.5)
                adam.step()
        for schedule in schedules:
            schedule.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, reference.state_dict()[name], rtol=1e-5, atol=1e-7)


def test_rates_go_on_from_earlier_phases(tmp_path):
    """CDDFuse, specification section 5: 40 epochs halve the encoder's rate twice before phase II begins."""
    optimizer, schedule = AdamSettings(), StepSchedule()
    rates = [learning_rate(optimizer, schedule, epochs) for epochs in (0, 19, 20, 40, 60, 119)]
    assert rates == [1e-4, 1e-4, 5e-5, 2.5e-5, 1.25e-5, 3.125e-6]
    assert learning_rate(optimizer, schedule, 10_000) == 1e-6
    _, _, rows, _ = trained(tmp_path, before={"first": 4})
    assert (rows[0]["lr.first"], rows[0]["lr.second"]) == (pytest.approx(1e-4), 1e-2)


def test_moments_of_an_earlier_phase_are_taken_over(tmp_path):
    _, optimizer, _, _ = trained(tmp_path, parts=("first",))
    _, later, _ = start(tmp_path / "later")
    later.load_tensors(optimizer.tensors())
    assert {name for name in later.tensors() if name.startswith("first.")} == set(optimizer.tensors())
    assert not [name for name in later.tensors() if name.startswith("second.")]
    assert later.tensors()["first.weight.step"].item() == 9


def test_divergence_stops_with_one_line_and_keeps_the_last_good_state(tmp_path):
    steps = []

    def diverging(network, batch):
        if torch.is_grad_enabled():
            steps.append(1)
        return {
            name: value * (float("nan") if len(steps) == 5 else 1.0) for name, value in terms(network, batch).items()
        }

    with pytest.raises(UserError, match=r"^training m\.p: loss is nan at step 5.*is kept in .*lower learning rate$"):
        trained(tmp_path, loss=diverging)
    kept = ResumeState(tmp_path / "state").load()
    assert kept["step"] == 4
    assert all(value.isfinite().all() for value in kept["network"].values())
