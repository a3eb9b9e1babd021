"""How much memory fusing takes, and the tiles that keep within a limit."""

import ctypes
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import psutil
import torch

from decofuse.errors import UserError
from decofuse.fusing.tiling import ALIGN, Tiles
from decofuse.models.method import Fuser
from decofuse.settings import Views

Size = tuple[int, int, int]  # batch, height, width [pixels]

_PROBE = 256  # side of the image on which a network is measured [pixels]
_SHARE = 0.8  # of the limit that is planned with: allocators keep pieces that fit nothing
_POLL_S = 0.001


@dataclass(frozen=True)
class Need:
    """Bytes a pixel that fusing needs beside the sources.

    Attributes:
        network: while the network runs; measured on a small image, larger ones need a little less.
        image: for the whole image's levels, stretched levels, quantised image and luma.
    """

    network: float
    image: float


def measure(network: Fuser, views: Views, device: torch.device) -> Need:
    """What a network needs, measured on noise of 256×256 pixels."""
    channels = [3 if colour == "rgb" else 1 for colour in (views.source_a, views.source_b)]

    def fuse() -> None:
        with torch.inference_mode():
            network.fuse(*(torch.rand(1, count, _PROBE, _PROBE, device=device) for count in channels))

    levels = 4 * (3 if views.fused == "rgb" else 1)
    return Need(_peak(fuse, device) / _PROBE**2, 0 if device.type == "cuda" else 2 * levels + 16)


def tiles_within(limit: int, need: Need, device: torch.device, size: Size, smallest: Tiles) -> Tiles | None:
    """The largest tiles whose fusing keeps this process within a limit; None if images of this size fit whole.

    Args:
        limit: for the whole process, or for the memory of the GPU where `device` is one [bytes].
        need: what the network needs.
        device: where it computes.
        size: of what is fused at a time.
        smallest: the smallest tiles that the method allows.

    Raises:
        UserError: the smallest tile does not fit.
    """
    batch, height, width = size
    left = limit * _SHARE - _in_use(device) - need.image * math.prod(size)
    if need.network * math.prod(size) <= left:
        return None
    side = int(math.sqrt(max(left, 0) / (batch * need.network))) // ALIGN * ALIGN
    if side < smallest.side:
        needed = limit + (batch * need.network * smallest.side**2 - left) / _SHARE
        raise UserError(
            f"--max-memory: expected at least {_shown(needed)} for {width}x{height} pixels, found {_shown(limit)}; "
            "raise it"
        )
    return replace(smallest, side=side)


def check_available(need: Need, size: Size) -> None:
    """Refuse to fuse whole images that need more memory than the machine has free.

    Raises:
        UserError: they would need more.
    """
    needed = (need.network + need.image) * math.prod(size)
    free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"expected {_shown(needed)} of free memory for {size[2]}x{size[1]} pixels at once, found {_shown(free)}; "
            "fuse in tiles with --max-memory"
        )


def _peak(call: Callable[[], None], device: torch.device) -> int:
    """Bytes that `call` needs at most beside what is in use."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    _give_back_freed()
    before, peak, done = _in_use(device), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(_POLL_S):
            peak = max(peak, _in_use(device))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        call()
    finally:
        done.set()
        watcher.join()
    return max(peak - before, 1)


def _give_back_freed() -> None:
    """Have glibc return what it kept of freed memory, which would be used again and not be seen to grow."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _in_use(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    rss: int = psutil.Process().memory_info().rss
    return rss


def _shown(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
