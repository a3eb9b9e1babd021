"""Analytic values, independent references, the documented edge cases and the refused inputs."""

import inspect
import itertools
import math
from typing import Any

import numpy as np
import pytest
import skimage
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from decofuse.evaluation.settings import METRIC_CONVENTIONS
from decofuse.metrics import (
    METRICS,
    USUAL,
    Metric,
    average_gradient,
    correlation_coefficient,
    correlations_of_differences,
    cross_entropy,
    edge_intensity,
    entropy,
    feature_mutual_information,
    fusion_fidelity,
    fusion_metrics,
    labf,
    mean_squared_error,
    ms_ssim,
    mutual_information,
    nabf,
    normalised_mutual_information,
    peak_signal_to_noise_ratio,
    qabf,
    qcb,
    qcv,
    root_mean_squared_error,
    spatial_frequency,
    ssim,
    standard_deviation,
    variance,
    visual_information_fidelity,
)
from decofuse.metrics._windows import (
    box_sums,
    gaussian,
    shifted_sobel,
    shifted_sums,
    sobel,
    strip_sums,
    window_sums,
)

NAMES = list(METRICS)
FORMS = [(name, convention) for name, its in METRICS.items() for convention in its.conventions]
SYMMETRIC = [form for form in FORMS if not METRICS[form[0]].of_fused_alone and form[0] != "VIFF"]
NAN_ALLOWED = {"Qcb", "Qcv"}
DTYPES = [torch.float64, torch.float32]


def noise(seed: int, height: int = 48, width: int = 56, images: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (images, height, width), generator=generator).double()


def constant(level: float, height: int = 48, width: int = 56) -> torch.Tensor:
    return torch.full((1, height, width), level, dtype=torch.float64)


def of(form: tuple[str, str]) -> Metric:
    name, convention = form
    return fusion_metrics([name], conventions={name: convention})[name]


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
    result = ssim(fused.to(dtype), a.to(dtype), b.to(dtype), convention)
    assert result.item() == pytest.approx(expected, rel=tolerance)


def test_ssim_of_identical_images_is_two() -> None:
    image = noise(0)
    assert ssim(image, image, image).item() == pytest.approx(2)


@pytest.mark.parametrize("form", FORMS, ids="-".join)
def test_every_image_of_a_batch_is_scored_alone(form: tuple[str, str]) -> None:
    metric = of(form)
    side = max(metric.minimum_side, 44)
    fused, a, b = (noise(seed, side, side + 3, images=3) for seed in range(3))
    result = metric(fused, a, b)
    alone = [metric(fused[i : i + 1], a[i : i + 1], b[i : i + 1]).item() for i in range(3)]
    assert result.tolist() == pytest.approx(alone, rel=1e-12)
    assert torch.equal(metric(fused[:, None], a[:, None], b[:, None]), result), "a channel axis changes nothing"


@pytest.mark.parametrize("form", SYMMETRIC, ids="-".join)
def test_the_order_of_the_sources_does_not_matter(form: tuple[str, str]) -> None:
    metric = of(form)
    side = max(metric.minimum_side, 48)
    fused, a, b = (noise(seed, side, side) for seed in range(3))
    assert metric(fused, a, b).item() == pytest.approx(metric(fused, b, a).item(), rel=1e-12)


def test_viff_takes_the_second_source_where_both_have_the_same_gain() -> None:
    fused, a, b = (noise(seed) for seed in range(3))
    assert fusion_fidelity(fused, a, b).item() != pytest.approx(fusion_fidelity(fused, b, a).item(), rel=1e-3)


@pytest.mark.parametrize("form", FORMS, ids="-".join)
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16], ids=str)
def test_inputs_stay_as_they_are_and_half_precision_is_widened(form: tuple[str, str], dtype: torch.dtype) -> None:
    metric = of(form)
    side = max(metric.minimum_side, 44)
    images = [noise(seed, side, side).to(dtype) for seed in range(3)]
    copies = [image.clone() for image in images]
    result = metric(*images)
    assert result.dtype == (torch.float32 if dtype == torch.float16 else dtype)
    assert all(torch.equal(image, copy) for image, copy in zip(images, copies, strict=True))


@pytest.mark.parametrize("form", FORMS, ids="-".join)
def test_degenerate_images_never_give_nan(form: tuple[str, str]) -> None:
    metric = of(form)
    side = max(metric.minimum_side, 42)
    pictures = [constant(0, side, side), constant(255, side, side), constant(77, side, side)]
    pictures += [noise(seed, side, side) for seed in range(2)]
    for triple in itertools.product(pictures, repeat=1 if metric.of_fused_alone else 3):
        fused, a, b = triple if len(triple) == 3 else (triple[0],) * 3
        for dtype in DTYPES:
            value = metric(fused.to(dtype), a.to(dtype), b.to(dtype)).item()
            flat = any(image.std() == 0 for image in (fused, a, b))
            assert not math.isnan(value) or (form[0] in NAN_ALLOWED and flat)
            assert math.isfinite(value) or form[0] in NAN_ALLOWED | {"PSNR"}


@pytest.mark.parametrize("form", [form for form in FORMS if of(form).minimum_side > 1], ids="-".join)
def test_too_small_an_image_is_refused_with_the_minimum(form: tuple[str, str]) -> None:
    metric = of(form)
    side = metric.minimum_side
    small = [noise(seed, side - 1, 200) for seed in range(3)]
    with pytest.raises(ValueError, match=f"at least {side}x{side} pixels, found {side - 1}x200"):
        metric(*small)
    assert math.isfinite(metric(*(noise(seed, side, side) for seed in range(3))).item())


@pytest.mark.parametrize("name", NAMES)
def test_bad_images_are_refused(name: str) -> None:
    metric = fusion_metrics([name])[name]
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


@pytest.mark.parametrize("name", [name for name in NAMES if not METRICS[name].of_fused_alone])
def test_sources_of_another_size_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="one size"):
        fusion_metrics([name])[name](noise(0), noise(1), noise(2, 48, 57))


# --- definitions, written down once more -----------------------------------------------------------------------------


def test_gradient_metrics_follow_numpy_and_scipy() -> None:
    image = noise(0)[0].numpy()
    y, x = np.gradient(image)
    total = np.sqrt((x**2 + y**2) / 2).sum()
    batch = torch.from_numpy(image)[None]
    assert average_gradient(batch).item() == pytest.approx(total / image.size, rel=1e-12)
    assert average_gradient(batch, "vifb").item() == pytest.approx(total / (47 * 55), rel=1e-12)
    magnitude = np.hypot(ndimage.sobel(image, 0, mode="nearest"), ndimage.sobel(image, 1, mode="nearest"))
    assert edge_intensity(batch).item() == pytest.approx(magnitude.mean(), rel=1e-12)
    squares = np.diff(image, axis=0) ** 2, np.diff(image, axis=1) ** 2
    assert spatial_frequency(batch, "vifb").item() == pytest.approx(
        math.sqrt(sum(its.sum() for its in squares) / image.size), rel=1e-12
    )


def test_errors_follow_scikit_image() -> None:
    fused, a, b = (noise(seed) for seed in range(3))
    pairs = [(source[0].numpy(), fused[0].numpy()) for source in (a, b)]
    error = sum(skimage.metrics.mean_squared_error(*pair) for pair in pairs) / 2
    assert mean_squared_error(fused, a, b).item() == pytest.approx(error, rel=1e-12)
    assert mean_squared_error(fused, a, b, "unit").item() == pytest.approx(error / 255**2, rel=1e-12)
    assert root_mean_squared_error(fused, a, b).item() == pytest.approx(math.sqrt(error), rel=1e-12)
    same = skimage.metrics.peak_signal_noise_ratio(*pairs[0], data_range=255)
    assert peak_signal_to_noise_ratio(fused, a, a, "standard").item() == pytest.approx(same, rel=1e-12)
    dark = (fused / 2).floor()
    expected = 10 * math.log10(dark.max().item() ** 2 / mean_squared_error(dark, a, b).item())
    assert peak_signal_to_noise_ratio(dark, a, b).item() == pytest.approx(expected, rel=1e-12)
    assert peak_signal_to_noise_ratio(a, a, a).item() == math.inf


def test_statistics_follow_numpy() -> None:
    fused, a = (noise(seed) for seed in range(2))
    assert variance(fused).item() == pytest.approx(np.var(fused.numpy()), rel=1e-12)
    assert standard_deviation(fused, "ssdfusion").item() == pytest.approx(np.std(fused.numpy(), ddof=1), rel=1e-12)
    assert correlation_coefficient(fused, a, a).item() == pytest.approx(
        np.corrcoef(fused.flatten(), a.flatten())[0, 1], rel=1e-9
    )
    assert correlation_coefficient(a, a, 255 - a).item() == pytest.approx(0, abs=1e-12)
    assert correlation_coefficient(a, a, constant(9)).item() == pytest.approx(0.5, rel=1e-12)


def test_information_of_known_histograms() -> None:
    halves = torch.tensor([[[10.0, 10.0, 20.0, 20.0]]])
    stripes = torch.tensor([[[10.0, 20.0, 10.0, 20.0]]])
    assert normalised_mutual_information(halves, halves, stripes).item() == pytest.approx(1)
    assert mutual_information(halves, halves, stripes, "bits").item() == pytest.approx(1)
    fused = torch.tensor([[[10.0, 20.0, 20.0, 20.0]]])
    expected = 0.5 * math.log2(0.5 / 0.25) + 0.5 * math.log2(0.5 / 0.75)
    assert cross_entropy(fused, halves, stripes).item() == pytest.approx(expected)
    assert cross_entropy(fused, halves + 100, halves + 100).item() == 0


def test_stretching_merges_or_parts_no_levels_that_span_the_range() -> None:
    a, b, fused = (noise(seed) for seed in range(3))
    assert mutual_information(fused, a, b, "vifb").item() == pytest.approx(mutual_information(fused, a, b).item())


@pytest.mark.parametrize("source", [1, 2])
def test_gaussian_ssim_equals_scikit_image(source: int) -> None:
    fused, a = noise(0), noise(source)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    _, full = structural_similarity(a[0].numpy(), fused[0].numpy(), full=True, win_size=11, **options)
    assert ssim(fused, a, a, "vifb").item() == pytest.approx(2 * full[5:-5, 5:-5].mean(), rel=1e-9)


@pytest.mark.parametrize("convention", METRICS["MS-SSIM"].conventions)
def test_ms_ssim_of_identical_images_is_two(convention: str) -> None:
    image = noise(0, 176, 180)
    assert ms_ssim(image, image, image, convention).item() == pytest.approx(2)


def test_viff_of_the_better_source_alone_is_one() -> None:
    image = noise(0)
    assert fusion_fidelity(image, image, image).item() == pytest.approx(1)


def test_transfer_artefacts_and_loss_add_up_to_one() -> None:
    images = [noise(seed) for seed in range(3)]
    parts = qabf(*images, "petrovic") + nabf(*images) + labf(*images)
    assert parts.item() == pytest.approx(1, rel=1e-12)


def test_perception_of_identical_images() -> None:
    image = noise(0)
    assert qcb(image, image, image).item() == pytest.approx(1)
    assert qcv(image, image, image).item() == 0


def test_feature_information_of_one_window_follows_its_definition() -> None:
    """One window, written with loops over the cells."""
    generator = np.random.default_rng(3)
    for _ in range(20):
        x, f = (np.floor(generator.uniform(0, 256, (3, 3))) for _ in range(2))
        batch = [torch.from_numpy(image)[None] for image in (f, x, x)]
        assert feature_mutual_information(*batch).item() == pytest.approx(window_information(x, f), rel=1e-9)


def window_information(x: np.ndarray, f: np.ndarray) -> float:
    p, q = (its / its.sum() for its in ((w.T.ravel() - w.min()) / (w.max() - w.min()) for w in (x, f)))
    cells = np.arange(1, 10)
    c = np.corrcoef(p, q)[0, 1]
    spread = [math.sqrt((cells**2 * its).sum() - (cells * its).sum() ** 2) for its in (p, q)]
    cumulative_p, cumulative_q = p.cumsum(), q.cumsum()
    bound = np.zeros((10, 10))
    for i, j in itertools.product(range(9), repeat=2):
        u, v = cumulative_q[i], cumulative_p[j]
        bound[i + 1, j + 1] = min(u, v) if c >= 0 else max(u + v - 1, 0)
    distance = sum(bound[i + 1, j + 1] - cumulative_q[i] * cumulative_p[j] for i in range(9) for j in range(9))
    share = c * spread[0] * spread[1] / distance
    joint = share * np.diff(np.diff(bound, axis=0), axis=1) + (1 - share) * np.outer(q, p)
    entropies = [-sum(value * math.log2(abs(value)) for value in its.ravel() if value) for its in (p, q, joint)]
    return 2 * (entropies[0] + entropies[1] - entropies[2]) / (entropies[0] + entropies[1])


# --- windows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "step"), [(3, 1), (17, 1), (9, 2), (3, 2)])
@pytest.mark.parametrize("height", [40, 41])
def test_filters_of_both_kinds_agree(size: int, step: int, height: int) -> None:
    images = noise(0, height, 43, images=4).unflatten(0, (2, 2))
    weights = gaussian(size, size / 5)
    assert torch.allclose(window_sums(images, weights, step), shifted_sums(images, weights, step), rtol=1e-12)
    assert torch.equal(box_sums(images, 7), shifted_sums(images, [1.0] * 7)), "whole numbers are summed exactly"
    for border in ("constant", "replicate", "reflect"):
        for ours, torch_alone in zip(sobel(images, border), shifted_sobel(images, border), strict=True):
            assert torch.equal(ours, torch_alone)


def test_tall_images_are_cut_into_strips_without_a_trace() -> None:
    images = noise(0, 700, 300)
    total = strip_sums(lambda strip: shifted_sums(strip, [1.0] * 5).sum(dim=(-2, -1)), images, 5)
    assert total.item() == shifted_sums(images, [1.0] * 5).sum().item()


# --- registry --------------------------------------------------------------------------------------------------------


def test_the_usual_metrics_in_published_conventions_come_first() -> None:
    assert tuple(fusion_metrics()) == USUAL
    assert "L = 2 " in fusion_metrics()["SSIM"].convention
    assert "nats" in fusion_metrics()["MI"].convention


def test_standard_conventions_and_single_ones() -> None:
    assert "L = 255 " in fusion_metrics(convention="standard")["SSIM"].convention
    metrics = fusion_metrics(("SSIM", "PSNR"), "standard", {"SSIM": "vifb"})
    assert list(metrics) == ["SSIM", "PSNR"]
    assert (metrics["SSIM"].minimum_side, fusion_metrics()["SSIM"].minimum_side) == (11, 7)
    assert "Gaussian" in metrics["SSIM"].convention and "255" in metrics["PSNR"].convention


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": ["SIM"]}, "did you mean SSIM"),
        ({"convention": "publshed"}, "did you mean published"),
        ({"conventions": {"SSIM": "vifd"}}, "convention of SSIM of cddfuse, standard, .*did you mean vifb"),
        ({"conventions": {"Qxy": "vifb"}}, "metric of EN, SD, SF"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        fusion_metrics(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name, its in METRICS.items() if len(its.conventions) > 1])
def test_functions_refuse_an_unknown_convention(name: str) -> None:
    images = [noise(seed, 176, 176) for seed in range(1 if METRICS[name].of_fused_alone else 3)]
    with pytest.raises(ValueError, match="'other'"):
        METRICS[name].function(*images, convention="other")


@pytest.mark.parametrize("form", FORMS, ids="-".join)
def test_functions_and_registry_agree(form: tuple[str, str]) -> None:
    name, convention = form
    definition, metric = METRICS[name], of(form)
    side = max(metric.minimum_side, 41)
    images = [noise(seed, side, side) for seed in range(3)]
    options = {"convention": convention} if len(definition.conventions) > 1 else {}
    arguments = images[:1] if definition.of_fused_alone else images
    assert torch.equal(definition.function(*arguments, **options), metric(*images))


@pytest.mark.parametrize("name", NAMES)
def test_the_registry_describes_every_metric(name: str) -> None:
    its = METRICS[name]
    assert its.title and its.formula and its.range and its.reference and its.code
    assert its.direction in ("higher", "lower") and its.channel == "grey"
    assert {its.published, its.standard, *its.minimum_sides} <= set(its.conventions)
    assert METRIC_CONVENTIONS[name] == tuple(its.conventions)
    assert list(METRIC_CONVENTIONS) == NAMES
    default = inspect.signature(its.function).parameters.get("convention")
    assert (default is None and len(its.conventions) == 1) or (default is not None and default.default == its.published)
