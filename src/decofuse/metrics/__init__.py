"""Fusion metrics: pure functions of tensors, their registry, and averages over a set of images."""

from decofuse.metrics.edges import labf, nabf, qabf
from decofuse.metrics.errors import mean_squared_error, peak_signal_to_noise_ratio, root_mean_squared_error
from decofuse.metrics.features import feature_mutual_information
from decofuse.metrics.fidelity import fusion_fidelity, visual_information_fidelity
from decofuse.metrics.gradients import average_gradient, edge_intensity, spatial_frequency
from decofuse.metrics.information import (
    cross_entropy,
    entropy,
    mutual_information,
    normalised_mutual_information,
)
from decofuse.metrics.perception import qcb, qcv
from decofuse.metrics.registry import METRICS, USUAL, Metric, fusion_metrics
from decofuse.metrics.scores import FusionScores, score
from decofuse.metrics.statistics import (
    correlation_coefficient,
    correlations_of_differences,
    standard_deviation,
    variance,
)
from decofuse.metrics.structure import ms_ssim, ssim

__all__ = [
    "METRICS",
    "USUAL",
    "FusionScores",
    "Metric",
    "average_gradient",
    "correlation_coefficient",
    "correlations_of_differences",
    "cross_entropy",
    "edge_intensity",
    "entropy",
    "feature_mutual_information",
    "fusion_fidelity",
    "fusion_metrics",
    "labf",
    "mean_squared_error",
    "ms_ssim",
    "mutual_information",
    "nabf",
    "normalised_mutual_information",
    "peak_signal_to_noise_ratio",
    "qabf",
    "qcb",
    "qcv",
    "root_mean_squared_error",
    "score",
    "spatial_frequency",
    "ssim",
    "standard_deviation",
    "variance",
    "visual_information_fidelity",
]
