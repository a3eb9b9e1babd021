"""The Restormer family against its plain form: training steps, memory, fusing; and with freed memory kept.

    python benchmarks/restormer.py [--device cuda]

Both sides are CDDFuse at its published size with the same weights, in one process, with the same allocator settings;
they take turns, and the best of several turns counts. `--device cuda` measures on a GPU instead.
"""

import argparse
import copy
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from plain_restormer import plain
from torch import Tensor, nn

from decofuse.models.cddfuse import PHASES, CDDFuse
from decofuse.models.registry.cddfuse import CDDFuseReconstruction
from decofuse.training.execution import prepare
from decofuse.training.optimiser import PartOptimizer

THREADS = 2
KEPT = "DECOFUSE_KEEP_MEMORY"
SETTINGS = CDDFuseReconstruction()


class Side:
    """One form of the network, with its optimiser."""

    def __init__(self, network: nn.Module, device: torch.device, **execution: Any) -> None:
        self.network: Any = network.to(device)
        self.settings = SETTINGS.model_copy(update=execution)
        prepare(self.network.children(), self.settings, device)
        self.optimizer = PartOptimizer(self.network, PHASES["reconstruction"].trains, self.settings.optimizer)

    def step(self, batch: Mapping[str, Tensor]) -> None:
        """One step of the first phase."""
        self.optimizer.instance.zero_grad(set_to_none=True)
        terms = PHASES["reconstruction"].terms(self.network, batch)
        weights = self.settings.weights.model_dump()
        torch.stack([weights[name] * term for name, term in terms.items()]).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.clip()
        self.optimizer.instance.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--part", choices=sorted(PARTS), help="measure one part in this process")
    chosen = parser.parse_args()
    if chosen.part:
        torch.set_num_threads(THREADS)
        print(json.dumps(PARTS[chosen.part](torch.device(chosen.device))))
        return
    for part in PARTS:
        for keep in (False, True) if chosen.device == "cpu" else (False,):
            run = subprocess.run(
                [sys.executable, __file__, "--part", part, "--device", chosen.device],
                env=os.environ | {KEPT: str(int(keep)), "GOMP_SPINCOUNT": "10000"},
                capture_output=True,
                text=True,
                check=True,
            )
            kept = "freed memory kept" if keep else "default allocator"
            for name, value in json.loads(run.stdout.splitlines()[-1]).items():
                print(f"{part}, {kept}: {name}: {value}", flush=True)


def training(device: torch.device) -> dict[str, str]:
    """A step of two patches of 128 x 128 in float32 and in bfloat16."""
    fast, slow = sides(device)
    half = Side(copy.deepcopy(fast.network), device, precision="bfloat16")
    batch = patches(2, device)
    before = {name: value.clone() for name, value in fast.network.state_dict().items()}
    fast.step(batch)
    slow.step(batch)
    own = fast.network.state_dict()
    apart = max((value - own[name]).abs().max().item() for name, value in slow.network.state_dict().items())
    moved = max((value - before[name]).abs().max().item() for name, value in own.items())
    times = turns({"plain": slow, "fast": fast, "bfloat16": half}, lambda side: side.step(batch), device)
    return {
        "plain step": f"{times['plain']:.2f} s",
        "float32, times faster": f"{times['plain'] / times['fast']:.2f}",
        "bfloat16, times faster": f"{times['plain'] / times['bfloat16']:.2f}",
        "samples a second": ", ".join(f"{name} {2 / value:.2f}" for name, value in times.items()),
        "weights apart after a step": f"{apart:.1e} of {moved:.1e} moved",
    }


def batch_of_eight(device: torch.device) -> dict[str, str]:
    """A step of eight patches of 128 x 128 in bfloat16, activations computed again."""
    side = Side(channels_last(CDDFuse()), device, precision="bfloat16", checkpointing=True)
    batch = patches(8, device)
    took = turns({"": side}, lambda side: side.step(batch), device, repeats=2)[""]
    return {"step": f"{took:.2f} s", "peak memory": f"{peak(device):.2f} GB"}


def four_plain_steps(device: torch.device) -> dict[str, str]:
    """Four plain steps of two patches, to be held against the batch of eight."""
    side = Side(plain(CDDFuse()), device)
    batch = patches(2, device)
    took = 4 * turns({"": side}, lambda side: side.step(batch), device)[""]
    return {"steps": f"{took:.2f} s", "peak memory": f"{peak(device):.2f} GB"}


def fusing(device: torch.device) -> dict[str, str]:
    """A pair of 480 x 640."""
    fast, slow = sides(device)
    generator = torch.Generator().manual_seed(1)
    visible, infrared = torch.rand(2, 1, 1, 480, 640, generator=generator).to(device)

    def fuse(side: Side) -> None:
        with torch.inference_mode():
            side.network.eval().fuse(visible, infrared)

    times = turns({"plain": slow, "fast": fast}, fuse, device)
    return {
        "plain": f"{times['plain']:.2f} s",
        "fast": f"{times['fast']:.2f} s",
        "times faster": f"{times['plain'] / times['fast']:.2f}",
    }


PARTS: Mapping[str, Callable[[torch.device], dict[str, str]]] = {
    "training": training,
    "batch of eight": batch_of_eight,
    "four plain steps": four_plain_steps,
    "fusing": fusing,
}


def sides(device: torch.device) -> tuple[Side, Side]:
    """The fast and the plain form, with equal weights."""
    torch.manual_seed(0)
    fast = CDDFuse()
    slow = plain(copy.deepcopy(fast))
    return Side(channels_last(fast), device), Side(slow, device)


def channels_last(network: nn.Module) -> nn.Module:
    """As the training and the fusing stage lay a network out."""
    laid_out: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return laid_out


def patches(count: int, device: torch.device) -> dict[str, Tensor]:
    """A batch of noise: how long a step takes does not depend on the values."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(count, 1, 128, 128, generator=generator).to(device) for name in ("visible", "infrared")}


def turns(
    sides: Mapping[str, Side], work: Callable[[Side], None], device: torch.device, repeats: int = 3
) -> dict[str, float]:
    """Best time of each side [seconds], after one turn that does not count."""
    best = dict.fromkeys(sides, float("inf"))
    for repeat in range(repeats + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            work(side)
            if device.type == "cuda":
                torch.cuda.synchronize()
            if repeat:
                best[name] = min(best[name], time.perf_counter() - started)
    return best


def peak(device: torch.device) -> float:
    """Largest memory so far [GB]."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    if os.environ.get(KEPT) == "1":
        from decofuse.cli.app import keep_freed_memory

        keep_freed_memory()
    main()
