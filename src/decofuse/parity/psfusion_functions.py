"""The functions of PSFusion's golden vector: losses, colour, augmentation, metrics and the learning rate."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from decofuse.data.dataset import IGNORED_LABEL
from decofuse.data.labelled_crops import flip, turn
from decofuse.errors import UserError
from decofuse.fusing.postprocess import quantise
from decofuse.losses.gradient import second_derivatives, second_order_magnitude, sobel
from decofuse.losses.segmentation import hard_pixel_loss, pixel_losses
from decofuse.losses.selection import local_error, local_variance
from decofuse.metrics.segmentation import (
    confusion_matrix,
    intersection_over_union,
    mean_accuracy,
    mean_intersection_over_union,
    pixel_accuracy,
)
from decofuse.models import colour
from decofuse.models.psfusion import Source, fidelity_terms, fusion_terms
from decofuse.models.registry.psfusion import PSFusionJoint
from decofuse.parity.golden import Array, Golden
from decofuse.parity.tolerance import Rule, absolute, pixels, relative
from decofuse.training.optimiser import learning_rate

FUNCTION_INPUTS = frozenset(
    f"fn_{name}"
    for name in (
        "y",
        "ir",
        "fu",
        "mask",
        "ohem_logits",
        "ohem_labels",
        "rgb",
        "metric_pred",
        "metric_label",
        "aug_in",
        "lr_it",
    )
)
FUNCTION_RULES = tuple(
    Rule(pattern, tolerance, tolerance)
    for pattern, tolerance in {
        "fn_fusion_*": relative(1e-5),
        "fn_re_fu_y": relative(1e-5),
        "fn_ohem_result": relative(1e-5),
        "fn_rgb_back_u8": pixels(1),
        "fn_metric_confusion": absolute(0),
        "fn_metric_*": relative(1e-6),
        "fn_flip?": absolute(0),
        "fn_rot?": absolute(0),
        "fn_lr": relative(1e-10),
        "fn_*": absolute(1e-6),
    }.items()
)
HARD_PIXELS = (20, 150)
HARD_THRESHOLD = 0.75
CLASSES = 9
STEPS = 677_500  # of the published schedule
MASKS: Mapping[str, Source] = {"faithful": "visible", "corrected": "infrared"}
SETTINGS = PSFusionJoint()


def functions(golden: Golden, dtype: torch.dtype) -> dict[str, Array]:
    """Compute every key of the vector that needs no network, in `dtype`.

    Raises:
        UserError: an input is not of the form.
    """
    images = [golden.image(f"fn_{name}", dtype) for name in ("y", "ir", "fu", "mask")]
    require(golden, len({image.shape for image in images}) == 1, "fn_y, fn_ir, fn_fu and fn_mask of one shape")
    y, infrared, fused, mask = images
    found = {
        "fn_var9_y": local_variance(y),
        "fn_var9_ir": local_variance(infrared),
        "fn_mse9_y_fu": local_error(y, fused),
        "fn_mse9_ir_fu": local_error(infrared, fused),
        "fn_sobel_fu": sobel(fused, "constant")[:, 0].abs(),
        "fn_grad2_abs_fu": second_derivatives(fused)[:, 0].abs(),
        "fn_grad2_sum_fu": second_order_magnitude(fused)[:, 0],
        "fn_re_fu_y": _with_total(fidelity_terms("visible", fused, y), ("l1_visible", "gradient_visible")),
        **{
            f"fn_fusion_{kind}": _with_total(
                fusion_terms(y, infrared, fused, mask, intensity_mask=source), ("intensity", "gradient", "correlation")
            )
            for kind, source in MASKS.items()
        },
    }
    iterations = golden.array("fn_lr_it", (None,), "i")
    require(golden, bool(0 <= iterations.min() <= iterations.max() < STEPS), f"fn_lr_it from 0 to {STEPS - 1}")
    rates = [learning_rate(SETTINGS.optimizer, SETTINGS.schedule, 0, int(step), STEPS) for step in iterations]
    return {
        **{key: value.numpy() for key, value in found.items()},
        "fn_ohem_result": _hard_pixels(golden, dtype),
        **_colours(golden, dtype),
        **_metrics(golden),
        **_augmentation(golden),
        "fn_lr": np.array(rates),
    }


def require(golden: Golden, holds: bool, expected: str) -> None:
    """Refuse a vector that is not of the form.

    Raises:
        UserError: it does not hold.
    """
    if not holds:
        raise UserError(f"{golden.vector}: expected {expected}, found another; get the file again")


def _with_total(terms: Mapping[str, Tensor], names: tuple[str, ...]) -> Tensor:
    """The weighted sum, then the terms themselves."""
    total = sum(getattr(SETTINGS.weights, name) * terms[name] for name in names)
    return torch.stack([torch.as_tensor(total), *(terms[name] for name in names)])


def _hard_pixels(golden: Golden, dtype: torch.dtype) -> Array:
    logits = torch.from_numpy(golden.array("fn_ohem_logits", (None, None, None, None), "f")).to(dtype)
    labels = torch.from_numpy(golden.array("fn_ohem_labels", (None, None, None), "u").astype(np.int64))
    fits = labels.shape == (len(logits), *logits.shape[2:]) and bool(
        ((labels < logits.shape[1]) | (labels == IGNORED_LABEL)).all()
    )
    require(golden, fits, "fn_ohem_labels of the shape and the classes of fn_ohem_logits")
    losses = pixel_losses(logits, labels)
    hard = int((losses > -math.log(HARD_THRESHOLD)).sum())
    return np.array(
        [(n, hard > n, hard, hard_pixel_loss(losses, HARD_THRESHOLD, n).item()) for n in HARD_PIXELS], np.float64
    )


def _colours(golden: Golden, dtype: torch.dtype) -> dict[str, Array]:
    rgb = torch.from_numpy(golden.array("fn_rgb", (None, 3, None, None), "f")).to(dtype)
    luma, chroma = colour.split(rgb)
    back = colour.join(luma, chroma)
    return {
        "fn_ycbcr": torch.cat((luma, chroma), dim=1).numpy(),
        "fn_rgb_back": back.numpy(),
        "fn_rgb_back_u8": quantise(back.permute(0, 2, 3, 1).numpy(), "truncate"),
    }


def _metrics(golden: Golden) -> dict[str, Array]:
    """Segmentation metrics of all images together."""
    prediction, label = (
        torch.from_numpy(golden.array(f"fn_metric_{name}", (None, 1, None, None), "u").astype(np.int64))
        for name in ("pred", "label")
    )
    fits = prediction.shape == label.shape and int(prediction.max()) < CLASSES
    require(golden, fits, f"fn_metric_pred below {CLASSES}, of the shape of fn_metric_label")
    confusion = sum(
        (confusion_matrix(p, t, CLASSES) for p, t in zip(prediction, label, strict=True)),
        torch.zeros(CLASSES, CLASSES, dtype=torch.int64),
    )
    scalars = [measure(confusion) for measure in (mean_intersection_over_union, pixel_accuracy, mean_accuracy)]
    return {
        "fn_metric_confusion": confusion.numpy(),
        "fn_metric_iou": intersection_over_union(confusion).numpy(),
        "fn_metric_scalars": torch.stack(scalars).numpy(),
    }


def _augmentation(golden: Golden) -> dict[str, Array]:
    image = golden.array("fn_aug_in", (1, 1, None, None), "u")[0, 0]
    return {
        **{f"fn_flip{which}": flip(image, which)[None, None] for which in range(3)},
        **{f"fn_rot{which}": turn(image, which)[None, None] for which in range(4)},
    }
