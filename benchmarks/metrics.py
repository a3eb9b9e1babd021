"""The eight usual metrics against the form of the field's usual evaluator: time, equality, peak memory.

    python benchmarks/metrics.py [--mirror FOLDER] [--device cuda]

Pairs are RoadScene's at 480x640 where there is a folder of public archives (--mirror, or DECOFUSE_MIRROR), else
synthetic; each is fused by averaging. Both sides take turns in one process on the same pairs: the usual evaluator
(benchmarks/usual_evaluator.py) one pair after another, as it is used; ours as the workflow scores, in two workers of
one thread each, from 8-bit images in memory. They must give the same values. CPU time is printed too: on cores that
other work shares, two workers do not get twice what one process gets. On a GPU a batch is scored at once.
"""

import argparse
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import torch
from usual_evaluator import usual_scores

from decofuse.data.images import UInt8
from decofuse.evaluation.scoring import in_parallel
from decofuse.metrics import FusionScores, fusion_metrics, score

ROADSCENE = "github.com/hanna-xu/RoadScene/archive/refs/heads/master.zip"
HEIGHT, WIDTH = 480, 640
PAIRS = 4  # of the comparison
REPEATS = 3
ROUNDS = 6  # over the pairs, of the faster side
WORKERS = 2
MEMORY_PAIRS = (40, 160)
BATCH = 16  # on a GPU
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4}

Triple = tuple[UInt8, UInt8, UInt8]  # fused, source A, source B


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mirror", default=os.environ.get("DECOFUSE_MIRROR", ""), help="folder of public archives")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peak", type=int, help="score this many pairs and print the peak memory [MB]")
    chosen = parser.parse_args()
    archive, device = Path(chosen.mirror) / ROADSCENE, torch.device(chosen.device)
    triples = list(islice(roadscene(archive) if archive.is_file() else synthetic(), PAIRS))
    if chosen.peak:
        print(peak(triples, chosen.peak, device))
        return
    print(f"pairs: {'RoadScene' if archive.is_file() else 'synthetic'}, {HEIGHT}x{WIDTH}")
    for precision in TOLERANCES:
        compare(triples, device, precision)
    for count in MEMORY_PAIRS:
        command = [sys.executable, __file__, "--mirror", chosen.mirror, "--device", chosen.device, "--peak", str(count)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"peak memory, {count} pairs: {run.stdout.strip()} MB")


def roadscene(archive: Path) -> Iterator[Triple]:
    """Pairs as grey levels, resized and averaged."""
    with zipfile.ZipFile(archive) as content:
        visible = sorted(name for name in content.namelist() if "crop_LR_visible/" in name and name.endswith(".jpg"))
        for name in visible:
            files = [content.read(its) for its in (name, name.replace("crop_LR_visible", "cropinfrared"))]
            a, b = (grey(its) for its in files)
            yield average(a, b), a, b


def grey(file: bytes) -> UInt8:
    image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None, "RoadScene's files are images"  # noqa: S101
    return np.asarray(cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def synthetic() -> Iterator[Triple]:
    """Smooth fields with sensor noise."""
    rng = np.random.default_rng(0)
    while True:
        a, b = (field(rng) for _ in range(2))
        yield average(a, b), a, b


def field(rng: np.random.Generator) -> UInt8:
    coarse = cv2.resize(rng.uniform(0, 255, (15, 20)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(np.rint(coarse + rng.normal(0, 4, coarse.shape)), 0, 255), np.uint8)


def average(a: UInt8, b: UInt8) -> UInt8:
    return np.asarray((a.astype(np.uint16) + b + 1) // 2, np.uint8)


def compare(triples: Sequence[Triple], device: torch.device, precision: torch.dtype) -> None:
    """Print the time a pair takes on both sides, best of several turns, and how far apart their values are."""
    usual, ours = usual_side(triples), scores(triples, device, precision)
    clocks = {"time": time.perf_counter, "CPU time": time.process_time}
    best = {(side, clock): float("inf") for side in ("usual", "ours") for clock in clocks}
    for _ in range(REPEATS):
        for side, pairs in (("usual", triples), ("ours", [*triples] * ROUNDS)):
            started = {clock: read() for clock, read in clocks.items()}
            usual_side(pairs) if side == "usual" else scores(pairs, device, precision)
            for clock, read in clocks.items():
                best[side, clock] = min(best[side, clock], (read() - started[clock]) / len(pairs))
    apart = max(
        abs(mine[name] - value) / max(abs(value), 1e-12)
        for mine, theirs in zip(ours, usual, strict=True)
        for name, value in theirs.items()
    )
    if not apart < TOLERANCES[precision]:
        sys.exit(f"expected equal values, found {apart:.1e} apart")
    for clock in clocks:
        theirs, mine = best["usual", clock], best["ours", clock]
        line = f"usual {theirs * 1e3:.0f} ms, ours {mine * 1e3:.1f} ms, {theirs / mine:.1f} times less"
        print(f"{precision}: {clock} a pair: {line}")
    print(f"{precision}: values at most {apart:.0e} apart")


def usual_side(triples: Sequence[Triple]) -> list[dict[str, float]]:
    return [usual_scores(*(image.astype(np.float64) for image in triple)) for triple in triples]


def scores(triples: Sequence[Triple], device: torch.device, precision: torch.dtype) -> list[dict[str, float]]:
    """Values of every triple by metric."""
    metrics = fusion_metrics()
    size = 1 if device.type == "cpu" else BATCH
    batches = [triples[start : start + size] for start in range(0, len(triples), size)]

    def run(batch: Sequence[Triple]) -> list[dict[str, float]]:
        images = [torch.from_numpy(np.stack(its)).to(device, precision) for its in zip(*batch, strict=True)]
        values = {name: its.tolist() for name, its in score(metrics, *images).items()}
        return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]

    rows = in_parallel(run, batches, WORKERS) if device.type == "cpu" else map(run, batches)
    return [row for its in rows for row in its]


def peak(triples: Sequence[Triple], count: int, device: torch.device) -> int:
    """Largest resident memory after scoring `count` pairs and averaging [MB]."""
    torch.set_num_threads(1)
    averages = FusionScores(fusion_metrics())
    for triple in islice(cycle(triples), count):
        averages.update(*(torch.from_numpy(image)[None].to(device).double() for image in triple))
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) // 1000


if __name__ == "__main__":
    main()
