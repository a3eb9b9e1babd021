"""Fusion metrics: pure functions of tensors."""

from decofuse.metrics.edges import qabf
from decofuse.metrics.fidelity import visual_information_fidelity
from decofuse.metrics.information import entropy, mutual_information
from decofuse.metrics.registry import Metric, fusion_metrics
from decofuse.metrics.statistics import correlations_of_differences, spatial_frequency, standard_deviation
from decofuse.metrics.structure import DynamicRange, ssim

__all__ = [
    "DynamicRange",
    "Metric",
    "correlations_of_differences",
    "entropy",
    "fusion_metrics",
    "mutual_information",
    "qabf",
    "spatial_frequency",
    "ssim",
    "standard_deviation",
    "visual_information_fidelity",
]
