"""Published weights and resume states: whole, checked, untrusted."""

import pickle
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from decofuse.errors import UserError
from decofuse.training.checkpoint import Provenance, ResumeState, fill_network, load_weights, save_weights

ABOUT = Provenance("cddfuse", "fusion", {"channels": 8}, {"encoder": 3})


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(path, torch.nn.Linear(2, 3).state_dict(), ABOUT)
    return path


def test_round_trip_keeps_every_bit_and_the_provenance(tmp_path):
    layer = torch.nn.Linear(2, 3)
    save_weights(tmp_path / "w.safetensors", layer.state_dict(), ABOUT)
    tensors, about = load_weights(tmp_path / "w.safetensors", "cddfuse", "fusion")
    assert about == ABOUT
    assert all(torch.equal(tensors[name], value) for name, value in layer.state_dict().items())


def test_same_content_gives_same_bytes(tmp_path):
    state = torch.nn.Linear(2, 3).state_dict()
    for name in ("a", "b"):
        save_weights(tmp_path / f"{name}.safetensors", state, ABOUT)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("method", "phase", "message"),
    [
        ("psfusion", "fusion", "expected weights of psfusion after fusion, found cddfuse after fusion"),
        ("cddfuse", "reconstruction", "expected weights of cddfuse after reconstruction, found cddfuse after fusion"),
    ],
)
def test_weights_of_another_method_or_phase_are_refused(weights, method, phase, message):
    with pytest.raises(UserError, match=message):
        load_weights(weights, method, phase)


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(UserError, match="no such file; train first"):
        load_weights(path, "m", "p")
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match="damaged or foreign"):
        load_weights(path, "m", "p")
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="of another origin"):
        load_weights(path, "m", "p")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("bias"), "bias is missing"),
        (lambda state: state.update(extra=torch.zeros(1)), "extra is not known"),
        (lambda state: state.update(bias=torch.zeros(4)), r"bias has shape \(4,\), expected \(3,\)"),
        (lambda state: state.update(bias=torch.full((3,), float("nan"))), "bias holds values that are not finite"),
    ],
)
def test_a_network_is_filled_as_a_whole_or_not_at_all(tmp_path, change, message):
    network, state = torch.nn.Linear(2, 3), {k: v.clone() for k, v in torch.nn.Linear(2, 3).state_dict().items()}
    before = {name: value.clone() for name, value in network.state_dict().items()}
    change(state)
    with pytest.raises(UserError, match=message):
        fill_network(network, state, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_resume_state_that_would_run_code_is_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return (print, ("attacked",))

    state = ResumeState(tmp_path)
    torch.save({"x": Attack()}, state.path)
    with pytest.raises(UserError, match="resume state is damaged"):
        state.load()


def test_two_processes_cannot_train_the_same_thing(tmp_path):
    code = (
        "import pathlib, sys; from decofuse.training.checkpoint import ResumeState\n"
        "with ResumeState(pathlib.Path(sys.argv[1])).lock(): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process trains the same thing"), ResumeState(tmp_path).lock():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with ResumeState(tmp_path).lock():
        pass
