"""What the rules ask: parameters, paths and slices of one run."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from decofuse import config as model
from decofuse import stages
from decofuse.data.registry import DATASETS
from decofuse.models.registry import METHODS
from decofuse.tracking.server import RecorderServer
from decofuse.variants import round_name, split_round

_TRAINED = ("weights.safetensors", "optimizer.safetensors", "history.csv", "metrics.json")
_SEGMENTED = ("weights.safetensors", "best.safetensors", "history.csv", "metrics.json")
_TAUGHT = ("weights.safetensors", "modules.safetensors", "history.csv", "metrics.json")
_FUSED = ("index.csv", "metrics.csv", "metrics.json")


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
