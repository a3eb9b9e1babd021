"""Parity with the published code, key by key of a golden vector."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from decofuse.errors import UserError
from decofuse.parity import cddfuse, defusion, defusionpp, fsidfusion, psfusion, sfdfuse, ssdfusion
from decofuse.parity.golden import Array, Golden
from decofuse.parity.probes import PIPELINE_INPUTS, PIPELINE_RULES, pipeline
from decofuse.parity.tolerance import Rule, Tolerance, find

DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Row:
    """The outcome for one key in one precision.

    Attributes:
        dtype: precision of the computation.
        name: key of the golden vector.
        max_error: largest error, in the unit of the tolerance; NaN where nothing was compared.
        tolerance: kind and limit, `input`, or what stood in the way of a comparison.
        ok: whether the error is within the tolerance.
    """

    dtype: str
    name: str
    max_error: float
    tolerance: str
    ok: bool


@dataclass(frozen=True)
class Form:
    """The form of a method's golden vectors.

    Attributes:
        inputs: keys that are inputs of its network.
        rules: tolerances of the keys of a vector.
        probe: computes a vector's keys in a precision.
    """

    inputs: frozenset[str]
    rules: Callable[[Golden], Sequence[Rule]]
    probe: Callable[[Golden, torch.dtype], Mapping[str, Array]]


FORMS: Mapping[str, Form] = {
    "cddfuse": Form(cddfuse.INPUTS, cddfuse.rules, cddfuse.probe),
    "fsidfusion": Form(fsidfusion.INPUTS, fsidfusion.rules, fsidfusion.probe),
    "sfdfuse": Form(sfdfuse.INPUTS, sfdfuse.rules, sfdfuse.probe),
    "ssdfusion": Form(ssdfusion.INPUTS, ssdfusion.rules, ssdfusion.probe),
    "psfusion": Form(psfusion.INPUTS, psfusion.rules, psfusion.probe),
    "defusion": Form(defusion.INPUTS, defusion.rules, defusion.probe),
    "defusionpp": Form(defusionpp.INPUTS, defusionpp.rules, defusionpp.probe),
}


def run_parity(method: str, golden: Path, manifest: Path, dtypes: Sequence[torch.dtype] = DTYPES) -> bool:
    """Compare, print a line a key and a summary, and return whether every key is within its tolerance.

    Raises:
        UserError: see `compare`.
    """
    rows = compare(method, golden, manifest, dtypes)
    width = max(len(row.name) for row in rows)
    for row in rows:
        verdict = "ok" if row.ok else "FAIL"
        print(f"{verdict:4}  {row.dtype}  {row.name:{width}}  {row.max_error:9.2e}  {row.tolerance}")
    failed = sum(not row.ok for row in rows)
    print(f"{method}: {len(rows) - failed} of {len(rows)} rows within tolerance")
    return not failed


def compare(method: str, golden: Path, manifest: Path, dtypes: Sequence[torch.dtype] = DTYPES) -> list[Row]:
    """Compute every key of a golden vector with this project's code, on the CPU; a row a key and precision.

    A key that is not of the method's form gives a row that is not ok.

    Args:
        method: name of the method.
        golden: the vector, `<method>.npz`.
        manifest: upstream's tensors, `<method>.json`.
        dtypes: precisions to compute in.

    Raises:
        UserError: the method has no such vectors, or a file is missing or not of the form.
    """
    if method not in FORMS:
        raise UserError(f"parity: expected a method with golden vectors ({', '.join(FORMS)}), found {method}")
    form, vector = FORMS[method], Golden.read(golden, manifest)
    inputs, rules = form.inputs | PIPELINE_INPUTS, (*PIPELINE_RULES, *form.rules(vector))
    rows = []
    for dtype in dtypes:
        precision = str(dtype).removeprefix("torch.")
        found = {**form.probe(vector, dtype), **pipeline(vector)}
        for key, expected in vector.arrays.items():
            if key in inputs:
                rows.append(Row(precision, key, 0.0, "input", True))
            elif (rule := find(rules, key)) and key in found:
                tolerance = rule.float32 if dtype == torch.float32 else rule.float64
                rows.append(_row(precision, key, np.asarray(found[key]), expected, tolerance))
            else:
                rows.append(Row(precision, key, float("nan"), "unknown key", False))
    return rows


def _row(precision: str, key: str, found: Array, expected: Array, tolerance: Tolerance) -> Row:
    if expected.shape != found.shape or expected.dtype.kind not in "biuf":
        problem = f"expected {expected.dtype} {expected.shape}, found {found.dtype} {found.shape}"
        return Row(precision, key, float("nan"), problem, False)
    error = tolerance.error(found.astype(np.float64), expected.astype(np.float64))
    return Row(precision, key, error, str(tolerance), error <= tolerance.limit)
