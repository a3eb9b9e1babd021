"""Weights that the authors of a method published, turned into this project's."""

import argparse
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from decofuse.errors import UserError
from decofuse.models.method import Upstream
from decofuse.training.checkpoint import WEIGHTS, Provenance, fill_network, save_weights

WRAPPERS = ("state_dict", "model")  # keys under which a file may hold its state dict

# Plain data that training scripts keep beside their weights: scores as NumPy scalars, options as a namespace. None
# of it is used; files with it would otherwise be refused.
_SCALAR = np.float64().__reduce__()[0]  # what a pickle calls to make a scalar
_HARMLESS: list[Any] = [
    argparse.Namespace,
    (_SCALAR, "numpy._core.multiarray.scalar"),
    (_SCALAR, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.bool_, np.int32, np.int64, np.float32, np.float64)),
]


def import_weights(
    source: Path,
    out: Path,
    *,
    method: str,
    phase: str,
    build: Callable[..., nn.Module],
    network: dict[str, Any],
    upstream: Upstream,
) -> Path:
    """Write the weights of a published checkpoint as those of a method's last phase; nothing in it is executed.

    The file is a safetensors file or what torch.save made of: one state dict, as such or under `state_dict` or
    `model`, or one state dict a part. Tensors of half or double precision become the network's; those that upstream
    stores and never uses are left out, and so is all else beside the state dicts (optimisers, epochs).

    Args:
        source: the checkpoint.
        out: folder that gets weights.safetensors.
        method: name of the method.
        phase: its last training phase.
        build: network class, called with `network` as keyword arguments.
        network: size of the network.
        upstream: how the published code names parts and tensors.

    Returns:
        The file that was written.

    Raises:
        UserError: the file is missing, damaged or asks to run code, `network` is no possible size, or the tensors are
            not those of the network; nothing is written then.
    """
    try:
        target = build(**network)
    except ValueError as error:
        raise UserError(f"{source}: {error}; give other network settings") from error
    tensors, labels = _translated(source, _parts(source, _read(source), upstream), upstream, target.state_dict())
    fill_network(target, tensors, source, labels)
    save_weights(out / WEIGHTS, target.state_dict(), Provenance(method, phase, network, {}))
    return out / WEIGHTS


def _read(path: Path) -> Mapping[Any, Any]:
    """What a file holds, as plain data on the CPU; memory-mapped where its format allows that."""
    if not path.is_file():
        raise UserError(f"{path}: expected a checkpoint, found no such file; check the path")
    stored: Any
    try:
        if path.suffix == ".safetensors":
            stored = load_file(path)
        else:
            with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings(action="ignore"):
                stored = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_plain_zip(path))
    except OSError as error:
        raise UserError(f"{path}: expected a checkpoint, found {error.strerror or error}; check the file") from error
    except Exception as error:  # torch.load raises many types on damaged files
        if wanted := re.search(r"(?:GLOBAL|Unsupported class) (\S+)", str(error)):
            raise UserError(
                f"{path}: expected a state dict of plain tensors, found a file that asks for {_printable(wanted[1])}; "
                "nothing was run; if you trust it, save its state dict alone (torch.save(model.state_dict(), file))"
            ) from error
        raise UserError(
            f"{path}: expected a checkpoint of torch.save or safetensors, found a damaged or foreign file; get it again"
        ) from error
    if not isinstance(stored, Mapping):
        raise UserError(f"{path}: expected a state dict, found {type(stored).__name__}; give a checkpoint of tensors")
    return stored


def _is_plain_zip(path: Path) -> bool:
    """Whether a file can be memory-mapped: a zip archive, as torch.save writes since 1.6, whose members lie open.

    Raises:
        OSError: the file cannot be read.
        zipfile.BadZipFile: it is an archive, and its checksums do not hold; torch.load does not look at them.
    """
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            return False
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(damaged)
        return all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())


def _parts(path: Path, stored: Mapping[Any, Any], upstream: Upstream) -> dict[str, dict[str, Tensor]]:
    """The tensors of a checkpoint by part; "" is the whole network, where the method is published as one.

    Raises:
        UserError: a part holds no tensors.
    """
    named = [part for part in upstream.parts if part]
    if "" in upstream.parts:
        parts = {"": _unwrapped(stored, (*named, *WRAPPERS))}
    else:
        whole = _unwrapped(stored, WRAPPERS)
        parts = {part: whole[part] if isinstance(whole.get(part), Mapping) else _below(whole, part) for part in named}
    tensors = {
        part: {str(name): value for name, value in names.items() if _is_tensor(value)} for part, names in parts.items()
    }
    if empty := [part for part, names in tensors.items() if not names]:
        wanted = (
            f"the parts {_some(parts)}" if empty != [""] else f"a state dict (or one under {' or '.join(WRAPPERS)})"
        )
        lacks = f"nothing for {_some(empty)}" if empty != [""] else "no tensors"
        raise UserError(
            f"{path}: expected {wanted}, found {lacks} among its entries ({_some(stored)}); "
            "give a checkpoint of this method"
        )
    return tensors


def _unwrapped(stored: Mapping[Any, Any], wrappers: Iterable[str]) -> Mapping[Any, Any]:
    """The first mapping that lies under one of the keys, or else the whole."""
    return next((stored[key] for key in wrappers if isinstance(stored.get(key), Mapping)), stored)


def _below(stored: Mapping[Any, Any], part: str) -> dict[str, Any]:
    """The entries of one flat state dict whose names begin with a part's."""
    names = [name for name in stored if isinstance(name, str) and name.startswith(f"{part}.")]
    return {name.removeprefix(f"{part}."): stored[name] for name in names}


def _translated(
    path: Path, parts: Mapping[str, Mapping[str, Tensor]], upstream: Upstream, own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors under this project's names, and what the file calls each.

    Raises:
        UserError: the file holds different values for one tensor of the network.
    """
    tensors: dict[str, Tensor] = {}
    labels: dict[str, str] = {}
    for part, stored in parts.items():
        for name, value in stored.items():
            label = _printable(f"{part}.{name}" if part else name)
            ours = _our_name(upstream, part, name, own)
            if ours is None:
                continue
            known = ours if ours in own else f"unknown {label}"  # no name of the network's, for it holds a blank
            tensor = _as_in(own[ours], value) if ours in own else value
            if known in tensors and not _same(tensors[known], tensor):
                raise UserError(
                    f"{path}: expected {labels[known]} and {label} to be equal, for they are one tensor of the "
                    "network, found different values; get the file again"
                )
            tensors[known], labels[known] = tensor, label
    return tensors, labels


def _our_name(upstream: Upstream, part: str, name: str, own: Mapping[str, Tensor]) -> str | None:
    """This project's name, with or without the prefixes that training wrappers add; None if upstream never uses it."""
    bare = name.removeprefix("module.")
    ours = [upstream.translate(part, bare), upstream.translate(part, bare.removeprefix("model."))]
    if None in ours:
        return None
    return next((found for found in ours if found in own), ours[0])


def _as_in(own: Tensor, value: Tensor) -> Tensor:
    """`value` in the precision of the network's tensor; as it is where it does not fit that anyway."""
    fits = value.shape == own.shape and value.is_floating_point() and own.is_floating_point()
    return value.to(own.dtype) if fits else value


def _same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors hold the same values, NaN equal to NaN."""
    alike = first.shape == second.shape and first.dtype == second.dtype
    return alike and torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)


def _is_tensor(value: Any) -> bool:
    """Whether a value is an ordinary tensor whose values are there: dense, not quantised, in memory."""
    return isinstance(value, Tensor) and value.layout == torch.strided and not (value.is_quantized or value.is_meta)


def _printable(text: str) -> str:
    """A name from the file, fit for one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:100]


def _some(names: Iterable[Any]) -> str:
    """The first few of some names."""
    texts = [_printable(str(name)) for name in names]
    return ", ".join(texts[:5]) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "") if texts else "none"
