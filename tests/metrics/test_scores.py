"""Averages over images: only finite values, whatever the batches."""

import math

import numpy as np
import pytest
import torch

from decofuse.metrics import METRICS, FusionScores, Metric, fusion_metrics, score


def noise(seed: int, images: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (images, 44, 48), generator=generator).double()


def fixed(values: list[float]) -> Metric:
    return Metric(lambda images: torch.tensor(values)[: images.stack.shape[1]], "higher", "grey", "", "")


def test_scores_are_those_of_each_metric_alone():
    fused, a, b = (noise(seed) for seed in range(3))
    metrics = fusion_metrics([name for name in METRICS if name != "MS-SSIM"])
    values = score(metrics, fused, a, b)
    assert list(values) == list(metrics)
    for name, metric in metrics.items():
        assert values[name].tolist() == pytest.approx(metric(fused, a, b).tolist(), rel=1e-12), name


def test_averages_are_means_and_population_deviations():
    fused, a, b = (noise(seed) for seed in range(3))
    scores = FusionScores(fusion_metrics())
    values = scores.update(fused, a, b)
    for name, average in scores.compute().items():
        assert average.mean == pytest.approx(values[name].mean().item(), rel=1e-13)
        assert average.std == pytest.approx(values[name].std(correction=0).item(), rel=1e-9)
        assert (average.finite, average.images) == (6, 6)


def test_averages_do_not_depend_on_batches():
    fused, a, b = (noise(seed) for seed in range(3))
    results = []
    for size in (1, 4, 6):
        scores = FusionScores(fusion_metrics())
        for batch in zip(*(images.split(size) for images in (fused, a, b)), strict=True):
            scores.update(*batch)
        results.append(scores.compute())
    for result in results[1:]:
        for name, average in result.items():
            assert average == pytest.approx(results[0][name], rel=1e-12)


def test_only_finite_values_enter_and_are_counted():
    scores = FusionScores({"some": fixed([3.0, math.nan, 5.0, math.inf]), "none": fixed([math.nan, -math.inf] * 2)})
    scores.update(*(noise(seed, 4) for seed in range(3)))
    assert scores.compute()["some"] == (4.0, 1.0, 2, 4)
    assert scores.compute()["none"] == (None, None, 0, 4)


def test_large_offsets_and_many_values_keep_their_deviation():
    values = 1e9 + np.random.default_rng(0).normal(size=20_000)
    scores = FusionScores({"x": fixed([])})
    scores.add("x", values.tolist())
    average = scores.compute()["x"]
    assert average.mean == pytest.approx(values.mean(), rel=1e-15)
    assert average.std == pytest.approx(values.std(), rel=1e-6)


def test_without_images_there_is_no_average():
    assert FusionScores(fusion_metrics(["EN"])).compute() == {"EN": (None, None, 0, 0)}
