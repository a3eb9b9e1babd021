"""Probes that golden vectors of several methods share: features, gradient norms, and the pipeline around a network."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from decofuse.data.images import UInt8, grey_levels, luma
from decofuse.data.patches import corners, is_low_contrast_luma
from decofuse.fusing.postprocess import quantise, stretch, to_ycbcr
from decofuse.metrics import USUAL, fusion_metrics, score
from decofuse.models.method import Upstream
from decofuse.parity.golden import Array, Golden
from decofuse.parity.tolerance import Rule, absolute, pixels, relative
from decofuse.settings import PatchSettings, Section

CHANNEL_STEP, PIXEL_STEP = 8, 4  # of stored features
PATCHES = PatchSettings(size=8, stride=12)  # of the preprocessing check

PIPELINE_INPUTS = frozenset({"prep.rgb", "read.bgr", "eval.fi", "eval.ir", "eval.vi"})
PIPELINE_RULES = (
    Rule("prep.y", absolute(1e-7), absolute(1e-7)),
    Rule("prep.patches", absolute(0), absolute(0)),
    Rule("prep.low", absolute(0), absolute(0)),
    Rule("read.gray", pixels(0.01), pixels(0.01)),  # exact but for ties, about one colour in a thousand
    Rule("read.ycrcb", absolute(1e-4), absolute(1e-4)),
    Rule("eval.metrics", relative(1e-5), relative(1e-5)),
)


def feature(name: str, maps: Tensor) -> dict[str, Array]:
    """A feature map N×C×H×W thinned out, and its mean and population deviation a channel."""
    return {
        f"feat.{name}": maps[:, ::CHANNEL_STEP, ::PIXEL_STEP, ::PIXEL_STEP].numpy(),
        f"feat.{name}.cmean": maps.mean(dim=(0, 2, 3)).numpy(),
        f"feat.{name}.cstd": maps.std(dim=(0, 2, 3), correction=0).numpy(),
    }


@contextlib.contextmanager
def recorded(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Yield a mapping in which each module's latest output appears under its name, while the network runs."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: outputs.update({name: output})

    with contextlib.ExitStack() as stack:
        for name, module in modules.items():
            stack.callback(module.register_forward_hook(keep(name)).remove)
        yield outputs


def gradient_norms(prefix: str, network: nn.Module, golden: Golden, upstream: Upstream) -> dict[str, Array]:
    """L2 norm of the gradient of each part and of each of its tensors in the manifest's order; NaN without gradient.

    Buffers and tensors that upstream never uses have none.
    """
    norms: dict[str, Array] = {}
    for part, tensors in golden.shapes.items():
        each = tensor_norms(network, (upstream.translate(part, name) for name in tensors))
        norms[f"{prefix}.gradnorms.{part}"] = each
        norms[f"{prefix}.gradnorm.{part}"] = np.sqrt(np.nansum(each**2))
    return norms


def tensor_norms(network: nn.Module, names: Iterable[str | None]) -> Array:
    """L2 norm of the gradient of each tensor of these names; NaN where there is no such parameter or no gradient."""
    parameters = dict(network.named_parameters())
    gradients = [parameters[name].grad if name in parameters else None for name in names]
    return np.array([np.nan if g is None else torch.linalg.vector_norm(g).item() for g in gradients])


def backward(network: nn.Module, terms: Mapping[str, Tensor], weights: Section) -> Tensor:
    """The loss Σ weight · term; its gradient replaces the network's.

    Args:
        network: the network that the terms came from.
        terms: scalar terms by name.
        weights: a weight for each term, by the same names.
    """
    loss = torch.stack([weight * terms[name] for name, weight in weights.model_dump().items()]).sum()
    network.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss


def loss_values(prefix: str, loss: Tensor, terms: Mapping[str, Tensor], keys: Mapping[str, str]) -> dict[str, Array]:
    """The loss as `<prefix>.loss`, and those terms that `keys` names as `<prefix>.<keys[term]>`."""
    named = {"loss": loss, **{key: terms[name] for name, key in keys.items()}}
    return {f"{prefix}.{name}": value.detach().numpy() for name, value in named.items()}


def postprocess(fused: Tensor) -> dict[str, Array]:
    """The first of N×1×H×W fused images, stretched, and as 8 bits by both kinds of rounding."""
    levels = stretch(fused[:1].numpy())
    return {
        "post.minmax": levels,
        "post.u8_round": quantise(levels[0, 0], "half_down"),
        "post.u8_trunc": quantise(levels[0, 0], "truncate"),
    }


def pipeline(golden: Golden) -> dict[str, Array]:
    """Preprocessing, reading and metrics, as far as the vector has inputs for them.

    Raises:
        UserError: an input is not of the form.
    """
    found: dict[str, Array] = {}
    keys = golden.arrays.keys()
    if "prep.rgb" in keys:
        found["prep.y"] = luma(golden.array("prep.rgb", (None, None, 3), "u"))[None]
    if "prep.y" in keys:
        size = PATCHES.size
        y = golden.array("prep.y", (1, None, None), "f")[0]
        cut = [y[row : row + size, column : column + size] for row, column in corners(y.shape[0], y.shape[1], PATCHES)]
        found["prep.patches"] = np.array(cut).reshape(-1, size, size).transpose(1, 2, 0)[None]
        found["prep.low"] = np.array([is_low_contrast_luma(patch, PATCHES) for patch in cut])
    if "read.bgr" in keys:
        rgb = np.ascontiguousarray(golden.array("read.bgr", (None, None, 3), "u")[..., ::-1])
        channels = to_ycbcr(rgb)
        found["read.gray"] = grey_levels(rgb)
        found["read.ycrcb"] = channels[..., [0, 2, 1]] + np.array([0, 0.5, 0.5], np.float32)  # OpenCV's float offset
    if "eval.fi" in keys:
        found["eval.metrics"] = _metrics(
            *(golden.array(f"eval.{name}", (None, None), "u") for name in ("fi", "ir", "vi"))
        )
    return found


def _metrics(fused: UInt8, infrared: UInt8, visible: UInt8) -> Array:
    """The scores that CDDFuse's and FSIDFusion's evaluators print: those of the tables, then AG, CC and PSNR."""
    images = [torch.from_numpy(image)[None].double() for image in (fused, infrared, visible)]
    return np.array([value.item() for value in score(fusion_metrics([*USUAL, "AG", "CC", "PSNR"]), *images).values()])
