"""SegNeXt's block; its numbers are in the parity of the methods that have it."""

import pytest
import torch

from decofuse.models.msca import DropPath, MSCABlock


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    kept = DropPath(0.25)(torch.ones(4000, 2, 3, 1)).flatten(1)
    assert torch.equal(kept.amin(dim=1), kept.amax(dim=1))
    torch.testing.assert_close(kept.unique(), torch.tensor([0, 4 / 3]))
    assert kept.mean().item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("drop", [DropPath(0.0).train(), DropPath(0.9).eval()])
def test_without_drop_path_nothing_is_drawn(drop):
    branch, state = torch.rand(3, 2), torch.get_rng_state()
    assert torch.equal(drop(branch), branch)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_impossible_probabilities_are_refused(probability):
    with pytest.raises(ValueError, match=r"drop path: expected a probability in \[0, 1\)"):
        MSCABlock(4, ratio=2, drop_path=probability)


def test_a_dropped_block_is_the_identity():
    torch.manual_seed(0)
    block = MSCABlock(4, ratio=2, drop_path=0.999)
    features = torch.rand(2, 4, 5, 7)
    assert torch.equal(block(features), features)
    assert not torch.equal(block.eval()(features), features)
