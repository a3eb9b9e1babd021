"""The meta phase of a round as a stage: its start, its inner phase, interruption, what stays frozen."""

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from decofuse.errors import UserError
from decofuse.models import cddfuse_meta, ssdfusion_meta
from decofuse.models.cddfuse import CDDFuse
from decofuse.models.registry.cddfuse import CDDFuseMeta
from decofuse.models.registry.ssdfusion import SSDFusionMeta
from decofuse.models.ssdfusion import SSDFusion
from decofuse.segmentation.segmenter import PHASE as SEGMENTATION
from decofuse.segmentation.segmenter import Segmenter
from decofuse.training import stage
from decofuse.training.checkpoint import WEIGHTS, Provenance, save_weights
from decofuse.training.meta_phase import MODULES, Method, inner_part, meta_job, start_of_meta
from decofuse.training.stage import train

CPU = torch.device("cpu")
SIZE = {"channels": 8, "heads": 2, "blocks": 1, "detail_nodes": 1}
METHODS = {
    "ssdfusion": (SSDFusion, ssdfusion_meta.META, SSDFusionMeta),
    "cddfuse": (CDDFuse, cddfuse_meta.META, CDDFuseMeta),
}
SEGNEXT = {"model": "segnext_t", "widths": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "ratios": (2, 2, 2, 2)} | {
    "channels": 32,
    "rank": 4,
}


@pytest.fixture
def place(tmp_path, labelled):
    """A dataset, a teacher, and weights that fuse, of both methods."""
    manifest = labelled(tmp_path, count=7, height=96, width=96)
    torch.manual_seed(0)
    teacher = tmp_path / "teacher.safetensors"
    network = {"classes": 3, "network": SEGNEXT}
    save_weights(teacher, Segmenter(**network).state_dict(), Provenance("segnext_t", SEGMENTATION, network, {}))
    for name, (build, _, _) in METHODS.items():
        about = Provenance(name, "fusion", SIZE, {"encoder": 3})
        save_weights(tmp_path / name / WEIGHTS, build(**SIZE).state_dict(), about)
    return tmp_path, manifest, teacher


def method(name):
    build, interface, _ = METHODS[name]
    return Method(name, build, SIZE, interface, ("fusion", "meta"))


def run(place, out, *, name="ssdfusion", start=None, states="states", number=1, log=lambda step, values: None, **given):
    folder, manifest, teacher = place
    values = {"epochs": 2, "batch_size": 2, "interval": 1, "held_out": 0.4, "data": {"size": 64}, **given}
    settings = METHODS[name][2].model_validate(values)
    job = meta_job(method(name), settings, teacher, 3, manifest, number, 0, "code")
    return train(
        job,
        data=[manifest],
        start=start or folder / name,
        out=folder / out,
        states=folder / states,
        device=CPU,
        log=log,
        save_every_s=0,
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_round_changes_the_network_and_lowers_the_meta_loss(place, name):
    folder, _, teacher = place
    before = teacher.read_bytes()
    adam = {"learning_rate": 1e-3, "clip_norm": 1.0}
    alone = {"intensity": 0.0, "gradient": 0.0, "decomposition": 0.0}
    row = run(place, "out", name=name, epochs=6, optimizer=adam, interval=5, learn_modules=True, weights=alone)
    assert teacher.read_bytes() == before
    tensors, started = load_file(folder / "out" / WEIGHTS), load_file(folder / name / WEIGHTS)
    assert tensors.keys() == started.keys() and any(not torch.equal(tensors[key], started[key]) for key in tensors)
    lines = [line.split(",") for line in (folder / "out" / "history.csv").read_text().splitlines()]
    losses = [float(line[lines[0].index("loss")]) for line in lines[1:]]  # of the meta terms alone
    assert losses[-1] < losses[0] and row["loss"] == pytest.approx(losses[-1])
    # An inner phase in the first and the sixth epoch, of as many steps as images are held out.
    steps = [line[lines[0].index("inner.steps")] for line in lines[1:]]
    assert [bool(step) for step in steps] == [True, False, False, False, False, True] and float(steps[0]) == 2


def test_precision_reaches_the_parts_of_the_fusion_network(place, monkeypatch):
    prepared = []
    monkeypatch.setattr(stage, "prepare", lambda parts, settings, device: prepared.extend(parts))
    run(place, "out", epochs=1)
    kinds = {type(part).__name__ for part in prepared}
    assert {"Encoder", "Decoder", "MetaModules", "Teacher"} <= kinds and "SSDFusion" not in kinds


def test_too_few_images_to_hold_one_out_are_refused(place):
    with pytest.raises(
        UserError, match=r"held_out = 0.1 is at least one, found 6; use more images or a larger held_out"
    ):
        run(place, "out", held_out=0.1)


def test_the_next_round_goes_on_from_the_one_before(place):
    folder = place[0]
    run(place, "first", epochs=1)
    run(place, "second", epochs=1, start=folder / "first", number=2)
    first, second = (load_file(folder / name / MODULES) for name in ("first", "second"))
    assert any(not torch.equal(first[key], second[key]) for key in first)  # meta modules are drawn anew


def test_the_start_fuses_as_the_phase_before(place):
    """Upstream's conversion from stage II to stage III keeps the tensors of the network under their names."""
    folder, _, teacher = place
    network = start_of_meta(method("ssdfusion"), teacher, 3, normalise=False, **SIZE)
    tensors = load_file(folder / "ssdfusion" / WEIGHTS)
    network.fusion.load_state_dict(tensors)
    plain = SSDFusion(**SIZE)
    plain.load_state_dict(tensors)
    pair = torch.rand(2, 1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(network.fusion.eval().fuse(*pair), plain.eval().fuse(*pair))
    assert {name.split(".")[0] for name in network.state_dict()} == {"fusion", "meta", "teacher"}
    assert network.train().fusion.training and not network.teacher.training
    assert not any(parameter.requires_grad for parameter in network.teacher.parameters())


def test_the_teacher_sees_raw_images_unless_told(place):
    _, _, teacher = place
    raw = start_of_meta(method("ssdfusion"), teacher, 3, normalise=False, **SIZE).teacher
    normalised = start_of_meta(method("ssdfusion"), teacher, 3, normalise=True, **SIZE).teacher
    segmenter = normalised.segmentation
    segmenter.mean.fill_(50.0)
    segmenter.std.fill_(20.0)
    rgb = torch.rand(1, 3, 64, 64)
    # The same maps, and the first reads what the second has made of its input.
    assert torch.equal(normalised(rgb)[0], raw((255 * rgb - 50.0) / 20.0)[0])
    assert not torch.equal(normalised(rgb)[0], raw(rgb)[0])


@pytest.mark.parametrize("stop_at", [1, 2, 5])
def test_interrupted_in_the_middle_it_ends_in_the_same_bits(place, stop_at):
    folder = place[0]
    run(place, "whole")

    def stop(step, values):
        if step == stop_at and "loss" in values:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(place, "cut", states="other", log=stop)
    run(place, "cut", states="other")
    for name in (WEIGHTS, MODULES, "history.csv"):
        assert (folder / "whole" / name).read_bytes() == (folder / "cut" / name).read_bytes(), name


def test_interrupted_in_an_inner_phase_it_ends_in_the_same_bits(place, monkeypatch):
    from decofuse.training import meta_phase

    folder = place[0]
    run(place, "whole")
    steps = meta_phase.inner_steps

    def cut(*arguments):
        for number, step in enumerate(steps(*arguments)):
            yield step
            if number == 0 and armed:
                raise KeyboardInterrupt

    monkeypatch.setattr(meta_phase, "inner_steps", cut)
    calls = []

    def arm(step, values):
        calls.append(step)
        armed.extend([True] if step == 3 else [])  # the first epoch has three steps

    armed: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        run(place, "cut", states="other", log=arm)
    armed.clear()
    run(place, "cut", states="other")
    for name in (WEIGHTS, MODULES, "history.csv"):
        assert (folder / "whole" / name).read_bytes() == (folder / "cut" / name).read_bytes(), name


def test_the_outer_steps_leave_the_meta_modules_alone_unless_told(place):
    folder = place[0]
    for learn in (False, True):
        run(place, f"learn-{learn}", epochs=2, interval=2, inner_learning_rate=1e-12, learn_modules=learn)
    fixed, learnt = (load_file(folder / f"learn-{learn}" / MODULES) for learn in (False, True))
    name = "transforms.0.mix.weight"
    torch.manual_seed(0)
    assert not torch.equal(fixed[name], learnt[name])


def test_inner_phases_use_the_larger_part_of_a_fixed_split():
    part, length = inner_part(10, 0.2)
    assert len(part) == 8 and length == 2 and part == inner_part(10, 0.2)[0]
    assert len(set(part)) == 8 and set(part) < set(range(10))


def test_a_teacher_of_other_classes_is_refused(place):
    folder, manifest, teacher = place
    job = meta_job(method("ssdfusion"), SSDFusionMeta(), teacher, 9, manifest, 1, 0, "code")
    with pytest.raises(UserError, match="expected a segmentation network for 9 classes, found one for 3"):
        train(job, data=[manifest], start=folder / "ssdfusion", out=folder / "x", states=folder, device=CPU, log=print)


def test_cddfuse_gives_the_terms_of_its_fusion_phase():
    torch.manual_seed(0)
    from decofuse.models import colour
    from decofuse.models.cddfuse import fusion_terms

    network = CDDFuse(**SIZE)
    batch = {"visible": torch.rand(1, 3, 32, 32), "infrared": torch.rand(1, 1, 32, 32)}
    fusion = cddfuse_meta.META.fuse(network, batch)
    luma = colour.split(batch["visible"])[0]
    expected = fusion_terms(network, {"visible": luma, "infrared": batch["infrared"]})
    assert fusion.terms.keys() == expected.keys()
    for name, term in expected.items():
        assert torch.equal(term, fusion.terms[name])
    assert fusion.rgb.shape == (1, 3, 32, 32) and fusion.details[0].shape == (1, 8, 32, 32)
    assert np.isfinite(fusion.rgb.detach().numpy()).all() and copy.copy(fusion) == fusion
