"""Groups of AdamW, and the schedule of segmentation networks."""

import pytest
import torch
from torch import nn

from decofuse.models.method import Custom
from decofuse.segmentation.segnext import SegNeXt
from decofuse.settings import AdamSettings, AdamWSettings, LinearPolySchedule
from decofuse.training.optimiser import PartOptimizer, learning_rate


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.ModuleDict({"head": nn.Linear(2, 2), "norm": nn.BatchNorm1d(2), "body": nn.Linear(2, 2)})


CUSTOM = Custom(head=("head",), undecayed=("norm",))


def test_the_head_is_faster_and_norms_are_not_decayed():
    network = Small()
    optimizer = PartOptimizer(network, ["network"], AdamWSettings(weight_decay=0.1), joint=True, custom=CUSTOM)
    optimizer.set_rates({"network": 1e-3})
    of = {}
    for group in optimizer.instance.param_groups:
        for parameter in group["params"]:
            of[optimizer.names[parameter]] = (group["lr"], group["weight_decay"])
    assert of["network.head.weight"] == of["network.head.bias"] == (pytest.approx(1e-2), 0.1)
    assert of["network.norm.weight"] == of["network.norm.bias"] == (1e-3, 0.0)
    assert of["network.body.weight"] == (1e-3, 0.1)


def test_a_step_is_that_of_torch_with_the_groups_of_mmsegmentation():
    torch.manual_seed(0)
    network = Small()
    twin = Small()
    twin.load_state_dict(network.state_dict())
    ours = PartOptimizer(network, ["network"], AdamWSettings(learning_rate=1e-2), joint=True, custom=CUSTOM)
    ours.set_rates({"network": 1e-2})
    parts = twin.network
    theirs = torch.optim.AdamW(
        [
            {"params": parts["body"].parameters(), "lr": 1e-2},
            {"params": parts["head"].parameters(), "lr": 1e-1},
            {"params": parts["norm"].parameters(), "lr": 1e-2, "weight_decay": 0.0},
        ],
        weight_decay=0.01,
    )
    for each in (network, twin):
        sum(parameter.square().sum() for parameter in each.parameters()).backward()
    ours.instance.step()
    theirs.step()
    for name, value in network.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name


def test_adam_knows_no_particular_parameters():
    optimizer = PartOptimizer(Small(), ["network"], AdamSettings(), joint=True, custom=CUSTOM)
    assert len(optimizer.instance.param_groups) == 1


def test_segnext_decays_what_mmsegmentation_decays():
    """There the stem's batch norms lie in a sequence called proj, and the head's group norms are called gn."""
    network = nn.ModuleDict({"network": SegNeXt(9, depths=(1, 1, 1, 1))})
    custom = Custom(SegNeXt.head_names, SegNeXt.undecayed)
    optimizer = PartOptimizer(network, ["network"], AdamWSettings(), joint=True, custom=custom)
    undecayed = {
        optimizer.names[parameter].removeprefix("network.")
        for group in optimizer.instance.param_groups
        if group["weight_decay"] == 0
        for parameter in group["params"]
    }
    assert "backbone.stages.1.embed.1.weight" in undecayed
    assert "backbone.stages.0.norm.weight" in undecayed
    assert "backbone.stages.0.blocks.0.norm1.weight" in undecayed
    assert not any(name.startswith(("head", "backbone.stages.0.embed")) for name in undecayed)


def test_warm_up_is_linear_and_the_decay_may_end_beyond_the_last_step():
    settings, schedule = AdamWSettings(learning_rate=6e-5), LinearPolySchedule()
    assert learning_rate(settings, schedule, 0, 0, 24_000) == pytest.approx(6e-11)
    assert learning_rate(settings, schedule, 0, 750, 24_000) == pytest.approx(3e-5, rel=1e-5)
    assert learning_rate(settings, schedule, 0, 1500, 24_000) == pytest.approx(6e-5)
    # "lr then still 86 % of the peak"
    assert learning_rate(settings, schedule, 0, 23_999, 24_000) / 6e-5 == pytest.approx(0.86, abs=0.005)
    to_zero = LinearPolySchedule(end=None)
    assert learning_rate(settings, to_zero, 0, 24_000, 24_000) == 0
