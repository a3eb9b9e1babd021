"""Time from the start of a stage's process to its work: imports, the look-up of its parts, the start of tracking.

    python benchmarks/startup.py [--rounds 5]

Stages of the `smoke` preset run as the workflow calls them, on data made for it, tracked in an empty SQLite database
and not tracked, in turns after one round that warms the disk's cache. A stage is stopped where its work begins: at the
first image to fuse or score, at the reading of the training data, at the first training step. Printed are medians of
the time and of the process's CPU time; on cores that other work shares, only the latter says something.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from decofuse import config, stages

ROOT = Path(__file__).resolve().parents[1]
DATASET = "scenes-smoke"
CLI = (sys.executable, "-m", "decofuse.cli")
STOPPED = """
import importlib, sys, time
from decofuse.cli import main
def stop(*arguments, **options):
    print(time.time(), time.process_time(), flush=True)
    raise SystemExit
setattr(importlib.import_module(sys.argv.pop(1)), sys.argv.pop(1), stop)
main()
"""

Stage = tuple[str, str, list[str]]  # module and function where the work begins, words of the command line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"{machine()}; load at the start {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        commands = prepare(folder)
        times: dict[tuple[str, bool], list[tuple[float, float]]] = {}
        for number in range(rounds + 1):
            for name, stage in commands.items():
                for tracked in (True, False):
                    measured = start(folder, stage, tracked)
                    if number:
                        times.setdefault((name, tracked), []).append(measured)
        for (name, tracked), values in times.items():
            wall, cpu = (statistics.median(its) for its in zip(*values, strict=True))
            print(f"{name}, {'tracked' if tracked else 'not tracked'}: {wall:.2f} s, {cpu:.2f} s of CPU time")


def machine() -> str:
    """The processor and how many cores of it there are."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")
    return f"{os.cpu_count()} cores, {model}"


def prepare(folder: Path) -> dict[str, Stage]:
    """Make the data of the stages that are measured; those by name."""
    resolved = stages.resolve(config.load(ROOT / "params.yaml", "smoke"))
    manifest, fused, patches = f"data/{DATASET}/manifest.csv", "fused/average", "patches.h5"
    dataset = settings(stages.dataset(resolved, DATASET))
    generate = ["generate", "average", "--manifest", manifest, "--out", fused]
    generate += settings(stages.generate(resolved, DATASET, "average"))
    score = ["score", "--manifest", manifest, "--index", f"{fused}/index.csv", "--csv", "metrics.csv"]
    score += ["--json", "metrics.json", *settings(stages.evaluate(resolved))]
    train = ["train", "cddfuse", "reconstruction", "--data", patches, "--out", "training"]
    train += settings(stages.train(resolved, "cddfuse", "reconstruction"))
    for words in (
        ["dataset", DATASET, "--out", f"data/{DATASET}", *dataset],
        ["patches", "--manifest", manifest, "--out", patches, *settings(stages.patches(resolved))],
        generate,
    ):
        subprocess.run([*CLI, *words], cwd=folder, env=environment(), check=True, capture_output=True)
    return {
        "generate average": ("decofuse.fusing.split", "fuse_split", generate),
        "evaluate average": ("decofuse.evaluation.split", "score_split", score),
        "train cddfuse reconstruction, to its data": ("decofuse.training.stage", "train", train),
        "train cddfuse reconstruction, to its first step": ("decofuse.training.loop", "_step", train),
    }


def settings(values: Mapping[str, Any]) -> list[str]:
    return ["--settings", json.dumps(values)]


def environment(**variables: str) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")} | variables


def start(folder: Path, stage: Stage, tracked: bool) -> tuple[float, float]:
    """Run a stage up to its work: the time from the start of its process, and its CPU time [s]."""
    module, function, words = stage
    env = environment(MLFLOW_TRACKING_URI=f"sqlite:///{folder}/mlflow.db") if tracked else environment()
    started = time.time()
    output = run([sys.executable, "-c", STOPPED, module, function, *words], folder, env)
    reached, cpu = (float(word) for word in output.split())
    return reached - started, cpu


def run(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=env, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


if __name__ == "__main__":
    main()
