"""How a batch is shared among processes; trainings in several are in tests/test_cli.py."""

import pytest
import torch
from torch import nn

from decofuse.training.parallel import ALONE, Group


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("samples", [1, 2, 7, 16])
@pytest.mark.parametrize("smallest", [1, 2])
def test_parts_cover_a_batch_once_and_none_is_too_small(count, samples, smallest):
    parts = [Group(rank, count).part(samples, smallest) for rank in range(count)]
    counted = [number for part, share in parts if share for number in range(samples)[part]]
    assert counted == list(range(samples))
    assert sum(share for _, share in parts) == pytest.approx(1)
    assert all(len(range(samples)[part]) >= min(smallest, samples) for part, _ in parts)


def test_a_process_by_itself_changes_nothing():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    loss = network(torch.rand(2, 1, 3, 3)).square().sum()
    loss.backward()
    before = [parameter.grad.clone() for parameter in network.parameters()]
    assert ALONE.average(network, {"loss": loss}, 1.0) == {"loss": loss.item()}
    assert all(torch.equal(a, b.grad) for a, b in zip(before, network.parameters(), strict=True))
