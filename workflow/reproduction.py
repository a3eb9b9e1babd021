"""What the rules ask: parameters, paths and slices of one run, frozen when it starts."""

import csv
import fcntl
import hashlib
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import versioning

from decofuse import config as model
from decofuse import stages
from decofuse.data.registry import DATASETS
from decofuse.errors import UserError
from decofuse.files import write_text
from decofuse.models.registry import METHODS
from decofuse.tracking import code
from decofuse.tracking.run import PARENT_RUN, flatten
from decofuse.tracking.server import RecorderServer
from decofuse.variants import round_name, split_round

FROZEN = "DECOFUSE_FROZEN"
STATE = Path(".snakemake/decofuse")
CODE = STATE / "code"
_HELD: list[IO[str]] = []


class Run:
    """Parameters of one run, as the rules need them."""

    def __init__(self, resolved: stages.Resolved) -> None:
        """Args: resolved: see `decofuse.stages.resolve`."""
        self.resolved = resolved
        plain = {key: resolved[key] for key in model.Params.model_fields}
        self.params = model.Params.model_validate_json(json.dumps(plain))
        self.preset = self.params.preset
        self.used = sorted({self.params.train, *self.params.test})
        self.trained = stages.trained(self.params)
        self.recorders: RecorderServer | None = None

    def settings(self, stage: str, *names: str) -> str:
        """A stage's slice as one JSON string: Snakemake compares params as a set of values."""
        return json.dumps(getattr(stages, stage)(self.resolved, *names), sort_keys=True)

    def all_settings(self) -> str:
        """Everything, for the rule that writes it down."""
        return json.dumps(self.resolved, sort_keys=True)

    def artifacts(self) -> list[str]:
        """Every file that the run makes."""
        root = f"results/{self.preset}"
        return [f"{root}/params.yaml", *self.results(), f"{root}/report.html"]

    def results(self) -> list[str]:
        """The same but for the note of the parameters, which any edit makes anew, and the report of the rest."""
        root = f"results/{self.preset}"
        files = sorted({archive for name in self.used for archive in self.archive(name)})
        files += [f"data/{name}/{file}" for name in self.used for file in ("manifest.csv", "pairing.json")]
        for method in self.trained:
            for phase in METHODS[method].phases:
                files.append(self.training_data(self.preset, method, phase))
                files += [f"{root}/training/{method}/{phase}/{name}" for name in _TRAINED]
        for dataset in self.params.test:
            files.append(f"{root}/grid-{dataset}.png")
            for variant in self.params.variants:
                files += [f"{root}/fused/{dataset}/{variant}/{name}" for name in _FUSED]
        files += self._segmentation_artifacts(root) if self.params.segmented else []
        files += [f"{root}/metrics.{suffix}" for suffix in ("csv", "json", "md")]
        files += [f"{root}/benchmark.{suffix}" for suffix in ("csv", "md", "html")]
        return [*dict.fromkeys(files)]

    def _segmentation_artifacts(self, root: str) -> list[str]:
        files = [f"{root}/training/images/{variant}/index.csv" for variant in self.params.variants]
        for name in self.params.inputs:
            for number in range(self.params.segmentation.seeds):
                files += [f"{root}/segmentation/{name}/{number}/{file}" for file in _SEGMENTED]
        for variant in self.params.variants:
            method, number = split_round(variant)
            files += [f"{root}/training/{method}/meta-{number}/{name}" for name in _TAUGHT if number]
        files += self.all_segmentation_scores(self.preset, self.params.segmented)
        files += [f"{root}/overlays-{dataset}.png" for dataset in self.params.segmented]
        return [*files, *(f"{root}/segmentation.{suffix}" for suffix in ("csv", "json", "md", "html", "png"))]

    def benchmarks(self, workflow: Any) -> str:
        """The benchmark files of the jobs that make the results, quoted; which rules those are, their outputs tell."""
        files = []
        for path in self.results():
            rule = next(rule for rule in workflow.rules if rule.is_producer(path))
            files.append(str(rule.expand_benchmark(rule.get_wildcards(path))))
        return shlex.join(dict.fromkeys(files))

    def parameter_files(self) -> list[str]:
        """Everything that decides `results/{preset}/params.yaml`."""
        sources = sorted(path.as_posix() for path in Path("src/decofuse").rglob("*.py"))
        return [*self._parameter_files(), *sources]

    def parameter_folders(self) -> list[str]:
        """The same for DVC, which depends on the code's folder as a whole."""
        return [*self._parameter_files(), "src/decofuse"]

    def _parameter_files(self) -> list[str]:
        return ["params.yaml", f"workflow/presets/{self.preset}.yaml"]

    def url(self, archive: str) -> str:
        """Address of an archive."""
        return DATASETS[stages.archive_owner(self.resolved, archive)].url

    def archive(self, dataset: str) -> list[str]:
        """The archive that a dataset is extracted or made from, if it is downloaded."""
        repository = self.resolved["public"].get(self.params.origin(dataset), {}).get("repository")
        return [f"data/archives/{stages.archive_name(repository)}.zip"] if repository else []

    def splits(self, dataset: str) -> list[str]:
        """The committed split file of a public dataset, if it has one."""
        path = f"workflow/splits/{dataset}.csv"
        return [path] if dataset in self.resolved["public"] and Path(path).is_file() else []

    def own_files(self, dataset: str) -> list[str]:
        """The files of a dataset that was put in place by hand."""
        folder = self._own_folder(dataset)
        if folder is None:
            return []
        return sorted(path.as_posix() for path in Path(folder).rglob("*") if path.is_file())

    def own_folders(self, dataset: str) -> list[str]:
        """The folder of such a dataset: DVC depends on it as a whole."""
        folder = self._own_folder(dataset)
        return [] if folder is None else [folder]

    def training_data(self, preset: str, method: str, phase: str) -> str:
        """What the samples of a phase are read from."""
        reads = METHODS[method].phases[phase].reads
        return f"results/{preset}/patches.h5" if reads == "patches" else f"data/{self.params.train}/manifest.csv"

    def previous_phase(self, preset: str, method: str, phase: str) -> list[str]:
        """Weights and moments that a phase starts from."""
        phases = [*METHODS[method].phases]
        before = phases[: phases.index(phase)][-1:]
        return [
            f"results/{preset}/training/{method}/{name}/{part}.safetensors"
            for name in before
            for part in ("weights", "optimizer")
        ]

    def weights(self, preset: str, variant: str) -> list[str]:
        """Weights of a method's last phase or round, if it has any."""
        method, number = split_round(variant)
        last = f"meta-{number}" if number else METHODS[method].last_phase
        return [f"results/{preset}/training/{method}/{last}/weights.safetensors"] if last else []

    def method(self, variant: str) -> str:
        """The method of a variant."""
        return split_round(variant)[0]

    def round_before(self, method: str, number: str) -> str:
        """The variant that a round starts from."""
        return round_name(method, int(number) - 1)

    def teacher(self, preset: str, variant: str) -> list[str]:
        """Weights of the segmentation network that teaches, of both kinds."""
        folder = f"results/{preset}/segmentation/{variant}/0"
        return [f"{folder}/{name}.safetensors" for name in ("weights", "best")]

    def training_images(self, preset: str, name: str) -> list[str]:
        """The index of the fused training images of an input; none for a source."""
        return [f"results/{preset}/training/images/{name}/index.csv"] if name in self.params.variants else []

    def test_images(self, preset: str, dataset: str, name: str) -> list[str]:
        """The index of the fused test images of an input; none for a source."""
        return [f"results/{preset}/fused/{dataset}/{name}/index.csv"] if name in self.params.variants else []

    def all_test_images(self, preset: str, dataset: str) -> list[str]:
        """The same of all inputs."""
        return [path for name in self.params.inputs for path in self.test_images(preset, dataset, name)]

    def segmentation_weights(self, preset: str, name: str) -> list[str]:
        """Weights of all segmentation networks that were trained on an input: last ones, then best ones."""
        folder, numbers = f"results/{preset}/segmentation/{name}", range(self.params.segmentation.seeds)
        return [f"{folder}/{number}/{kind}.safetensors" for kind in ("weights", "best") for number in numbers]

    def all_segmentation_scores(self, preset: str, datasets: Sequence[str]) -> list[str]:
        """Scores of segmentation of every input, and of networks that segment by themselves."""
        heads = [f"{name}-head" for name in self.params.run if METHODS[name].segments]
        return [
            f"results/{preset}/segmented/{dataset}/{name}/scores.json"
            for dataset in datasets
            for name in (*self.params.inputs, *heads)
        ]

    def images_beside(self, folder: str) -> list[str]:
        """The folders for which an index of fused images stands."""
        return [f"{folder}/{name}" for name in ("images", "luma")]

    def all_scores(self, preset: str, variants: Sequence[str]) -> list[str]:
        """Scores of methods, or of rounds too, on every test dataset."""
        return [
            f"results/{preset}/fused/{dataset}/{method}/metrics.json"
            for dataset in self.params.test
            for method in variants
        ]

    def all_indices(self, preset: str, dataset: str) -> list[str]:
        """Fused images of every method on one test dataset."""
        return [f"results/{preset}/fused/{dataset}/{method}/index.csv" for method in self.params.run]

    def option(self, name: str, files: Sequence[str] | str) -> str:
        """A command-line option for the folder or file of an optional input, quoted; empty without it."""
        paths = [files] if isinstance(files, str) else list(files)
        if not paths:
            return ""
        value = str(Path(paths[0]).parent) if name in ("--start", "--weights", "--teacher") else paths[0]
        return f"{name} {shlex.quote(value)}"

    def options(self, name: str, files: Sequence[str]) -> str:
        """The same option for each of several files, or once for each of their folders; quoted."""
        return " ".join(dict.fromkeys(self.option(name, path) for path in files))

    def _own_folder(self, dataset: str) -> str | None:
        entry = self.resolved["public"].get(dataset)
        if entry is not None:
            return None if entry["repository"] else f"data/{dataset}/source"
        section = self.params.datasets[dataset]
        return section.path if isinstance(section, model.Folder) else None


_TRAINED = ("weights.safetensors", "optimizer.safetensors", "history.csv", "metrics.json")
_SEGMENTED = ("weights.safetensors", "best.safetensors", "history.csv", "metrics.json")
_TAUGHT = ("weights.safetensors", "modules.safetensors", "history.csv", "metrics.json")
_FUSED = ("index.csv", "metrics.csv", "metrics.json")


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

    Snakemake's locks outlive it. The system's lock on a file does not: whoever gets it is the only run here, and keeps
    it until the process ends.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    file = (STATE / "running").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return
    _HELD.append(file)
    for stale in Path(".snakemake/locks").glob("*.lock"):
        print(f"decofuse: removing {stale}, left by a run that was killed", file=sys.stderr)
        stale.unlink()


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
