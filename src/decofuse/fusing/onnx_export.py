"""Export of a fuser to ONNX; what is written gives what PyTorch gives, on a real pair of images."""

import contextlib
import logging
import operator
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import onnx
import onnx_ir
import onnxruntime  # type: ignore[import-untyped]
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from onnxscript import opset18
from torch import Tensor, nn

from decofuse import __version__
from decofuse.data.images import Float32, Pixels
from decofuse.errors import UserError
from decofuse.files import atomic
from decofuse.fusing.fuse import Sources
from decofuse.fusing.image_fuser import ImageFuser
from decofuse.fusing.views import view
from decofuse.models.method import Fuser
from decofuse.settings import Colour

Axis = Literal["batch", "height", "width"]
AXES: tuple[Axis, ...] = ("batch", "height", "width")

OPSET = 18  # the first one with antialiased resizing
TOLERANCE = 1 / 2550  # largest difference to PyTorch that is accepted, of values in [0, 1]: a tenth of an 8-bit level
LIMIT = 2**31 - 2**24  # of the tensors [bytes]: a protobuf message has less than 2 GiB, and the graph comes on top
INPUTS = ("source_a", "source_b")

_SEEN: Mapping[Colour, str] = {
    "grey": "N x 1 x H x W: 0.299 R + 0.587 G + 0.114 B rounded to a level (ties to even), over the largest level",
    "luma": "N x 1 x H x W: 0.299 R + 0.587 G + 0.114 B of levels over the largest level, not rounded",
    "rgb": "N x 3 x H x W: R, G, B over the largest level; a grey image three times",
}
_ROUNDED = {
    "half_down": "floor(255 x + 0.499999999)",
    "nearest": "255 x rounded to nearest, ties to even",
    "truncate": "floor(255 x)",
}
_COLOURED = {
    "opencv": "from a colour source, Cb = 0.564 (B - Y) and Cr = 0.713 (R - Y) beside the fused levels as Y, inverted "
    "exactly; from two, their means weighted by magnitude",
    "clamped": "from a colour source over its largest level, Cb = 0.564 (B - Y) + 0.5 and Cr = 0.713 (R - Y) + 0.5 "
    "kept in [0, 1], beside x as Y before rounding; from two, their means weighted by the distance from 0.5",
}


class _Fusing(nn.Module):
    """`fuse` as the forward pass, which is what is exported."""

    def __init__(self, network: Fuser) -> None:
        super().__init__()
        self.network = network

    def forward(self, source_a: Tensor, source_b: Tensor) -> Tensor:
        return self.network.fuse(source_a, source_b)


def export_onnx(
    fuser: ImageFuser, sources: Sources, axes: Sequence[Axis], about: Mapping[str, str], out: Path
) -> float:
    """Write what a fuser's network computes as one ONNX file, after ONNX Runtime gave the same as PyTorch on the CPU.

    The model has inputs `source_a` and `source_b` (float32 in [0, 1], N×C×H×W as the fuser's views say) and the output
    `fused` (float32 in [0, 1], N×1×H×W luma or N×3×H×W RGB). Its metadata (keys `decofuse.…`) say where it is from,
    how its inputs are made and what becomes of its output. Where axes are open, a smaller part of the pair is compared
    too; the file's bytes depend on the weights and the fixed axes alone.

    Args:
        fuser: the method, on the CPU.
        sources: registered pair to compare on, H×W (grey) or H×W×3 (RGB), uint8 or uint16, of one size.
        axes: axes that stay open; the others are those of `sources` as a batch of one.
        about: metadata beside those of the fuser, by key without prefix.
        out: file to write.

    Returns:
        The largest absolute difference of a fused value to PyTorch's.

    Raises:
        UserError: the pair is too small, the network has too many parameters for one file or cannot be exported, the
            model differs from PyTorch by more than TOLERANCE, or the file cannot be written.
    """
    checks = _checks(fuser, sources, axes)
    model = _converted(fuser.network, _example(checks[0], fuser.network.smallest, axes), axes)
    named = _named(axes, sources[0].shape[:2])
    _fits(model, out)
    content = _finished(model, fuser, named, about)
    difference = max(_difference(content, fuser.network, check, out) for check in checks)
    if not difference <= TOLERANCE:
        raise UserError(
            f"{out}: not written, as expected at most {TOLERANCE:.1g} between ONNX Runtime and PyTorch, found "
            f"{difference:.2g} (of values in [0, 1]); the method cannot be exported with these versions of the two"
        )
    try:
        with atomic(out) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"{out}: could not be written ({error.strerror}); check the folder and free space") from error
    return difference


def _checks(fuser: ImageFuser, sources: Sources, axes: Sequence[Axis]) -> list[tuple[Float32, Float32]]:
    """Inputs to compare on: the pair, and where axes are open a smaller part of it, mirrored too in a batch of two."""
    colours = (fuser.views.source_a, fuser.views.source_b)
    first, second = (_channels_first(image, colour) for image, colour in zip(sources, colours, strict=True))
    height, width = first.shape[2:]
    if not axes:
        return [(first, second)]
    smallest = fuser.network.smallest
    rows, columns = (max(smallest, min(side * 2 // 3 | 1, side - 1)) for side in (height, width))
    if rows >= height or columns >= width:
        raise UserError(
            f"expected sides above {smallest} pixels, so that a smaller size can be compared too, found "
            f"{width}x{height}; give a larger pair"
        )
    parts = [image[..., :rows, :columns] for image in (first, second)]
    if "batch" in axes:
        parts = [np.concatenate((part, part[..., ::-1])) for part in parts]
    return [(first, second), (np.ascontiguousarray(parts[0]), np.ascontiguousarray(parts[1]))]


def _channels_first(image: Pixels, colour: Colour) -> Float32:
    """1×C×H×W as the network is to see the image."""
    seen = view(image, colour)
    return np.ascontiguousarray(seen[None] if seen.ndim == 2 else np.moveaxis(seen, -1, 0))[None]


def _example(pair: tuple[Float32, Float32], smallest: int, axes: Sequence[Axis]) -> tuple[Tensor, Tensor]:
    """What the network is traced with; of an open axis the size does not matter, but it decides at branches.

    Odd sides are no multiples of what a network pads or resizes to, so that the branch is kept that does so; it changes
    nothing where a side is such a multiple. Two images a batch, as a size of 1 would be taken for a constant.
    """
    of_open = {"batch": 2, "height": (smallest + 76) | 1, "width": (smallest + 106) | 1}

    def example(image: Float32) -> Tensor:
        n, channels, height, width = image.shape
        fixed = {"batch": n, "height": height, "width": width}
        size = {axis: of_open[axis] if axis in axes else fixed[axis] for axis in AXES}
        return torch.zeros(size["batch"], channels, size["height"], size["width"])

    return example(pair[0]), example(pair[1])


def _floor_division(dividend: Any, divisor: Any) -> Any:
    """⌊a / b⌋ of sizes: the exporter's own one is right for a ≥ 0 alone, and networks round up by -(-a // b)."""
    return opset18.Div(opset18.Sub(dividend, opset18.Mod(dividend, divisor)), divisor)


def _converted(network: Fuser, example: tuple[Tensor, Tensor], axes: Sequence[Axis]) -> onnx_ir.Model:
    open_axes = {place: axis for place, axis in zip((0, 2, 3), AXES, strict=True) if axis in axes}
    try:
        with _silence(), torch.no_grad():
            program = torch.onnx.export(
                _Fusing(network).eval(),
                example,
                dynamo=True,
                input_names=INPUTS,
                output_names=["fused"],
                opset_version=OPSET,
                dynamic_shapes=(open_axes, open_axes) if axes else None,
                custom_translation_table={operator.floordiv: _floor_division},
                verbose=False,
            )
    except Exception as error:  # torch and onnxscript raise many types
        raise UserError(
            f"{type(network).__name__}: expected a network that torch.onnx can export, found: {_reason(error)}; "
            "use the versions of requirements.lock"
        ) from error
    return cast(torch.onnx.ONNXProgram, program).model


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep exporter and tracer from explaining themselves on stdout, on stderr, in warnings and in logs."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            Path(os.devnull).open("w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _fits(model: onnx_ir.Model, out: Path) -> None:
    total = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    if total > LIMIT:
        raise UserError(
            f"{out}: expected tensors of at most {LIMIT / 2**30:.2f} GiB, which one ONNX file holds, found "
            f"{total / 2**30:.2f} GiB; use a smaller network"
        )


def _named(axes: Sequence[Axis], size: tuple[int, ...]) -> dict[str, str | int]:
    """Each axis with its size, an open one with its name."""
    fixed = dict(zip(AXES, (1, *size), strict=True))
    return {axis: axis if axis in axes else fixed[axis] for axis in AXES}


def _finished(
    model: onnx_ir.Model, fuser: ImageFuser, named: Mapping[str, str | int], about: Mapping[str, str]
) -> bytes:
    """The file's content, checked by `onnx.checker`; without paths and lines of the code that was traced."""
    channels = 3 if fuser.views.fused == "rgb" else 1
    model.graph.outputs[0].shape = onnx_ir.Shape([named["batch"], channels, named["height"], named["width"]])
    ClearMetadataAndDocStringPass()(model)
    model.producer_name, model.producer_version = "decofuse", __version__
    model.metadata_props.clear()
    described = {**about, **_described(fuser, named)}
    model.metadata_props.update({f"decofuse.{key}": value for key, value in sorted(described.items())})
    proto = onnx_ir.to_proto(model)
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        del value.metadata_props[:]
    onnx.checker.check_model(proto, full_check=True)
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _described(fuser: ImageFuser, named: Mapping[str, str | int]) -> dict[str, str]:
    """How inputs are made, which sizes they may have and what becomes of the output, in words."""
    views, settings = fuser.views, fuser.settings
    steps = ["x = (x - min) / (max - min) over each image"] if settings.stretch else []
    steps.append(f"8-bit levels: {_ROUNDED[settings.rounding]} (16 bits: 65535 for 255)")
    if views.fused == "luma":
        steps.append(f"colour: {_COLOURED[settings.chroma]}")
    anything, (height, width) = f"any from {fuser.network.smallest} on", (named["height"], named["width"])
    return {
        "version": __version__,
        "source_a": _SEEN[views.source_a],
        "source_b": _SEEN[views.source_b],
        "fused": f"N x {3 if views.fused == 'rgb' else 1} x H x W: {views.fused} in [0, 1], called x in what follows",
        "afterwards": "; ".join(steps),
        "height": anything if height == "height" else str(height),
        "width": anything if width == "width" else str(width),
        "batch": "any" if named["batch"] == "batch" else "1",
    }


def _difference(content: bytes, network: Fuser, pair: tuple[Float32, Float32], out: Path) -> float:
    """The largest absolute difference between ONNX Runtime and PyTorch; infinite where shapes differ."""
    with torch.inference_mode():
        expected = network.fuse(*map(torch.from_numpy, pair)).numpy()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it says of an error is in the exception
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        (fused,) = session.run(None, dict(zip(INPUTS, pair, strict=True)))
    except Exception as error:  # its exceptions have no common base
        raise UserError(
            f"{out}: not written, as expected a model that ONNX Runtime runs on {' x '.join(map(str, pair[0].shape))}, "
            f"found: {_reason(error)}"
        ) from error
    return float(np.abs(fused - expected).max()) if fused.shape == expected.shape else float("inf")


def _reason(error: BaseException) -> str:
    """The first line of what was first raised."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
