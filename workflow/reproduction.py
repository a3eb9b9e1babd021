"""A run from its first look at the parameters to its record in MLflow and DVC."""

import contextlib
import csv
import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import versioning
from run import Run

from decofuse import config as model
from decofuse import stages
from decofuse.errors import UserError
from decofuse.files import write_text
from decofuse.tracking import code
from decofuse.tracking.run import PARENT_RUN, flatten
from decofuse.tracking.server import RecorderServer

FROZEN = "DECOFUSE_FROZEN"
STATE = Path(".snakemake/decofuse")
CODE = STATE / "code"
_HELD: list[IO[str]] = []


def open_run(workflow: Any, overrides: Mapping[str, Any]) -> Run:
    """Check the parameters, freeze them for all jobs of this run, and bring Snakemake and DVC to one state.

    Jobs on other nodes read the Snakefile again when they start: they get the frozen parameters, not what
    params.yaml has become since.
    """
    # The commands of the rules are those of the environment that runs Snakemake.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if not workflow.is_main_process:
        return Run(json.loads(Path(os.environ[FROZEN]).read_text()))
    if versioning.INSIDE not in os.environ:
        _unlock_if_stale()
    try:
        resolved = stages.resolve(model.load(Path("params.yaml"), overrides.get("preset")))
    except UserError as error:
        sys.exit(f"decofuse: error: {error}")
    text = json.dumps(resolved, sort_keys=True)
    code.remember(CODE)
    frozen = STATE / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    write_text(frozen, text)
    os.environ[FROZEN] = str(frozen.absolute())
    run = Run(resolved)
    versioning.adopt_if_moved(run.preset)
    _drop_broken_indices(run)
    return run


def on_start(run: Run, workflow: Any) -> None:
    """Open the tracking database and the parent run before any job starts."""
    # With a limit of jobs a second, which there always is, each look for jobs plans another one a second later, and so
    # does each job that ends: after thirty jobs Snakemake 9.27 looks thirty times a second, a fifth of a core.
    workflow.scheduler.job_rate_limiter = None
    os.environ.setdefault("DECOFUSE_KEEP_MEMORY", "1")  # jobs end soon; a tenth of their time went into giving it back
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{Path.cwd()}/mlflow.db")
    try:
        from decofuse.tracking.store import open_reproduction

        parameters = {
            key: value for key, value in run.resolved.items() if key not in ("public", "views", "labels", "differences")
        }
        os.environ[PARENT_RUN] = open_reproduction(run.preset, parameters, _parent_file(run))
        run.recorders = RecorderServer()
    except Exception as error:  # tracking must not stop the run
        print(f"decofuse: warning: the run is not tracked: {error}", file=sys.stderr)
        del os.environ["MLFLOW_TRACKING_URI"]


def on_end(run: Run, workflow: Any, failed: bool) -> None:
    """Close the parent run and record in DVC what Snakemake holds for done."""
    root = Path("results") / run.preset
    if run.recorders:
        run.recorders.close()
    if "MLFLOW_TRACKING_URI" in os.environ and _parent_file(run).is_file():
        patterns = ("report.html", "metrics.*", "benchmark.*", "segmentation.*", "grid-*.png", "overlays-*.png")
        found = [path for pattern in patterns for path in root.glob(pattern) if not failed]
        try:
            from decofuse.tracking.store import close_reproduction

            close_reproduction(_parent_file(run), _scores(root / "metrics.json"), found, failed)
        except Exception as error:
            print(f"decofuse: warning: the results are not tracked: {error}", file=sys.stderr)
    if not failed:
        _show_newest(root / "report.html")
    try:
        versioning.record(workflow.dag, run.preset)
    except Exception as error:  # Snakemake would swallow it without a word
        print(f"decofuse: warning: the run is not recorded in DVC: {error}", file=sys.stderr)


def _show_newest(report: Path) -> None:
    """Let results/report.html be the report of the run that ended last; it is a link, of no concern to DVC."""
    link = report.parents[1] / report.name
    if report.is_file():
        link.unlink(missing_ok=True)
        link.symlink_to(report.relative_to(link.parent))


def _unlock_if_stale() -> None:
    """Remove the locks of a run that was killed, so that the same command goes on.

    Snakemake's locks outlive it. The system's lock on a file does not: whoever gets it for itself is the only run here.
    Every run then shares it with others until its process ends.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    file = (STATE / "running").open("w")
    _HELD.append(file)
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for stale in Path(".snakemake/locks").glob("*.lock"):
            print(f"decofuse: removing {stale}, left by a run that was killed", file=sys.stderr)
            stale.unlink()
    fcntl.flock(file, fcntl.LOCK_SH)


def _parent_file(run: Run) -> Path:
    return STATE / f"parent-{run.preset}"


def _scores(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    scores = flatten(json.loads(path.read_text()))
    return {name: value for name, value in scores.items() if value is not None}


def _drop_broken_indices(run: Run) -> None:
    """Delete a manifest or index that lists a missing file, so that its stage runs again."""
    indices = [Path(f"data/{name}/manifest.csv") for name in run.used]
    for variant in run.params.variants:
        indices += [Path(f"results/{run.preset}/fused/{dataset}/{variant}/index.csv") for dataset in run.params.test]
        indices += map(Path, run.training_images(run.preset, variant))
    for index in indices:
        if index.is_file() and (missing := _first_missing(index)):
            print(f"decofuse: {missing} is missing: {index} will be made again", file=sys.stderr)
            index.unlink()


def _first_missing(index: Path) -> Path | None:
    with index.open(newline="") as file:
        rows = csv.DictReader(file)
        columns = [name.removesuffix("_sha256") for name in rows.fieldnames or () if name.endswith("_sha256")]
        files = (index.parent / row[column] for row in rows for column in columns if row[column])
        return next((path for path in files if not path.is_file()), None)
