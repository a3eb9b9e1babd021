"""The metrics that SSDFusion's evaluation prints, in its conventions."""

import torch
from torch import Tensor

from decofuse.metrics import (
    correlations_of_differences,
    entropy,
    mutual_information,
    qabf,
    spatial_frequency,
    ssim,
    standard_deviation,
    visual_information_fidelity,
)


def evaluation(fused: Tensor, infrared: Tensor, visible: Tensor) -> Tensor:
    """EN, SD, SF, MI, SCD, VIF, Qabf and SSIM: N×8.

    They differ from this project's tables in two: SD has the divisor n − 1; SSIM has a Gaussian window of 7 pixels
    (σ = 1.5), a reflected border, and constants for a range of 1 that the grey levels do not have.

    Args:
        fused: N×1×H×W grey levels [0, 255], not rounded, H and W at least 41.
        infrared: same shape.
        visible: same shape.
    """
    columns = (
        entropy(fused),
        standard_deviation(fused, "ssdfusion"),
        spatial_frequency(fused),
        mutual_information(fused, infrared, visible),
        correlations_of_differences(fused, infrared, visible),
        visual_information_fidelity(fused, infrared, visible),
        qabf(fused, infrared, visible),
        ssim(fused, infrared, visible, "ssdfusion"),
    )
    return torch.stack(columns, dim=1)
