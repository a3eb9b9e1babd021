"""What each stage of the workflow depends on besides its input files: its slice of the parameters and its code.

The workflow hands a stage its slice as one JSON object {dotted key: value}; `resolve` holds all of them, and is
what DVC reads. Both tools therefore see the same reasons to run.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from decofuse.config import Params
from decofuse.data.registry import DATASETS
from decofuse.errors import UserError
from decofuse.models.registry import METHODS
from decofuse.reports.differences import training_differences
from decofuse.segmentation.registry import SEGMENTERS
from decofuse.tracking.code import digest

Resolved = dict[str, Any]


def resolve(params: Params) -> Resolved:
    """All that decides the results of a run.

    These are the parameters, the declarations of the public datasets in use (also of those that
    others are made from), what the methods see, what differs from
    the published training in words, and code digests.
    """
    origins = {params.origin(name) for name in (params.train, *params.test)}
    used = {name: DATASETS[name] for name in origins if name in DATASETS}
    return {
        **params.model_dump(mode="json"),
        "public": {name: asdict(dataset) for name, dataset in sorted(used.items())},
        "views": {
            dataset: {name: METHODS[name].tasks[params.task(dataset)].model_dump() for name in params.run}
            for dataset in _fused(params)
        },
        "labels": {name: asdict(table) for name in _labelled(params) if (table := params.label_table(name))},
        "differences": {name: _differences(params, name) for name in trained(params)},
        "code": {
            "download": digest(["decofuse.data.download"]),
            "dataset": digest(["decofuse.data.prepare"]),
            "scenes": digest(["decofuse.data.scenes", "decofuse.data.prepare"]),
            "exposures": digest(["decofuse.data.exposures"]),
            "patches": digest(["decofuse.data.patches"]),
            "train": {
                name: {phase: digest(_training_modules(name, phase)) for phase in METHODS[name].phases}
                for name in trained(params)
            },
            "generate": {
                name: digest(["decofuse.fusing.split", "decofuse.fusing.network", METHODS[name].module])
                for name in params.run
            },
            "evaluate": digest(["decofuse.evaluation.split"]),
            "table": digest(["decofuse.reports.tables"]),
            "comparison": digest(["decofuse.reports.benchmark"]),
            "segment": digest(["decofuse.segmentation.training", *_segmentation_modules(params)]),
            "predict": digest(
                ["decofuse.segmentation.scoring", "decofuse.segmentation.segmenter", *_segmentation_modules(params)]
            ),
            "predict_head": {
                name: digest(
                    ["decofuse.segmentation.scoring", "decofuse.segmentation.head", "decofuse.fusing.network"]
                    + [METHODS[name].module]
                )
                for name in params.run
                if METHODS[name].segments
            },
            "meta": {
                name: digest(
                    ["decofuse.training.meta_phase", METHODS[name].module, METHODS[name].meta]
                    + _segmentation_modules(params)
                )
                for name in params.run
                if params.rounds_of(name)
            },
            "segmentation_report": digest(["decofuse.reports.segmentation"]),
            "overlays": digest(
                ["decofuse.segmentation.overlay", "decofuse.segmentation.scoring", "decofuse.reports.segmentation"]
            ),
            "grid": digest(["decofuse.grid"]),
            "report": digest(["decofuse.reports.run_report", "decofuse.reports.tracked"]),
        },
    }


def download(resolved: Resolved, archive: str) -> Resolved:
    """Slice of the download of an archive."""
    return _pick(resolved, [f"public.{archive_owner(resolved, archive)}.repository", "code.download"])


def dataset(resolved: Resolved, name: str) -> Resolved:
    """Slice of the stage that makes a dataset's images and manifest."""
    if name in resolved["public"]:
        return _pick(resolved, [f"public.{name}", "code.dataset"])
    section = resolved["datasets"][name]
    if section["kind"] == "exposures":
        return _pick(resolved, [f"datasets.{name}", f"public.{section['of']}", "code.exposures"])
    return _pick(resolved, [f"datasets.{name}", "code.scenes" if section["kind"] == "scenes" else "code.dataset"])


def patches(resolved: Resolved) -> Resolved:
    """Slice of the stage that cuts training patches."""
    return _pick(resolved, ["patches", "code.patches"])


def train(resolved: Resolved, method: str, phase: str) -> Resolved:
    """Slice of one training phase of a method."""
    section = f"methods.{method}"
    keys = ["seed", "threads", "device", f"{section}.network", f"{section}.{phase}", f"code.train.{method}.{phase}"]
    return _pick(resolved, keys)


def generate(resolved: Resolved, dataset: str, method: str) -> Resolved:
    """Slice of the stage that fuses the test split of a dataset."""
    section, views = f"methods.{method}.fuse", f"views.{dataset}.{method}"
    return _pick(resolved, ["threads", "device", section, views, f"code.generate.{method}"])


def evaluate(resolved: Resolved) -> Resolved:
    """Slice of the stage that scores fused images."""
    return _pick(resolved, ["evaluation", "code.evaluate"])


def table(resolved: Resolved) -> Resolved:
    """Slice of the stage that gathers all scores."""
    return _pick(resolved, ["code.table"])


def comparison(resolved: Resolved) -> Resolved:
    """Slice of the stage that puts all scores beside published numbers."""
    return _pick(resolved, ["preset", "seed", "differences", "code.comparison"])


def grid(resolved: Resolved) -> Resolved:
    """Slice of the stage that draws the picture grid."""
    return _pick(resolved, ["grid_rows", "code.grid"])


def segment(resolved: Resolved) -> Resolved:
    """Slice of the training of a segmentation network, on whatever input."""
    keys = ["seed", "threads", "device", "segmentation.network", "segmentation.training"]
    return _pick(resolved, [*keys, "segmentation.predict_fit", _labels(resolved, resolved["train"]), "code.segment"])


def predict(resolved: Resolved, dataset: str) -> Resolved:
    """Slice of the stage that predicts label maps of a dataset and scores them."""
    keys = ["threads", "device", "segmentation.weights", "segmentation.predict_fit"]
    return _pick(resolved, [*keys, _labels(resolved, dataset), "code.predict"])


def predict_head(resolved: Resolved, dataset: str, method: str) -> Resolved:
    """Slice of the same by a fusion network's own head."""
    keys = ["threads", "device", f"views.{dataset}.{method}", _labels(resolved, dataset), f"code.predict_head.{method}"]
    return _pick(resolved, keys)


def meta(resolved: Resolved, method: str) -> Resolved:
    """Slice of the meta phase of a method, in whatever round."""
    section = f"methods.{method}"
    keys = ["seed", "threads", "device", "segmentation.weights", _labels(resolved, resolved["train"])]
    return _pick(resolved, [*keys, f"{section}.network", f"{section}.meta", f"code.meta.{method}"])


def segmentation_report(resolved: Resolved) -> Resolved:
    """Slice of the stage that compares the inputs of segmentation."""
    return _pick(resolved, ["preset", "code.segmentation_report"])


def overlays(resolved: Resolved, dataset: str) -> Resolved:
    """Slice of the stage that draws predicted label maps over images."""
    return _pick(resolved, ["grid_rows", _labels(resolved, dataset), "code.overlays"])


def report(resolved: Resolved) -> Resolved:
    """Slice of the stage that puts all results of the run on one page, which states the code that made them."""
    made = ["code.train", "code.generate", "code.evaluate"]
    made += ["code.segment", "code.meta"] if resolved["labels"] else []
    return _pick(resolved, ["preset", "seed", "train", "run", "differences", *made, "code.report"])


def archive_name(repository: str) -> str:
    """File name, without suffix, under which the archive of a repository (owner/name/branch) is kept."""
    return repository.replace("/", "-")


def archive_owner(resolved: Resolved, archive: str) -> str:
    """The first public dataset in use that lies in an archive; several may share one."""
    public: dict[str, Any] = resolved["public"]
    return next(name for name, entry in public.items() if archive_name(entry["repository"]) == archive)


def trained(params: Params) -> list[str]:
    """The methods of a run that have training phases."""
    return [name for name in params.run if METHODS[name].phases]


def _fused(params: Params) -> list[str]:
    """Datasets of which pairs are fused: the training dataset is one if segmentation trains on it."""
    return [*dict.fromkeys([*params.test, *([params.train] if params.segmented else [])])]


def _labelled(params: Params) -> list[str]:
    """Datasets whose label classes a stage needs to know."""
    return [*dict.fromkeys([params.train, *params.segmented])] if params.segmented else []


def _labels(resolved: Resolved, name: str) -> str:
    """The key of a dataset's label classes."""
    if name not in resolved["labels"]:
        raise UserError(
            f"params.yaml: expected a dataset {name} with label classes, and segmentation.seeds of at least 1; found "
            "otherwise, so nothing is segmented"
        )
    return f"labels.{name}"


def _segmentation_modules(params: Params) -> list[str]:
    return [SEGMENTERS[params.segmentation.network.model].module]


def _differences(params: Params, name: str) -> Resolved:
    reads_patches = any(samples.reads == "patches" for samples in METHODS[name].phases.values())
    patches = params.patches if reads_patches else None
    reduced, words = training_differences(name, params.method(name), patches, params.train)
    return {"reduced": reduced, "words": list(words)}


def _training_modules(method: str, phase: str) -> list[str]:
    entry = METHODS[method]
    return ["decofuse.training.stage", entry.module, entry.phases[phase].module]


def _pick(resolved: Resolved, keys: Iterable[str]) -> Resolved:
    picked = {}
    for key in keys:
        value: Any = resolved
        for part in key.split("."):
            value = value[part]
        picked[key] = value
    return picked
