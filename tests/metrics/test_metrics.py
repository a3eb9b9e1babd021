"""Analytic values, an independent SSIM, the documented edge cases and the refused inputs."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from decofuse.metrics import (
    correlations_of_differences,
    entropy,
    fusion_metrics,
    mutual_information,
    qabf,
    spatial_frequency,
    ssim,
    standard_deviation,
    visual_information_fidelity,
)

NAMES = ["EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM"]
DTYPES = [torch.float64, torch.float32]


def noise(seed: int, height: int = 48, width: int = 56, images: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (images, height, width), generator=generator).double()


def constant(level: float, height: int = 48, width: int = 56) -> torch.Tensor:
    return torch.full((1, height, width), level, dtype=torch.float64)


def test_entropy_of_known_histograms() -> None:
    levels = torch.arange(256.0).repeat(1, 4, 1)
    assert entropy(levels).item() == 8
    quarters = torch.tensor([[[0.0, 0.0, 1.0, 2.0]]])
    assert entropy(quarters).item() == 1.5
    assert math.copysign(1, entropy(constant(77)).item()) == 1, "a constant image has +0 bits, not -0"


def test_levels_are_rounded_half_to_even() -> None:
    assert entropy(torch.tensor([[[0.5, -0.4, 0.0, 1.5]]])).item() == pytest.approx(0.8112781)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_standard_deviation_and_spatial_frequency_of_a_chessboard(dtype: torch.dtype) -> None:
    board = (255 * (torch.arange(8)[:, None] + torch.arange(10)).remainder(2))[None].to(dtype)
    assert standard_deviation(board).item() == 127.5
    assert spatial_frequency(board).item() == pytest.approx(255 * math.sqrt(2), rel=1e-6)
    ramp = 3 * torch.arange(10, dtype=dtype).expand(1, 8, 10)
    assert spatial_frequency(ramp).item() == 3, "each direction is divided by its own count"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_constant_image_has_an_exactly_zero_deviation(dtype: torch.dtype) -> None:
    assert standard_deviation(constant(200.1, 300, 301).to(dtype)).item() == 0


def test_mutual_information_is_in_nats_and_summed() -> None:
    halves = torch.tensor([[[0.0, 0.0, 255.0, 255.0]]])
    stripes = torch.tensor([[[0.0, 255.0, 0.0, 255.0]]])
    assert mutual_information(halves, halves, halves).item() == pytest.approx(2 * math.log(2))
    assert mutual_information(halves, halves, stripes).item() == pytest.approx(math.log(2))
    assert mutual_information(halves, stripes, stripes).item() == 0


def test_correlations_of_differences() -> None:
    a, b = noise(0), noise(1)
    assert correlations_of_differences((a + b) / 2, a, b).item() == pytest.approx(
        np.corrcoef(a.flatten(), (a - b).flatten())[0, 1] + np.corrcoef(b.flatten(), (b - a).flatten())[0, 1]
    )
    assert correlations_of_differences(a, a, constant(10)).item() == pytest.approx(1)
    assert correlations_of_differences(a, a, a).item() == 0


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_fidelity_of_identical_images_is_two(dtype: torch.dtype) -> None:
    image = noise(0).to(dtype)
    assert visual_information_fidelity(image, image, image).item() == pytest.approx(2, rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_fidelity_of_a_source_without_information_is_one(dtype: torch.dtype) -> None:
    image, flat = noise(0).to(dtype), constant(200.1).to(dtype)
    assert visual_information_fidelity(image, image, flat).item() == pytest.approx(2, rel=1e-6)
    assert visual_information_fidelity(flat, image, image).item() == pytest.approx(0, abs=1e-6)


def test_fidelity_follows_its_definition_at_two_dimensional_windows() -> None:
    """The formula written down once more, with full two-dimensional windows and no sharing."""

    def blur(image: torch.Tensor, size: int) -> torch.Tensor:
        line = torch.exp(-((torch.arange(size) - size // 2).double() ** 2) / (2 * (size / 5) ** 2))
        window = torch.outer(line, line) / line.sum() ** 2
        return torch.nn.functional.conv2d(image[None], window[None, None])[0]

    def one(source: torch.Tensor, fused: torch.Tensor) -> float:
        passed = available = 0.0
        for size in (17, 9, 5, 3):
            if size < 17:
                source, fused = (blur(image, size)[:, ::2, ::2] for image in (source, fused))
            mean_x, mean_f = blur(source, size), blur(fused, size)
            s1, s2 = blur(source**2, size) - mean_x**2, blur(fused**2, size) - mean_f**2
            gain = ((blur(source * fused, size) - mean_x * mean_f) / (s1 + 1e-10)).clamp(min=0)
            passed += torch.log10(1 + gain**2 * s1 / (s2 - gain**2 * s1 + 2)).sum().item()
            available += torch.log10(1 + s1 / 2).sum().item()
        return passed / available

    a, b = noise(0), noise(1)
    fused = (0.7 * a + 0.3 * b).round()
    expected = one(a, fused) + one(b, fused)
    assert visual_information_fidelity(fused, a, b).item() == pytest.approx(expected, rel=1e-6)


def test_qabf_of_halved_sources() -> None:
    """Half the strength and the same angle at every pixel, frame included: Q is one constant."""
    half = (noise(0) / 2).floor()
    expected = 0.9994 / (1 + math.exp(-15 * (0.5 - 0.5))) * 0.9879 / (1 + math.exp(-22 * (1 - 0.8)))
    assert qabf(half, 2 * half, 2 * half).item() == pytest.approx(expected, rel=1e-9)


def test_qabf_counts_equal_strengths_as_the_strength_itself() -> None:
    flat = constant(100)  # its only edge is the zero-padded frame, where the strength is at least 300
    assert qabf(flat, flat, flat).item() == pytest.approx(0.9994 * 0.9879 / (1 + math.exp(-22 * 0.2)), rel=1e-9)


def test_qabf_without_any_gradient_in_the_sources_is_zero() -> None:
    zero = constant(0)
    assert qabf(zero, zero, zero).item() == 0
    assert qabf(noise(0), zero, zero).item() == 0


@pytest.mark.parametrize(("convention", "data_range"), [("cddfuse", 2), ("standard", 255)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=str)
def test_ssim_equals_scikit_image(convention: str, data_range: int, dtype: torch.dtype, tolerance: float) -> None:
    a, b = noise(0, 31, 40), noise(1, 31, 40)
    fused = (0.6 * a + 0.4 * b).round()
    expected = sum(
        structural_similarity(source[0].numpy(), fused[0].numpy(), data_range=data_range) for source in (a, b)
    )
    result = ssim(fused.to(dtype), a.to(dtype), b.to(dtype), dynamic_range=convention)
    assert result.item() == pytest.approx(expected, rel=tolerance)


def test_ssim_of_identical_images_is_two() -> None:
    image = noise(0)
    assert ssim(image, image, image).item() == pytest.approx(2)


@pytest.mark.parametrize("name", NAMES)
def test_every_image_of_a_batch_is_scored_alone(name: str) -> None:
    fused, a, b = (noise(seed, 44, 47, images=3) for seed in range(3))
    metric = fusion_metrics()[name]
    result = metric(fused, a, b)
    alone = [metric(fused[i : i + 1], a[i : i + 1], b[i : i + 1]).item() for i in range(3)]
    assert result.tolist() == pytest.approx(alone, rel=1e-12)
    assert torch.equal(metric(fused[:, None], a[:, None], b[:, None]), result), "a channel axis changes nothing"


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_sources_does_not_matter(name: str) -> None:
    fused, a, b = (noise(seed) for seed in range(3))
    metric = fusion_metrics()[name]
    assert metric(fused, a, b).item() == pytest.approx(metric(fused, b, a).item(), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16], ids=str)
def test_inputs_stay_as_they_are_and_half_precision_is_widened(name: str, dtype: torch.dtype) -> None:
    images = [noise(seed).to(dtype) for seed in range(3)]
    copies = [image.clone() for image in images]
    result = fusion_metrics()[name](*images)
    assert result.dtype == (torch.float32 if dtype == torch.float16 else dtype)
    assert all(torch.equal(image, copy) for image, copy in zip(images, copies, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_degenerate_images_never_give_nan(name: str) -> None:
    pictures = [constant(0), constant(255), constant(77), noise(0), noise(1)]
    metric = fusion_metrics()[name]
    for fused in pictures:
        for a in pictures:
            for b in pictures:
                assert math.isfinite(metric(fused, a, b).item())
                assert math.isfinite(metric(fused.float(), a.float(), b.float()).item())


@pytest.mark.parametrize(("name", "side"), [("SF", 2), ("VIF", 41), ("SSIM", 7)])
def test_too_small_an_image_is_refused_with_the_minimum(name: str, side: int) -> None:
    metric = fusion_metrics()[name]
    assert metric.minimum_side == side
    small = [noise(seed, side - 1, 60) for seed in range(3)]
    with pytest.raises(ValueError, match=f"at least {side}x{side} pixels, found {side - 1}x60"):
        metric(*small)
    assert math.isfinite(metric(*(noise(seed, side, side) for seed in range(3))).item())


@pytest.mark.parametrize("name", NAMES)
def test_bad_images_are_refused(name: str) -> None:
    metric = fusion_metrics()[name]
    image = noise(0)
    with pytest.raises(ValueError, match="integers would wrap"):
        metric(image.to(torch.uint8), image, image)
    with pytest.raises(ValueError, match=r"found \(48, 56\)"):
        metric(image[0], image, image)
    with pytest.raises(ValueError, match=r"grey images as NxHxW or Nx1xHxW, found \(1, 3, 48, 56\)"):
        metric(image.repeat(1, 3, 1, 1), image, image)
    with pytest.raises(ValueError, match="at least"):
        metric(image[:0], image[:0], image[:0])
    for level in (-1.0, 255.5, math.nan, math.inf):
        wrong = image.clone()
        wrong[0, 3, 4] = level
        with pytest.raises(ValueError, match=r"grey levels in \[0, 255\]"):
            metric(wrong, wrong, wrong)


@pytest.mark.parametrize("name", ["MI", "SCD", "VIF", "Qabf", "SSIM"])
def test_sources_of_another_size_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="one size"):
        fusion_metrics()[name](noise(0), noise(1), noise(2, 48, 57))


def test_an_unknown_dynamic_range_is_refused() -> None:
    image = noise(0)
    with pytest.raises(ValueError, match="'uint8'"):
        ssim(image, image, image, dynamic_range="uint8")


def test_the_registry_describes_every_metric() -> None:
    for ssim_range, level in (("cddfuse", "L = 2 "), ("standard", "L = 255 ")):
        metrics = fusion_metrics(ssim_range)
        assert list(metrics) == NAMES
        assert level in metrics["SSIM"].convention
        assert "nats" in metrics["MI"].convention
        assert {metric.direction for metric in metrics.values()} == {"higher"}
        assert all(metric.formula and metric.channel == "grey" for metric in metrics.values())
