"""The eight usual metrics in the form in which the field's evaluators compute them, for `benchmarks/metrics.py`.

NumPy, SciPy, scikit-learn and scikit-image in float64, one pair after another, nothing shared between metrics: full
two-dimensional convolutions for Qabf and for every Gaussian of VIF, labels of every pixel for mutual information.
Definitions and constants are those of `decofuse.metrics` (docs/metrics.md); only the form of the computation differs.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import convolve2d
from skimage.metrics import structural_similarity
from sklearn.metrics import mutual_info_score  # type: ignore[import-untyped]

Image = NDArray[np.float64]

NOISE, EPSILON = 2.0, 1e-10  # of VIF
SOBEL = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def usual_scores(fused: Image, source_a: Image, source_b: Image) -> dict[str, float]:
    """Every usual metric of one triple of H×W grey levels [0, 255]."""
    sources = (source_a, source_b)
    return {
        "EN": entropy(fused),
        "SD": math.sqrt(np.mean((fused - fused.mean()) ** 2)),
        "SF": spatial_frequency(fused),
        "MI": sum(mutual_info_score(fused.ravel(), source.ravel()) for source in sources),
        "SCD": correlation(source_a, fused - source_b) + correlation(source_b, fused - source_a),
        "VIF": sum(fidelity(source, fused) for source in sources),
        "Qabf": edge_transfer(fused, source_a, source_b),
        "SSIM": sum(structural_similarity(fused, source, data_range=2) for source in sources),
    }


def entropy(image: Image) -> float:
    counts = np.histogram(image.astype(np.uint8).ravel(), bins=256, range=(0, 256))[0]
    shares = counts / image.size
    return -math.fsum(share * math.log2(share) for share in shares.tolist() if share > 0)


def spatial_frequency(image: Image) -> float:
    return math.sqrt(np.mean(np.diff(image, axis=0) ** 2) + np.mean(np.diff(image, axis=1) ** 2))


def correlation(x: Image, y: Image) -> float:
    x, y = x - x.mean(), y - y.mean()
    return float(np.sum(x * y) / math.sqrt(np.sum(x * x) * np.sum(y * y)))


def fidelity(source: Image, fused: Image) -> float:
    passed = available = 0.0
    for scale in range(1, 5):
        size = 2 ** (5 - scale) + 1
        window = gaussian(size)
        if scale > 1:
            source, fused = (convolve2d(image, window, mode="valid")[::2, ::2] for image in (source, fused))
        mean_x, mean_f = convolve2d(source, window, mode="valid"), convolve2d(fused, window, mode="valid")
        variance_x = convolve2d(source * source, window, mode="valid") - mean_x * mean_x
        variance_f = convolve2d(fused * fused, window, mode="valid") - mean_f * mean_f
        covariance = convolve2d(source * fused, window, mode="valid") - mean_x * mean_f
        variance_x[variance_x < 0] = 0
        variance_f[variance_f < 0] = 0
        gain = covariance / (variance_x + EPSILON)
        residual = variance_f - gain * covariance
        flat = variance_x < EPSILON
        gain[flat], residual[flat], variance_x[flat] = 0, variance_f[flat], 0
        flat = variance_f < EPSILON
        gain[flat], residual[flat] = 0, 0
        negative = gain < 0
        residual[negative], gain[negative] = variance_f[negative], 0
        residual[residual <= EPSILON] = EPSILON
        passed += np.sum(np.log10(1 + gain * gain * variance_x / (residual + NOISE)))
        available += np.sum(np.log10(1 + variance_x / NOISE))
    return passed / available if available else 1.0


def gaussian(size: int) -> Image:
    offsets = np.arange(size) - size // 2
    line = np.exp(-(offsets**2) / (2 * (size / 5) ** 2))
    window: Image = np.outer(line, line) / line.sum() ** 2
    return window


def edge_transfer(fused: Image, source_a: Image, source_b: Image) -> float:
    strength_f, angle_f = edges(fused)
    kept = total = 0.0
    for source in (source_a, source_b):
        strength, angle = edges(source)
        share = np.where(strength > strength_f, strength_f / strength, strength / strength_f)
        share = np.where(strength == strength_f, strength_f, share)
        direction = 1 - np.abs(angle - angle_f) / (math.pi / 2)
        quality = 0.9994 / (1 + np.exp(-15 * (share - 0.5))) * 0.9879 / (1 + np.exp(-22 * (direction - 0.8)))
        kept += np.sum(quality * strength)
        total += np.sum(strength)
    return kept / total


def edges(image: Image) -> tuple[Image, Image]:
    x = -convolve2d(image, SOBEL, mode="same")  # a convolution flips the window
    y = -convolve2d(image, SOBEL.T, mode="same")
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.where(x == 0, math.pi / 2, -np.arctan(y / x))
    return np.sqrt(x * x + y * y), angle
