"""Progress bars: on a terminal only, so that logs stay short."""

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], description: str, total: int | None = None, unit: str = "it") -> "tqdm[T]":
    """Iterate over `items` with a bar on stderr (rate, remaining time); silent when stderr is no terminal."""
    return tqdm(items, desc=description, total=total, unit=unit, disable=None, dynamic_ncols=True)
