"""Golden vectors: inputs and outputs of the published code for weights that follow from their names alone."""

import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from decofuse.errors import UserError
from decofuse.models.method import Upstream

MAX_BYTES = 2**30  # of one vector, unpacked
MAX_VALUES = 2**28  # of one network
FACTORS = "scale"  # the manifest's extra part

Array = NDArray[Any]
Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Golden:
    """One golden vector and its manifest, both checked.

    Attributes:
        arrays: key -> input or expected output.
        shapes: checkpoint part -> upstream tensor name -> shape, in upstream's order.
        factors: `<part>.<name>` -> factor of that tensor; 1 for all others.
        vector: where the arrays were read.
        manifest: where the shapes were read.
    """

    arrays: Mapping[str, Array]
    shapes: Shapes
    factors: Mapping[str, float]
    vector: Path
    manifest: Path

    @classmethod
    def read(cls, vector: Path, manifest: Path) -> "Golden":
        """Read `<method>.npz` and `<method>.json`; nothing in them is executed.

        Raises:
            UserError: a file is missing, is not of this form, or is larger than any golden vector.
        """
        shapes, factors = _read_manifest(manifest)
        return cls(_read_arrays(vector), shapes, factors, vector, manifest)

    def array(self, key: str, form: tuple[int | None, ...], kind: str) -> Array:
        """An input of a form that may have other sizes than the known vector's.

        Args:
            key: name of the array.
            form: expected size of each dimension; None for any.
            kind: NumPy's letter of the expected kind of values: f for floats, u for unsigned integers.

        Raises:
            UserError: there is none of that name and form.
        """
        array = self.arrays.get(key, np.empty(0))
        fits = array.ndim == len(form) and all(want in (None, has) for want, has in zip(form, array.shape, strict=True))
        if not fits or array.dtype.kind != kind or not array.size:
            found = f"{array.dtype} {array.shape}" if key in self.arrays else "nothing"
            sizes = " x ".join("any" if size is None else str(size) for size in form)
            raise UserError(f"{self.vector}: expected {key} of {sizes} ({kind}), found {found}; get the file again")
        return array

    def image(self, key: str, dtype: torch.dtype) -> Tensor:
        """An input image, N×1×H×W in [0, 1], in `dtype`.

        Raises:
            UserError: there is none of that name and form.
        """
        return torch.from_numpy(self.array(key, (None, 1, None, None), "f")).to(dtype)

    def load(self, network: nn.Module, upstream: Upstream, dtype: torch.dtype, shapes: Shapes | None = None) -> None:
        """Give `network` the weights of the manifest; it may lie on the meta device.

        Args:
            network: filled completely.
            upstream: how the manifest's tensors are named.
            dtype: precision of the weights.
            shapes: checkpoint part -> tensors, where the manifest holds more than this network; all when left out.

        Raises:
            UserError: the manifest's tensors are not the network's.
        """
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        weights: dict[str, Tensor] = {}
        for part, tensors in (self.shapes if shapes is None else shapes).items():
            for name, shape in tensors.items():
                path = f"{part}.{name}" if part else name
                ours = upstream.translate(part, name) if part in upstream.parts else ""
                if ours is None:
                    continue
                if expected.get(ours) != shape or ours in weights:
                    raise UserError(
                        f"{self.manifest}: {path} {list(shape)} is no tensor of this network; "
                        "give the manifest of this method"
                    )
                values = torch.from_numpy(fill(path, shape))
                factor = self.factors.get(path, 1.0)
                weights[ours] = values.to(dtype) * factor if values.is_floating_point() else values
        missing = sorted(expected.keys() - weights)
        if missing:
            raise UserError(f"{self.manifest}: expected also {missing[0]}, found no such tensor; get the file again")
        network.load_state_dict(weights, assign=True)


def fill(name: str, shape: tuple[int, ...]) -> Array:
    """The float32 values (int64 for a step counter) of a tensor, as a function of its upstream name and shape.

    z is standard normal from PCG64 seeded with the CRC-32 of the name. A tensor with more than one input an output
    holds z / √inputs; a weight, scale, temperature or gamma 1 + 0.1 z; a running variance 1 + 0.1 |z|; all else 0.1 z.
    """
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    z = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)
    inputs = math.prod(shape[1:])
    if leaf == "running_var":
        values = 1 + 0.1 * np.abs(z)
    elif inputs > 1 and leaf != "running_mean":
        values = z / math.sqrt(inputs)
    elif leaf in ("weight", "scale", "temperature") or leaf.startswith("gamma"):
        values = 1 + 0.1 * z
    else:
        values = 0.1 * z
    return np.asarray(values, dtype=np.float32)


def _read_arrays(path: Path) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise UserError(f"{path}: expected at most {MAX_BYTES} bytes unpacked, found {size}; get the file again")
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected a golden vector (.npz), found no such file; check the path") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise UserError(
            f"{path}: expected a golden vector (.npz of plain arrays), found a file that is none; get it again"
        ) from error


def _read_manifest(path: Path) -> tuple[Shapes, dict[str, float]]:
    try:
        parts: dict[str, dict[str, list[Any]]] = json.loads(path.read_text(encoding="utf-8"))
        factors = {name: float(factor) for name, (factor,) in parts.pop(FACTORS, {}).items()}
        shapes = {part: {name: tuple(shape) for name, shape in names.items()} for part, names in parts.items()}
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected a manifest (.json), found no such file; check the path") from error
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path}: expected a manifest {{part: {{tensor: shape}}}}, found a file that is none; get it again"
        ) from error
    sizes = [size for names in shapes.values() for shape in names.values() for size in shape]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise UserError(f"{path}: expected shapes of positive whole numbers, found another; get the file again")
    if sum(math.prod(shape) for names in shapes.values() for shape in names.values()) > MAX_VALUES:
        raise UserError(f"{path}: expected at most {MAX_VALUES} values in all, found more; get the file again")
    return shapes, factors
