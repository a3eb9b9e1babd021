"""Reading images for scoring, their values, and averages: the same for a split of a dataset and for any folders."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from decofuse.data.images import grey_levels, read_image
from decofuse.errors import UserError
from decofuse.evaluation.settings import EvaluationSettings, Precision
from decofuse.metrics import FusionScores, Metric, fusion_metrics, score
from decofuse.metrics.scores import Average

DIGITS = 9  # significant digits kept of every value

Row = Mapping[str, float]  # values of one image by metric
T = TypeVar("T")
R = TypeVar("R")


def metrics_of(settings: EvaluationSettings) -> dict[str, Metric]:
    """The metrics that the settings name, by name.

    Raises:
        UserError: an unknown metric or convention.
    """
    try:
        return fusion_metrics(settings.metrics, settings.convention, settings.conventions)
    except ValueError as error:
        raise UserError(str(error)) from error


def read_levels(path: Path, precision: Precision) -> Tensor:
    """An image as 1×H×W grey levels in [0, 255] of that precision: luma, rounded to whole levels.

    Raises:
        UserError: the file is missing or is no image.
    """
    return torch.from_numpy(grey_levels(read_image(path)))[None].to(getattr(torch, precision))


def score_image(metrics: Mapping[str, Metric], fused: Tensor, source_a: Tensor, source_b: Tensor) -> dict[str, float]:
    """Values of one fused image, all images 1×H×W as `read_levels` gives them, to 9 significant digits.

    A metric whose minimum the image is below has no value.
    """
    side = min(fused.shape[-2:])
    possible = {name: metric for name, metric in metrics.items() if side >= metric.minimum_side}
    values = score(possible, fused, source_a, source_b)
    return {name: float(f"{value.item():.{DIGITS}g}") for name, value in values.items()}


def averages(metrics: Mapping[str, Metric], rows: Iterable[Row]) -> dict[str, Average]:
    """Mean, population standard deviation and number of the finite values by metric, in the order of the rows."""
    scores = FusionScores(metrics)
    for row in rows:
        for name, value in row.items():
            scores.add(name, [value])
    return scores.compute()


def in_parallel(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """The results of `function` in the order of the items.

    Each worker computes in one thread: sums then have one order, whatever the number of workers, and workers do not
    fight for cores. At most twice as many items as workers are under way, so memory does not grow with the items.
    """
    waiting: deque[Future[R]] = deque()
    with _one_thread_each(), ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
