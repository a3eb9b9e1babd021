"""Every reference value of the eight metrics, in both precisions.

Origin: upstream evaluators run on real and edge-case images (see the files' own notes); `sane` holds the project's
documented values where upstream gives nan or an error.
"""

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decofuse.metrics import fusion_metrics

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
NAMES = ("EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM")
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
SSIM_KEYS = {"cddfuse": "SSIM_L2_float64", "standard": "SSIM_L255"}


@functools.cache
def golden() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not (GOLDEN / "metrics.json").is_file():
        pytest.skip("the reference values lie in ../shared/golden, which is absent")
    with np.load(GOLDEN / "metrics.npz") as arrays:
        return json.loads((GOLDEN / "metrics.json").read_text())["cases"], dict(arrays)


def cases() -> list[str]:
    path = GOLDEN / "metrics.json"
    return list(json.loads(path.read_text())["cases"]) if path.is_file() else ["absent"]


def images(case: str, dtype: torch.dtype) -> list[torch.Tensor]:
    arrays = golden()[1]
    return [torch.from_numpy(arrays[f"{case}/{role}"])[None].to(dtype) for role in ("fused", "vi", "ir")]


def expected(case: str, name: str, ssim_range: str) -> float | str:
    values = golden()[0][case]
    key = SSIM_KEYS[ssim_range] if name == "SSIM" else name
    value = values.get("sane", {}).get(name, values["values"][f"evaluator.{key}"])
    return value if str(value).startswith("error") else float(value)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("ssim_range", SSIM_KEYS)
@pytest.mark.parametrize("case", cases())
def test_metrics_meet_every_reference_value(case: str, ssim_range: str, dtype: torch.dtype) -> None:
    batch = images(case, dtype)
    for name, metric in fusion_metrics(ssim_range).items():
        value = expected(case, name, ssim_range)
        if value == "error:ValueError":
            with pytest.raises(ValueError, match=f"at least {metric.minimum_side}x{metric.minimum_side}"):
                metric(*batch)
            continue
        result = metric(*batch)
        assert (result.shape, result.dtype) == ((1,), dtype)
        assert result.item() == pytest.approx(value, rel=TOLERANCE[dtype], abs=1e-9), name


@pytest.mark.parametrize("case", cases())
def test_float32_meets_the_values_that_upstream_printed_for_ssim(case: str) -> None:
    value = golden()[0][case]["values"]["evaluator.SSIM_L2_float32"]
    assert fusion_metrics()["SSIM"](*images(case, torch.float32)).item() == pytest.approx(value, rel=1e-4)


def test_metrics_meet_the_evaluation_of_cddfuse() -> None:
    path = GOLDEN / "cddfuse.npz"
    if not path.is_file():
        pytest.skip("the reference values lie in ../shared/golden, which is absent")
    with np.load(path) as arrays:
        batch = [torch.from_numpy(arrays[f"eval.{role}"])[None].double() for role in ("fi", "vi", "ir")]
        reference = arrays["eval.metrics"][: len(NAMES)]
    metrics = fusion_metrics()
    assert tuple(metrics) == NAMES
    results = [metric(*batch).item() for metric in metrics.values()]
    assert results == pytest.approx(reference, rel=1e-5)


def test_no_reference_value_is_nan() -> None:
    """The comparison above would be hollow if an expected value were nan."""
    for case in golden()[0]:
        values = [expected(case, name, "cddfuse") for name in NAMES]
        assert not any(isinstance(value, float) and math.isnan(value) for value in values), case
