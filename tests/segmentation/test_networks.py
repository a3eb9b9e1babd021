"""The contract of every segmentation network, and pretrained backbones."""

import re
import subprocess
import sys

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file
from torch import nn

from decofuse.errors import UserError
from decofuse.segmentation.encoder_decoder import UNet
from decofuse.segmentation.pretrained import load_backbone
from decofuse.segmentation.registry import SEGMENTERS, Network, build
from decofuse.segmentation.segformer import SegFormer
from decofuse.segmentation.segnext import UPSTREAM

SMALL = {
    "segnext_t": {
        "widths": (4, 8, 8, 16),
        "depths": (1, 1, 2, 1),
        "ratios": (2, 2, 2, 2),
        "channels": 32,
        "rank": 4,
        "bases": "fixed",
    },
    "segformer_b0": {"widths": (4, 8, 10, 16), "depths": (1, 1, 2, 1), "heads": (1, 2, 5, 4), "decoder": 16},
    "unet": {"encoder": "test_resnet", "decoder": (16, 8, 8, 8, 4)},
    "small_unet": {"widths": (4, 8, 8, 8, 16)},
}
PARAMETERS = {
    "segnext_t": (3_903_584, 323_593),
    "segformer_b0": (3_319_392, 397_065),
    "unet": (11_176_512, 3_152_857),
    "small_unet": (187_920, 152_537),
}
STRIDES = (4, 8, 16, 32)

every_network = pytest.mark.parametrize("model", SEGMENTERS)


def make(model, seed=0, classes=3, **options):
    torch.manual_seed(seed)
    return build(classes, {"model": model, "weights": "", **SMALL[model], **options})


def images(n=2, h=64, w=96):
    return torch.rand(n, 3, h, w, generator=torch.Generator().manual_seed(1))


def in_head(network, name):
    return any(part in name for part in network.head_names)


def backbone(network):
    return {name: tensor for name, tensor in network.state_dict().items() if not in_head(network, name)}


def check_shapes(network, classes, h, w):
    image = images(2, h, w)
    with torch.no_grad():
        maps, logits = network.features(image), network(image)
    assert [tuple(each.shape) for each in maps] == [
        (2, channels, h // stride, w // stride) for channels, stride in zip(network.channels, STRIDES, strict=True)
    ]
    assert logits.shape == (2, classes, h, w)
    assert logits.dtype == torch.float32 and logits.isfinite().all()


def test_each_has_a_small_size_here():
    assert list(SMALL) == list(PARAMETERS) == list(SEGMENTERS)


@every_network
@pytest.mark.parametrize(("h", "w"), [(32, 96), (64, 64), (160, 32)])
def test_shapes_at_a_small_size(model, h, w):
    check_shapes(make(model).eval(), 3, h, w)


@every_network
def test_defaults_of_the_section_build_the_published_size(model):
    network = build(9, SEGMENTERS[model].settings().model_dump(mode="json"))
    assert type(network).__name__ == SEGMENTERS[model].network
    given = [(in_head(network, name), parameter.numel()) for name, parameter in network.named_parameters()]
    assert tuple(sum(n for head, n in given if head is part) for part in (False, True)) == PARAMETERS[model]
    check_shapes(network.eval(), 9, 32, 96)


@every_network
def test_parameters_are_a_backbone_and_a_head(model):
    network = make(model)
    assert [name for name, _ in network.named_children()] == ["backbone", "head"]
    assert all(in_head(network, name) is name.startswith("head.") for name, _ in network.named_parameters())


@every_network
def test_training_reaches_every_tensor(model):
    options = {} if model.endswith("unet") else {"drop_path": 0.0, "dropout": 0.0}
    network = make(model, **options).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # timm starts the last of a block at 0
    nn.functional.cross_entropy(network(images(4)), torch.zeros(4, 64, 96, dtype=torch.int64)).backward()
    # A softmax over keys does not see what all keys have in common.
    parameters = {name: p for name, p in network.named_parameters() if not name.endswith("k_proj.bias")}
    assert not [name for name, p in parameters.items() if p.grad is None or not p.grad.any()]


@every_network
def test_features_pass_a_gradient_to_the_image(model):
    image = images().requires_grad_()
    for features in make(model).eval().features(image):
        # Of normalised maps the sum, and that of squares, is the same for every image.
        (gradient,) = torch.autograd.grad(features.pow(3).sum(), image, retain_graph=True)
        assert gradient.any()


@every_network
def test_a_seed_decides_everything(model):
    one, same, other = make(model), make(model), make(model, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))
    results = []
    for network in (one, same):
        torch.manual_seed(2)
        results.append(network.train()(images()))
    assert torch.equal(*results)
    with torch.no_grad():
        one.eval()
        assert torch.equal(one(images()), one(images()))


@every_network
def test_norms_are_not_decayed(model):
    """SegNeXt apart, whose stem mmsegmentation decays, all norms of a backbone and nothing else."""
    network = build(9, {"model": model})
    norms = (nn.LayerNorm, nn.BatchNorm2d, nn.GroupNorm)
    expected = {
        f"{name}.{kind}"
        for name, module in network.named_modules()
        if isinstance(module, norms) or "norm" in type(module).__name__.lower()
        for kind, _ in module.named_parameters(recurse=False)
        if not in_head(network, name) and not (model == "segnext_t" and ".stages.0.embed." in name)
    }
    names = {name for name, _ in network.named_parameters() if not in_head(network, name)}
    found = {name for name in names if any(part in name for part in network.undecayed)}
    # A norm of ours may hold its parameters in a child.
    assert found == {name for name in names if name.rpartition(".")[0] in {e.rpartition(".")[0] for e in expected}}
    assert found


def test_undecayed_of_segnext_are_those_that_mmsegmentation_calls_norm():
    network = build(9, {"model": "segnext_t"})
    called_norm = {
        name
        for name, _ in network.named_parameters()
        if "norm" in segnext_upstream(name) and not in_head(network, name)
    }
    undecayed = {
        name
        for name, _ in network.named_parameters()
        if any(part in name for part in network.undecayed) and not in_head(network, name)
    }
    assert undecayed == called_norm


@every_network
def test_the_section_is_told_by_its_model(model):
    section = TypeAdapter(Network).validate_python({"model": model})
    assert section == SEGMENTERS[model].settings()


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"model": "deeplab"}, "segnext_t"),
        ({"model": "segnext_t", "channels": 40}, "multiple of 32"),
        ({"model": "segnext_t", "widths": (3, 8, 8, 16)}, "must be even"),
        ({"model": "segnext_t", "depths": (0, 1, 1, 1)}, "greater than or equal to 1"),
        ({"model": "segformer_b0", "heads": (1, 2, 3, 8)}, "not multiples of heads"),
        ({"model": "segformer_b0", "rank": 4}, "rank"),
        ({"model": "small_unet", "widths": (8, 8, 8, 8)}, "widths"),
        ({"model": "unet", "encoder": "mit_b0"}, "may be used commercially, found mit_b0"),
    ],
)
def test_wrong_sections_are_refused(wrong, problem):
    with pytest.raises(ValidationError, match=problem):
        TypeAdapter(Network).validate_python(wrong)


@pytest.mark.parametrize("encoder", ["mit_b0", "tu-mit_b5"])
def test_encoders_that_may_not_be_used_commercially_are_refused(encoder):
    with pytest.raises(ValueError, match=f"^unet: .* found {encoder}, whose licence forbids it; [^\n]*$"):
        UNet(3, encoder=encoder)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"encoder": "resnet"}, "expected an encoder of timm"),
        ({"encoder": "hf-hub:timm/resnet18.a1_in1k"}, "expected an encoder of timm"),
        ({"encoder": "swin_tiny_patch4_window7_224"}, "takes images of any size"),
        ({"encoder": "vit_tiny_patch16_224"}, "expected an encoder"),
        ({"decoder": (8, 8)}, "five widths of the decoder"),
    ],
)
def test_wrong_arguments_of_the_unet_are_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        UNet(3, **options)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"widths": (8, 8)}, "four levels"),
        ({"decoder": 0}, "at least 1 each"),
        ({"heads": (1, 2, 3, 8)}, "multiples of heads"),
        ({"drop_path": 1.0}, r"probabilities in \[0, 1\)"),
    ],
)
def test_wrong_arguments_of_segformer_are_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        SegFormer(3, **options)


def test_the_unet_takes_an_encoder_without_a_map_at_half_the_size():
    torch.manual_seed(0)
    network = UNet(3, encoder="test_convnext", decoder=(16, 8, 8, 8, 4))
    check_shapes(network.eval(), 3, 32, 64)


def test_the_registry_is_cheap_to_import():
    code = (
        "import sys, decofuse.segmentation.registry; print(sorted({'torch', 'timm', 'transformers'} & {*sys.modules}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_building_says_nothing_and_reaches_no_network():
    code = """
import socket
def refuse(*_, **__): raise AssertionError("network")
socket.socket.connect = socket.getaddrinfo = refuse
from decofuse.segmentation.registry import SEGMENTERS, build
for name in SEGMENTERS: build(3, {"model": name})
"""
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


# Pretrained backbones


def segnext_upstream(name):
    """mmsegmentation's name of one of our tensors."""
    dotted = f".{name}."
    for theirs, ours in reversed(UPSTREAM.names.items()):
        dotted = dotted.replace(f".{ours}.", f".{theirs}.")
    return dotted.strip(".")


def library_tensors(model, network, folder):
    """The backbone's tensors as the library names them in its files, and some of a head."""
    own = backbone(network)
    if model == "segnext_t":
        return {segnext_upstream(name).removeprefix("backbone."): t for name, t in own.items()} | {
            "head.weight": torch.ones(5, 16)
        }
    if model == "segformer_b0":
        from safetensors.torch import load_file
        from transformers.utils import logging

        logging.disable_progress_bar()
        network.backbone.save_pretrained(folder)
        return load_file(folder / "model.safetensors") | {"classifier.weight": torch.ones(5, 16)}
    if model == "small_unet":
        return own | {"head.classify.weight": torch.ones(5, 4, 1, 1)}
    import timm

    whole = timm.create_model(SMALL["unet"]["encoder"])
    whole.load_state_dict({name.removeprefix("backbone.model."): t for name, t in own.items()}, strict=False)
    return whole.state_dict()


@pytest.fixture
def given(model, tmp_path):
    """A network, and the file of another one's backbone."""
    source = make(model, seed=1)
    tensors = library_tensors(model, source, tmp_path / "library")
    path = tmp_path / "backbone.safetensors"
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    return make(model), source, tensors, path


def assert_loaded(network, source, before):
    after, expected = network.state_dict(), backbone(source)
    assert all(torch.equal(after[name], tensor) for name, tensor in expected.items())
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items() if name not in expected)


def copied(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@every_network
def test_a_backbone_comes_back_from_a_file_in_the_library_s_names(model, given):
    network, source, tensors, path = given
    before = copied(network)
    assert model == "small_unet" or not any(name in before for name in tensors)  # its library is this one
    load_backbone(network, path)
    assert_loaded(network, source, before)


@every_network
def test_half_precision_and_files_without_counters_will_do(given):
    network, source, tensors, path = given
    halves = {n: t.half() if t.is_floating_point() else t for n, t in tensors.items() if "num_batches" not in n}
    save_file({name: tensor.contiguous().clone() for name, tensor in halves.items()}, path)
    load_backbone(network, path)
    for name, tensor in backbone(source).items():
        if "num_batches" not in name:
            assert torch.equal(network.state_dict()[name], tensor.half().float())


@pytest.mark.parametrize("model", ["segnext_t"])
def test_a_whole_network_of_mmsegmentation_gives_its_backbone(given):
    network, source, _, path = given
    save_file({segnext_upstream(name): tensor.clone() for name, tensor in source.state_dict().items()}, path)
    before = copied(network)
    load_backbone(network, path)
    assert_loaded(network, source, before)


@pytest.mark.parametrize("model", ["segformer_b0"])
@pytest.mark.parametrize("whole", [True, False])
def test_names_of_the_modules_of_transformers_will_do(given, whole):
    network, source, _, path = given
    own = {name.removeprefix("backbone."): tensor.clone() for name, tensor in backbone(source).items()}
    if whole:
        own = {f"segformer.{name}": tensor for name, tensor in own.items()}
    save_file(own | {"decode_head.classifier.bias": torch.ones(7)}, path)
    before = copied(network)
    load_backbone(network, path)
    assert_loaded(network, source, before)


def test_flattened_sequences_of_timm_are_found(tmp_path):
    import timm

    torch.manual_seed(1)
    whole = timm.create_model("test_convnext")
    save_file(whole.state_dict(), tmp_path / "encoder.safetensors")
    network = UNet(3, encoder="test_convnext", decoder=(16, 8, 8, 8, 4))
    load_backbone(network, tmp_path / "encoder.safetensors")
    image = images(1, 32, 64)
    with torch.no_grad():
        assert torch.equal(network.eval().features(image)[-1], whole.eval().forward_intermediates(image)[1][-1])


def break_missing(tensors, name):
    del tensors[name]


def break_extra(tensors, name):
    tensors["surplus.weight"] = torch.ones(2)


def break_shape(tensors, name):
    tensors[name] = torch.ones(3, 5, 7)


def break_kind(tensors, name):
    tensors[name] = tensors[name].long()


def break_values(tensors, name):
    tensors[name] = torch.full_like(tensors[name], float("nan"))


@every_network
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (break_missing, "is missing"),
        (break_extra, r"surplus\.weight is not known"),
        (break_shape, r"has shape \(3, 5, 7\), expected \("),
        (break_kind, r"holds torch\.int64, expected torch\.float32"),
        (break_values, "holds values that are not finite"),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(given, spoil, problem):
    network, _, tensors, path = given
    name = next(n for n in tensors if n.endswith("weight") and n in tensors and network.given_name(n))
    tensors = dict(tensors)
    spoil(tensors, name)
    save_file({n: tensor.contiguous().clone() for n, tensor in tensors.items()}, path)
    before = copied(network)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: [^\n]*{problem}[^\n]*; [^\n]*$") as caught:
        load_backbone(network, path)
    if spoil in (break_shape, break_kind, break_values):
        assert name in str(caught.value)
    assert all(torch.equal(before[n], tensor) for n, tensor in network.state_dict().items())


@pytest.mark.parametrize("model", ["segformer_b0"])
def test_a_tensor_that_is_there_twice_is_refused(given):
    network, _, tensors, path = given
    twice = {n: t.contiguous().clone() for n, t in tensors.items()}
    name = next(n for n in twice if n.startswith("encoder."))
    save_file({**twice, f"segformer.{name}": twice[name].clone()}, path)
    with pytest.raises(UserError, match="once, found"):
        load_backbone(network, path)


def test_files_of_another_kind_are_refused(tmp_path):
    network = make("segnext_t")
    with pytest.raises(UserError, match="found no such file"):
        load_backbone(network, tmp_path / "none.safetensors")
    torch.save(network.state_dict(), tmp_path / "pickled.pth")
    (tmp_path / "empty.safetensors").touch()
    for path in (tmp_path / "pickled.pth", tmp_path / "empty.safetensors", tmp_path):
        with pytest.raises(UserError, match=r"expected a safetensors file, found [^\n]*$"):
            load_backbone(network, path)
