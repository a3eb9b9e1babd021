"""PSFusion's golden vector: its form, and what this project computes for each of its keys."""

import itertools
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from decofuse.errors import UserError
from decofuse.fusing.postprocess import quantise
from decofuse.models import colour
from decofuse.models.psfusion import PHASES, UPSTREAM, Outputs, PSFusion, fusion_terms, joint_terms
from decofuse.models.registry.psfusion import PSFusionJoint
from decofuse.parity.golden import Array, Golden, fill
from decofuse.parity.probes import backward, recorded, tensor_norms
from decofuse.parity.psfusion_functions import FUNCTION_INPUTS, FUNCTION_RULES, functions, require
from decofuse.parity.tolerance import Rule, absolute, either, of_largest, pixels, relative
from decofuse.training.optimiser import WHOLE, PartOptimizer, learning_rate

NAMES = ("probe_names", "train_loss_names", "train_grad_names", "train_gamma_names")
BATCH = {
    "visible": "train_vi",
    "infrared": "train_ir",
    "mask": "train_mask",
    "label": "train_label",
    "binary": "train_bi",
    "boundary": "train_bd",
}
INPUTS = frozenset(
    {"vi", "ir", "train_ohem_n_min", "train_ohem_thresh", "optim_it0_maxiter", *NAMES, *BATCH.values()}
    | FUNCTION_INPUTS
)
SMALLEST = 32  # image sides are multiples of it
UPDATES = 3
SETTINGS = PSFusionJoint()
PROBES = {  # key after "probe_" -> upstream's module, step of stored channels and of stored pixels
    "high_fuse6": ("high_fuse6", 1, 1),
    "high_fuse5": ("high_fuse5", 1, 1),
    "high_fuse4": ("high_fuse4", 4, 1),
    "low_fuse3": ("low_fuse3", 8, 2),
    "low_fuse2": ("low_fuse2", 8, 4),
    "low_fuse1": ("low_fuse1", 8, 8),
    "SIM1": ("SIM1", 8, 4),
    "SIM2": ("SIM2", 8, 8),
    "SIM3": ("SIM3", 8, 8),
    "rec_decoder": ("rec_decoder", 8, 8),
    "seg_rec_decoder": ("seg_rec_decoder", 8, 8),
    "pred_vi_mask": ("pred_vi.mask", 8, 8),
    "pred_ir_mask": ("pred_ir.mask", 8, 8),
    "seg_decoder": ("seg_decoder", 8, 2),
    "to_fused_seg_3": ("to_fused_seg.3", 8, 2),
    "encoder_rgb_layer6": ("encoder_rgb_layer6", 16, 1),
    "encoder_thermal_layer6": ("encoder_thermal_layer6", 16, 1),
}
BATCH_NORMS = {
    "encoder_rgb_bn1": "encoder_rgb_bn1",
    "seg_rec_decoder_block4_1": "seg_rec_decoder.block4.1",
    "pred_ir_mask_conv_block": "pred_ir.mask.conv_block",
    "low_fuse1_obj_fuse_Recalibrate_2": "low_fuse1.obj_fuse.Recalibrate.2",
}
LOSSES = {  # upstream's name -> the terms whose weighted sum it is
    "seg_group": ("semantic", "binary", "boundary"),
    "fusion": ("correlation", "gradient", "intensity"),
    "fusion_corrected": ("correlation", "gradient", "intensity_corrected"),
    "re_vi": ("l1_visible", "gradient_visible"),
    "re_ir": ("l1_infrared", "gradient_infrared"),
    "total": tuple(type(SETTINGS.weights).model_fields),
}
TERMS = {  # upstream's name -> the term that it is, not weighted
    "seg": "semantic",
    "binary": "binary",
    "boundary": "boundary",
    "fusion_int": "intensity",
    "fusion_int_corrected": "intensity_corrected",
    "fusion_grad": "gradient",
    "fusion_corr": "correlation",
    "re_vi_int": "l1_visible",
    "re_vi_grad": "gradient_visible",
    "re_ir_int": "l1_infrared",
    "re_ir_grad": "gradient_infrared",
}


def rules(golden: Golden) -> tuple[Rule, ...]:
    """Tolerances of all keys, the first match counts.

    Arrays of the evaluation were computed by upstream in float32; hence their wide float64 bounds. In float32 the
    gradients of a training pass, and losses after updates, are uncertain by percents, as some batch norms see no more
    than one value a sample.
    """
    same = {
        "eval_semantic*": absolute(1e-5),
        "eval_binary*": absolute(1e-5),
        "eval_boundary*": absolute(1e-5),
        "eval_fused_rgb_u8": pixels(0.005),
        "eval_fused_rgb*": absolute(1e-4),
        "eval_*": absolute(5e-5),
        "probe_stats": either(absolute(1e-4), relative(1e-3)),
        "probe_high_fuse*": absolute(1e-5),
        "probe_low_fuse*": absolute(1e-5),
        "probe_SIM*": absolute(2e-3),
        **{f"probe_{key}": absolute(5e-4) for key in ("rec_decoder", "seg_rec_decoder", "pred_??_mask")},
        "probe_*": absolute(5e-5),
        "train_loss_f32": relative(2e-4),
        "train_grad_norm_f32": relative(3e-2),
        "optim_lr": relative(1e-12),
    }
    return (
        *(Rule(pattern, tolerance, tolerance) for pattern, tolerance in same.items()),
        *FUNCTION_RULES,
        Rule("train_loss_f64", relative(2e-4), relative(1e-7)),
        Rule("train_grad_norm_f64", relative(3e-2), relative(1e-6)),
        Rule("train_grad_gamma_f64", of_largest(3e-2), relative(1e-6)),
        Rule("train_grad_pred_fusion_weight_f64", of_largest(3e-2), either(absolute(1e-7), relative(1e-6))),
        Rule("train_bn_*", absolute(1e-5), relative(1e-9)),
        Rule("train_*_f64", absolute(5e-3), absolute(1e-6)),
        Rule("optim_total_f64", relative(5e-2), relative(1e-5)),
        Rule("optim_param_sqnorm_f64", relative(1e-5), relative(1e-10)),
    )


def probe(golden: Golden, dtype: torch.dtype) -> dict[str, Array]:
    """Compute every key of the vector, in `dtype`.

    Raises:
        UserError: the inputs or the manifest are not of PSFusion's form.
    """
    network = build(golden, dtype)
    return {**_evaluation(golden, network, dtype), **_training(golden, network, dtype), **functions(golden, dtype)}


def build(golden: Golden, dtype: torch.dtype) -> PSFusion:
    """The network of the manifest's sizes and weights.

    Raises:
        UserError: the manifest is not PSFusion's.
    """
    tensors = golden.shapes.get("", {})
    try:
        blocks = [
            sum(name.startswith(f"encoder_rgb_layer{stage}.") and name.endswith(".conv1.weight") for name in tensors)
            for stage in (3, 4, 5, 6)
        ]
        with torch.device("meta"):
            network = PSFusion(
                channels=tensors["encoder_rgb_bn1.weight"][0],
                blocks=blocks,
                classes=tensors["classfier.semantic_conv2.weight"][0],
            )
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"{golden.manifest}: expected PSFusion's manifest, found another; give psfusion.json"
        ) from error
    golden.load(network, UPSTREAM, dtype)
    return network


def _evaluation(golden: Golden, network: PSFusion, dtype: torch.dtype) -> dict[str, Array]:
    """Outputs and features in evaluation mode."""
    visible, infrared = _image(golden, "vi", 3, dtype), _image(golden, "ir", 1, dtype)
    _same_size(golden, visible, infrared)
    names = [str(name) for name in golden.array("probe_names", (None,), "U")]
    wanted = dict.fromkeys([*names, *(module for module, _, _ in PROBES.values())])
    modules = {name: network.get_submodule(_path(golden, network, name)) for name in wanted}
    with torch.no_grad(), recorded(modules) as maps:
        out = network.eval()(visible, infrared)
    rgb = colour.join(out.fused, colour.split(visible)[1])
    stats = [(m.mean(), m.std(correction=0), m.min(), m.max()) for m in (maps[name] for name in names)]
    return {
        **_thinned("eval", out, {"semantic": 4, "binary": 2, "boundary": 2, "fused": 1, "visible": 1, "infrared": 1}),
        "eval_fused_rgb_s2": rgb[:, :, ::2, ::2].numpy(),
        "eval_fused_rgb_u8": quantise(rgb.permute(0, 2, 3, 1).numpy(), "truncate"),
        "probe_stats": np.array(stats),
        **{f"probe_{key}": maps[name][:, ::c, ::step, ::step].numpy() for key, (name, c, step) in PROBES.items()},
    }


def _training(golden: Golden, network: PSFusion, dtype: torch.dtype) -> dict[str, Array]:
    """One pass forward and backward in training mode, then updates on the same batch."""
    batch = _batch(golden, network, dtype)
    network.train()
    with recorded({"outputs": network}) as outputs:
        terms = _terms(golden, network, batch)
    out = outputs["outputs"]
    assert isinstance(out, Outputs)  # noqa: S101 - what PSFusion returns
    total = backward(network, terms, SETTINGS.weights)
    luma, _ = colour.split(batch["visible"])
    corrected = fusion_terms(luma, batch["infrared"], out.fused, batch["mask"], intensity_mask="infrared")["intensity"]
    values = {name: term.item() for name, term in {**terms, "intensity_corrected": corrected}.items()}
    steps = {"semantic": 8, "binary": 4, "boundary": 4, "fused": 2, "visible": 4, "infrared": 4}
    detached = Outputs._make(tensor.detach() for tensor in out)
    return {
        **{f"{key}_f64": array for key, array in _thinned("train", detached, steps).items()},
        **_losses(golden, values),
        **_gradients(golden, network),
        **{f"train_bn_{key}": _statistics(golden, network, name) for key, name in BATCH_NORMS.items()},
        **_updates(golden, network, batch, total.item()),
    }


def _terms(golden: Golden, network: PSFusion, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    threshold, pixels = (
        float(golden.array("train_ohem_thresh", (), "f")),
        int(golden.array("train_ohem_n_min", (), "i")),
    )
    require(golden, 0 < threshold < 1 and pixels > 0, "train_ohem_thresh in (0, 1) and a positive train_ohem_n_min")
    return joint_terms(
        network,
        batch,
        hard_threshold=threshold,
        hard_pixels=pixels,
        binary_weights=[float(np.float32(weight)) for weight in SETTINGS.binary_weights],  # upstream's precision
        intensity_mask="visible",
    )


def _losses(golden: Golden, values: Mapping[str, float]) -> dict[str, Array]:
    """The losses in the vector's order; NaN for a name that is unknown."""
    weights = {**SETTINGS.weights.model_dump(), "intensity_corrected": SETTINGS.weights.intensity}
    known = {name: values[term] for name, term in TERMS.items()} | {
        name: sum(weights[term] * values[term] for term in terms) for name, terms in LOSSES.items()
    }
    found = np.array([known.get(str(name), np.nan) for name in golden.array("train_loss_names", (None,), "U")])
    return {"train_loss_f64": found, "train_loss_f32": found}


def _gradients(golden: Golden, network: PSFusion) -> dict[str, Array]:
    """Gradient norms of upstream's top-level modules, and some gradients themselves."""
    tensors = golden.shapes[""]
    norms = []
    for group in golden.array("train_grad_names", (None,), "U"):
        ours = [UPSTREAM.translate("", name) for name in tensors if name.startswith(f"{group}.")]
        norms.append(np.sqrt(np.nansum(tensor_norms(network, ours) ** 2)))
    parameters = dict(network.named_parameters())
    scales = [
        parameters.get(UPSTREAM.translate("", str(name)) or "")
        for name in golden.array("train_gamma_names", (None,), "U")
    ]
    weight = network.fused_head.output.weight.grad
    return {
        "train_grad_norm_f64": np.array(norms),
        "train_grad_norm_f32": np.array(norms),
        "train_grad_gamma_f64": np.array([np.nan if s is None or s.grad is None else s.grad.item() for s in scales]),
        "train_grad_pred_fusion_weight_f64": np.empty(0) if weight is None else weight.numpy().copy(),
    }


def _statistics(golden: Golden, network: PSFusion, name: str) -> Array:
    """Running mean and variance of a batch norm, 2×C."""
    norm = network.get_submodule(_path(golden, network, name))
    return torch.stack((norm.get_buffer("running_mean"), norm.get_buffer("running_var"))).numpy()


def _updates(golden: Golden, network: PSFusion, batch: Mapping[str, Tensor], total: float) -> dict[str, Array]:
    """Updates from the gradients that the network holds: learning rates, losses and the norm of all parameters.

    What upstream stores and never trains counts in the norm with its unchanged values.
    """
    first, steps = (int(value) for value in golden.array("optim_it0_maxiter", (2,), "i"))
    require(golden, first >= 0 and SETTINGS.schedule.warmup_steps < steps >= first + UPDATES, "steps of a schedule")
    optimizer = PartOptimizer(network, PHASES["joint"].trains, SETTINGS.optimizer, joint=True)
    rates, totals = [], [total]
    for step in range(first, first + UPDATES):
        rates.append(learning_rate(SETTINGS.optimizer, SETTINGS.schedule, 0, step, steps))
        optimizer.set_rates({WHOLE: rates[-1]})
        optimizer.instance.step()
        totals.append(backward(network, _terms(golden, network, batch), SETTINGS.weights).item())
    unused = (
        fill(name, shape)
        for name, shape in golden.shapes[""].items()
        if UPSTREAM.translate("", name) is None and name.endswith((".weight", ".bias"))
    )
    squares = itertools.chain(
        (parameter.detach().double().square().sum().item() for parameter in network.parameters()),
        (np.square(values, dtype=np.float64).sum() for values in unused),
    )
    return {
        "optim_lr": np.array(rates),
        "optim_total_f64": np.array(totals),
        "optim_param_sqnorm_f64": np.array(sum(squares)),
    }


def _thinned(prefix: str, out: Outputs, steps: Mapping[str, int]) -> dict[str, Array]:
    """The network's outputs under the vector's names, with every so many pixels of rows and columns."""
    found = {}
    for name, step in steps.items():
        theirs = {"visible": "re_vi", "infrared": "re_ir"}.get(name, name)
        key = f"{prefix}_{theirs}" + (f"_s{step}" if step > 1 else "")
        found[key] = getattr(out, name)[:, :, ::step, ::step].numpy()
    return found


def _path(golden: Golden, network: PSFusion, name: str) -> str:
    """This project's name of upstream's module; `[0]` and `[1]` are the outputs of a stem's two halves."""
    path = UPSTREAM.translate("", name.replace("[0]", ".SFEB1").replace("[1]", ".SFEB2"))
    if path not in dict(network.named_modules()) or not path:
        raise UserError(f"{golden.vector}: expected names of PSFusion's modules, found {name}; get the file again")
    return path


def _batch(golden: Golden, network: PSFusion, dtype: torch.dtype) -> dict[str, Tensor]:
    """The training batch, checked."""
    batch = {key: _image(golden, name, 3 if key == "visible" else 1, dtype) for key, name in list(BATCH.items())[:3]}
    for key, name in list(BATCH.items())[3:]:
        label = torch.from_numpy(golden.array(name, (None, 1, None, None), "u").astype(np.int64))
        require(golden, key == "label" or int(label.max()) <= 1, f"0 and 1 in {name}")
        batch[key] = label
    _same_size(golden, *batch.values())
    require(golden, len(batch["label"]) > 1, "two training samples at least")
    return {key: values[:, 0] if values.dtype == torch.int64 else values for key, values in batch.items()}


def _image(golden: Golden, key: str, channels: int, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(golden.array(key, (None, channels, None, None), "f")).to(dtype)


def _same_size(golden: Golden, *images: Tensor) -> None:
    sizes = {(len(image), *image.shape[-2:]) for image in images}
    fits = len(sizes) == 1 and all(side % SMALLEST == 0 for size in sizes for side in size[1:])
    require(golden, fits, f"as many images of each kind, of one size, multiples of {SMALLEST}")
