"""params.yaml: its model, and how defaults, preset and params.yaml become one set of parameters.

Later wins: defaults of the models (the published settings), then workflow/presets/<preset>.yaml, then params.yaml.
"""

import difflib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Discriminator, Field, ValidationError, create_model, model_validator

from decofuse.data.classes import MSRS, ClassTable, numbered
from decofuse.data.dataset import SOURCES, Task
from decofuse.data.exposure_settings import ExposuresSettings
from decofuse.data.registry import DATASETS
from decofuse.errors import UserError
from decofuse.evaluation.settings import EvaluationSettings
from decofuse.models.registry import METHODS, MethodSettings
from decofuse.models.registry.method import Samples
from decofuse.segmentation.settings import SegmentationSettings
from decofuse.settings import PatchSettings, ScenesSettings, Section
from decofuse.variants import round_name

PRESETS = Path("workflow/presets")
SPLITS = Path("workflow/splits")


class Scenes(ScenesSettings):
    """A dataset of procedural street scenes."""

    kind: Literal["scenes"] = Field(description="generated street scenes")


class Exposures(ExposuresSettings):
    """A dataset of two exposures of each image of a public one, with its labels."""

    kind: Literal["exposures"] = Field(description="two simulated exposures of labelled images")


class Folder(Section):
    """A dataset of your own: a folder with visible/ and infrared/ (other tasks: source_a/ and source_b/, or image/)."""

    kind: Literal["folder"] = Field(description="a folder of images")
    path: str = Field(
        description="the folder, absolute or relative to the project; labels/ and splits.csv are optional"
    )
    task: Task = Field("infrared-visible", description="names the sub-folders of the sources; single: image/")
    classes: int = Field(0, ge=0, le=255, description="number of label classes; 0 without labels")


Dataset = Annotated[Scenes | Exposures | Folder, Discriminator("kind")]

_LABELLED_IMAGES = tuple(
    name for name, entry in DATASETS.items() if entry.task == "single" and entry.classes and entry.kind == "archive"
)
_SECTIONS: dict[str, Any] = {name: (method.settings, method.settings()) for name, method in METHODS.items()}
Methods = create_model("Methods", __base__=Section, __doc__="One section a registered method.", **_SECTIONS)


class Params(Section):
    """All parameters of a run."""

    preset: str = Field("demo", description="name of the overlay in workflow/presets")
    seed: int = Field(0, ge=0, description="seed of every random choice")
    threads: int = Field(2, ge=1, description="CPU threads of one training; part of what makes weights bit-identical")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one, else the CPU")
    train: str = Field("scenes", description="dataset whose train split is trained on, and val split validated on")
    test: tuple[str, ...] = Field(("scenes",), description="datasets whose test splits are fused and evaluated")
    run: tuple[str, ...] = Field(tuple(METHODS), description="methods that take part")
    grid_rows: int = Field(4, ge=1, le=20, description="pairs shown in the picture grid of each test dataset")
    datasets: dict[str, Dataset] = Field({}, description="generated datasets and your own; public ones need no section")
    rounds: int = Field(
        0, ge=0, le=20, description="rounds of segmentation and meta phase after a method's own training; needs labels"
    )
    meta: tuple[str, ...] = Field(("ssdfusion",), description="methods of run that take part in the rounds")
    patches: PatchSettings = PatchSettings()
    segmentation: SegmentationSettings = SegmentationSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    methods: Methods = Methods()

    def method(self, name: str) -> MethodSettings:
        """The section of a method."""
        settings: MethodSettings = getattr(self.methods, name)
        return settings

    def task(self, dataset: str) -> Task:
        """The task that a dataset is for."""
        declared = self.datasets.get(dataset)
        if declared is None:
            return DATASETS[dataset].task
        if isinstance(declared, Exposures):
            return "multi-exposure"
        return declared.task if isinstance(declared, Folder) else "infrared-visible"

    def classes(self, dataset: str) -> int:
        """Number of label classes of a dataset; 0 without labels."""
        declared = self.datasets.get(dataset)
        if declared is None:
            return len(DATASETS[dataset].classes)
        if isinstance(declared, Exposures):
            return len(DATASETS[declared.of].classes)
        return len(MSRS) if isinstance(declared, Scenes) else declared.classes

    def origin(self, dataset: str) -> str:
        """The dataset whose archive a dataset is made from: itself, unless it is made from a public one."""
        declared = self.datasets.get(dataset)
        return declared.of if isinstance(declared, Exposures) else dataset

    def label_table(self, dataset: str) -> ClassTable | None:
        """Names and colours of the label classes of a dataset; None without labels."""
        declared = self.datasets.get(dataset)
        if isinstance(declared, Scenes):
            return MSRS
        public = DATASETS.get(self.origin(dataset))
        if public is not None and public.classes:
            return ClassTable(public.classes, public.colours)
        return numbered(self.classes(dataset)) if self.classes(dataset) else None

    @property
    def segmented(self) -> tuple[str, ...]:
        """Test datasets with the task and the label classes of the training dataset: on these, inputs are compared."""
        own = self.label_table(self.train)
        if not own or not self.segmentation.seeds:
            return ()
        task = self.task(self.train)
        return tuple(name for name in self.test if self.task(name) == task and self.label_table(name) == own)

    @property
    def inputs(self) -> tuple[str, ...]:
        """What a segmentation network is trained on: each source alone, then what each method and round fuses."""
        return (*SOURCES[self.task(self.train)], *self.variants) if self.segmented else ()

    @property
    def variants(self) -> tuple[str, ...]:
        """The methods, each followed by `<method>-round<r>` for what it fuses after r rounds."""
        return tuple(
            name
            for method in self.run
            for name in (method, *(round_name(method, number) for number in range(1, self.rounds_of(method) + 1)))
        )

    def rounds_of(self, method: str) -> int:
        """Rounds that a method takes part in."""
        return self.rounds if method in self.meta else 0

    @model_validator(mode="after")
    def _consistent(self) -> "Params":
        for name, declared in self.datasets.items():
            _require(bool(re.fullmatch(r"[a-z0-9_-]+", name)), f"datasets.{name}", "letters a-z, digits, - and _ only")
            _require(name not in DATASETS, f"datasets.{name}", "is the name of a public dataset; choose another")
            if isinstance(declared, Exposures):
                _require(
                    declared.of in _LABELLED_IMAGES,
                    f"datasets.{name}.of",
                    "must be a public dataset of single images with labels that can be downloaded "
                    f"({', '.join(_LABELLED_IMAGES)}), found {declared.of!r}",
                )
        known = sorted({*self.datasets, *DATASETS})
        _known(self.train, known, "train")
        for name in self.test:
            _known(name, known, "test")
        for name in self.run:
            _known(name, list(METHODS), "run")
            for dataset in self.test:
                _require(
                    self.task(dataset) in METHODS[name].tasks,
                    "run",
                    f"{name} does not serve {self.task(dataset)}, the task of {dataset}; "
                    f"it serves {', '.join(METHODS[name].tasks)}",
                )
            for phase, samples in METHODS[name].phases.items():
                lacking = self._lacking(samples)
                _require(
                    not lacking,
                    "train",
                    f"phase {phase} of {name} needs a dataset with {lacking}, which {self.train} has not; "
                    f"train on another one or take {name} out of run",
                )
            network = getattr(self.method(name), "network", None)
            wanted, found = getattr(network, "classes", 0), self.classes(self.train)
            _require(
                wanted in (0, found),
                f"methods.{name}.network.classes",
                f"must be {found}, the number of classes of {self.train}, found {wanted}",
            )
        self._check_rounds()
        scenes = self.datasets.get(self.train)
        if isinstance(scenes, Scenes):
            _require(
                self.patches.size <= min(scenes.height, scenes.width),
                "patches.size",
                f"{self.patches.size} is larger than the {scenes.height}x{scenes.width} images of {self.train}",
            )
        return self

    def _check_rounds(self) -> None:
        for name in self.meta if self.rounds else ():
            _known(name, [known for known in self.run if METHODS[known].meta], "meta")
        _require(
            not self.rounds or bool(self.segmented),
            "rounds",
            f"need a training dataset with labels, a test dataset with the same classes and segmentation.seeds of at "
            f"least 1; {self.train} and {', '.join(self.test)} do not give that: set rounds to 0 or choose others",
        )

    def _lacking(self, samples: Samples) -> str:
        """What the training dataset would need to have for these samples; empty if nothing."""
        sources = SOURCES[self.task(self.train)]
        missing = [role for role in samples.roles if role not in sources]
        if missing:
            return f"the source {missing[0]}"
        if samples.pairs and len(sources) != 2:
            return "pairs of two sources"
        return "labels" if samples.labels and not self.classes(self.train) else ""


def load(path: Path, preset: str | None = None, presets: Path | None = None) -> Params:
    """Read params.yaml and the preset that it (or `preset`) names.

    Args:
        path: params.yaml.
        preset: name that takes the place of the file's own `preset`.
        presets: folder of the presets; `workflow/presets` beside params.yaml when left out.

    Raises:
        UserError: a file is missing or is no YAML mapping, a key is unknown, a value has the wrong type, or values
            do not go together; the line names file and key path.
    """
    own = read_yaml(path)
    name = preset or own.get("preset", "demo")
    folder = presets or path.parent / PRESETS
    overlay_path = folder / f"{name}.yaml"
    if not overlay_path.is_file():
        found = ", ".join(sorted(file.stem for file in folder.glob("*.yaml"))) or "none"
        raise UserError(f"{path}: preset: expected one of {found}, found {name!r}")
    overlay = read_yaml(overlay_path)
    merged = _overlay(overlay, {**own, "preset": name})
    try:
        params = Params.model_validate_json(json.dumps(merged))
    except ValidationError as error:
        raise UserError(_explain(error, ((path, own), (overlay_path, overlay)))) from error
    splits = path.parent / SPLITS / f"{params.train}.csv"
    if splits.is_file() and not re.search("^train,", splits.read_text(encoding="utf-8"), re.MULTILINE):
        raise UserError(f"{path}: train: expected a dataset with a train split, found {params.train}, which has none")
    return params


def schema() -> dict[str, Any]:
    """JSON schema of params.yaml and of the presets, for editors to complete and check."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Params.model_json_schema()}


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-4 as a number, as YAML 1.2 does, and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping safely, numbers as YAML 1.2 has them.

    Raises:
        UserError: the file is missing, is no YAML, or holds no mapping.
    """
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise UserError(f"{path}: expected a parameter file, found {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}: expected YAML, found{where}: {getattr(error, 'problem', error)}") from error
    if value is not None and not isinstance(value, dict):
        raise UserError(f"{path}: expected a mapping of keys to values, found {type(value).__name__}")
    return value or {}


def _overlay(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: _overlay(below.get(key), value) for key, value in above.items()}}
    return above


def _explain(error: ValidationError, files: tuple[tuple[Path, dict[str, Any]], ...]) -> str:
    """One line for the first error: file, key path, what was expected, what was found."""
    first = error.errors()[0]
    # Below datasets.NAME pydantic's location holds the kind of the dataset, which is no key of the file.
    keys = [str(key) for i, key in enumerate(first["loc"]) if not (first["loc"][0] == "datasets" and i == 2)]
    path = ".".join(keys)
    where = next((file for file, values in files if _holds(values, keys)), files[0][0])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(keys[-1], _siblings(keys[:-1]), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{where}: {path}: unknown key{hint}{more}"
    message = first["msg"].removeprefix("Value error, ")
    found = "" if first["type"] == "value_error" or first["type"] == "missing" else f", found {first['input']!r}"
    return f"{where}: {path + ': ' if path else ''}{message[0].lower()}{message[1:]}{found}{more}"


def _siblings(keys: list[str]) -> list[str]:
    model: Any = Params
    for key in keys:
        field = getattr(model, "model_fields", {}).get(key)
        if field is None:
            return []
        model = field.annotation
    return list(getattr(model, "model_fields", {}))


def _holds(values: Any, keys: list[str]) -> bool:
    for key in keys:
        if isinstance(values, list) and key.isdigit() and int(key) < len(values):
            values = values[int(key)]
        elif isinstance(values, dict) and key in values:
            values = values[key]
        else:
            return False
    return bool(keys)


def _require(holds: bool, key: str, message: str) -> None:
    if not holds:
        raise ValueError(f"{key}: {message}")


def _known(name: str, names: list[str], key: str) -> None:
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
    _require(name in names, key, f"no such name {name!r}; {hint}")
