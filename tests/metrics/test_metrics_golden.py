"""Every reference value of every fusion metric in every convention, in both precisions.

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

from decofuse.metrics import METRICS, USUAL, fusion_metrics

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"

# Reference value -> metric and convention.
KEYS = {
    "evaluator.EN": ("EN", "cddfuse"),
    "evaluator.SD": ("SD", "cddfuse"),
    "evaluator.SF": ("SF", "cddfuse"),
    "evaluator.AG": ("AG", "cddfuse"),
    "evaluator.MI": ("MI", "cddfuse"),
    "evaluator.MSE": ("MSE", "cddfuse"),
    "evaluator.CC": ("CC", "cddfuse"),
    "evaluator.PSNR": ("PSNR", "cddfuse"),
    "evaluator.SCD": ("SCD", "cddfuse"),
    "evaluator.Qabf": ("Qabf", "cddfuse"),
    "evaluator.VIF": ("VIF", "cddfuse"),
    "evaluator.SSIM_L255": ("SSIM", "standard"),
    "evaluator.SSIM_L2_float64": ("SSIM", "cddfuse"),
    "evaluator.SSIM_L2_float32": ("SSIM", "cddfuse"),
    "torch.EN": ("EN", "cddfuse"),
    "torch.SD": ("SD", "ssdfusion"),
    "torch.SF": ("SF", "cddfuse"),
    "torch.AG": ("AG", "cddfuse"),
    "torch.MI": ("MI", "cddfuse"),
    "torch.MSE": ("MSE", "cddfuse"),
    "torch.CC": ("CC", "cddfuse"),
    "torch.PSNR": ("PSNR", "cddfuse"),
    "torch.SCD": ("SCD", "cddfuse"),
    "torch.Qabf": ("Qabf", "cddfuse"),
    "torch.VIFF": ("VIF", "cddfuse"),
    "torch.SSIM_maxval1_on_255": ("SSIM", "ssdfusion"),
    "torch.SSIM_unit_range": ("SSIM", "unit"),
    "vifb.Cross_entropy": ("CE", "vifb"),
    "vifb.Entropy": ("EN", "cddfuse"),
    "vifb.Mutinf": ("MI", "vifb"),
    "vifb.Psnr": ("PSNR", "vifb"),
    "vifb.Avg_gradient": ("AG", "vifb"),
    "vifb.Edge_intensity": ("EI", "vifb"),
    "vifb.Qabf": ("Qabf", "cddfuse"),
    "vifb.Variance": ("SD", "cddfuse"),
    "vifb.Spatial_frequency": ("SF", "vifb"),
    "vifb.Rmse": ("RMSE", "vifb"),
    "vifb.Ssim": ("SSIM", "vifb"),
    "vifb.Qcb": ("Qcb", "vifb"),
    "vifb.Qcv": ("Qcv", "vifb"),
    "mefb.NMI": ("NMI", "mefb"),
    "mefb.VIFF_Han": ("VIFF", "mefb"),
    "mefb.FMI_none": ("FMI", "pixels"),
    "mefb.FMI_gradient": ("FMI", "gradient"),
    "cbf.Qabf": ("Qabf", "petrovic"),
    "cbf.Labf": ("Labf", "kumar"),
    "cbf.Nabf": ("Nabf", "kumar"),
    "cbf.Nabf_petrovic": ("Nabf", "petrovic"),
    "msssim.MS_SSIM": ("MS-SSIM", "standard"),
    "msssim.MS_SSIM_pytorch_msssim": ("MS-SSIM", "pytorch_msssim"),
    "msssim.MS_SSIM_torchmetrics": ("MS-SSIM", "torchmetrics"),
    "plain.MI_bits": ("MI", "bits"),
    "plain.MSE_255": ("MSE", "cddfuse"),
    "plain.MSE_unit": ("MSE", "unit"),
    "plain.RMSE_255": ("RMSE", "standard"),
    "plain.PSNR_255": ("PSNR", "standard"),
    "plain.VAR": ("VAR", "standard"),
}

# Terms of one source: the metric of (fused, source, source), divided by how often it then counts the term.
PARTS = {
    "evaluator.VIF_{}": ("VIF", "cddfuse", 2),
    "evaluator.MI_{}": ("MI", "cddfuse", 2),
    "evaluator.SSIM_L255_{}": ("SSIM", "standard", 2),
    "msssim.MS_SSIM_{}": ("MS-SSIM", "standard", 2),
    "plain.CE_{}": ("CE", "vifb", 1),
}
ENTROPIES = {"plain.EN_vi": 1, "plain.EN_ir": 2}  # of a source: its place

# No definition is known of these that would not be the code itself; they are not part of the suite.
LEFT_OUT = {f"mefb.{name}" for name in ("MEF_SSIM", "Qncie", "TE", "Qc", "Qw", "Qy", "Qp")}

# Wider than 1e-9 in float64, and why.
WIDER = {
    "evaluator.VIF": 1e-7,  # of the file: the reference keeps the mean, which costs digits
    "evaluator.VIF_vi": 1e-7,
    "evaluator.VIF_ir": 1e-7,
    "evaluator.SSIM_L2_float32": 1e-4,  # a float32 reference
    "torch.EN": 1e-6,  # the reference computes in float32 inside
    "torch.MI": 1e-6,
    "torch.VIFF": 1e-7,  # as evaluator.VIF
    "torch.SSIM_maxval1_on_255": 1e-6,  # the reference keeps the mean and hardly stabilises
    "msssim.MS_SSIM_pytorch_msssim": 1e-5,  # a float32 window
    "msssim.MS_SSIM_torchmetrics": 1e-7,  # a float32 window
    "vifb.Qabf": 1e-8,  # the reference multiplies gradients by 255, its small constants not
}
SANE = {"plain.PSNR_255": "PSNR_255", "evaluator.PSNR": "PSNR_evaluator", "torch.PSNR": "PSNR_evaluator"}


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


def expected(case: str, key: str) -> float | str:
    """The reference; where it is an error or nan, the documented value of the project."""
    entry = golden()[0][case]
    value = entry["values"][key]
    if isinstance(value, str) and value != "inf":
        name = KEYS[key][0] if key in KEYS else ""
        value = entry.get("sane", {}).get(SANE.get(key, name), value)
        smaller = min(entry["shape"]) < {"VIF": 41, "VIFF": 41, "MS-SSIM": 161}.get(name, 1)
        value = "error:ValueError" if smaller else value
    return value if str(value).startswith("error") else float(value)


def computed(key: str, batch: list[torch.Tensor]) -> torch.Tensor:
    fused, visible, infrared = batch
    if key in ENTROPIES:
        return fusion_metrics(["EN"])["EN"](batch[ENTROPIES[key]], visible, infrared)
    if key in KEYS:
        name, convention = KEYS[key]
        return fusion_metrics([name], conventions={name: convention})[name](*batch)
    part, source = key.rsplit("_", 1)
    name, convention, times = PARTS[f"{part}_{{}}"]
    image = {"vi": visible, "ir": infrared}[source]
    return fusion_metrics([name], conventions={name: convention})[name](fused, image, image) / times


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", cases())
def test_metrics_meet_every_reference_value(case: str, dtype: torch.dtype) -> None:
    batch = images(case, dtype)
    for key in golden()[0][case]["values"]:
        if key in LEFT_OUT:
            continue
        value = expected(case, key)
        if isinstance(value, str):
            assert value == "error:ValueError", key
            with pytest.raises(ValueError, match=r"at least (41x41|161x161|176x176) pixels"):
                computed(key, batch)
            continue
        result = computed(key, batch)
        assert (result.shape, result.dtype) == ((1,), dtype)
        tolerance = WIDER.get(key, 1e-9) if dtype == torch.float64 else 1e-4
        assert not math.isnan(value) or key in ("vifb.Qcb", "vifb.Qcv"), key
        close = pytest.approx(value, rel=tolerance, abs=0 if value else 1e-10, nan_ok=True)
        assert result.item() == close, key


def test_every_reference_value_and_every_convention_is_compared() -> None:
    keys = set().union(*(entry["values"] for entry in golden()[0].values()))
    parts = {key.format(source) for key in PARTS for source in ("vi", "ir")}
    assert keys == set(KEYS) | parts | set(ENTROPIES) | LEFT_OUT
    conventions = {(name, convention) for name, metric in METRICS.items() for convention in metric.conventions}
    assert set(KEYS.values()) == conventions


def test_metrics_meet_the_evaluation_of_cddfuse() -> None:
    path = GOLDEN / "cddfuse.npz"
    if not path.is_file():
        pytest.skip("the reference values lie in ../shared/golden, which is absent")
    with np.load(path) as arrays:
        batch = [torch.from_numpy(arrays[f"eval.{role}"])[None].double() for role in ("fi", "vi", "ir")]
        reference = arrays["eval.metrics"]
    metrics = fusion_metrics([*USUAL, "AG", "CC", "PSNR"])
    assert [metric(*batch).item() for metric in metrics.values()] == pytest.approx(reference, rel=1e-5)
