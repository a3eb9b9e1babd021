"""A stage's digest covers the code that its command loads."""

import ast
import inspect
import sys
from pathlib import Path

import pytest

from decofuse import config, stages
from decofuse.cli import data, evaluation, fusing, report, segmentation, training
from decofuse.tracking import code

ROOT = Path(__file__).parents[1]
# What only reads the command line and the parameters, and what records: no result depends on it.
EDGES = ("decofuse.cli", "decofuse.config", "decofuse.stages", "decofuse.tracking")
COMMANDS = {
    "patches": data.patches,
    "dataset": data._public,
    "scenes": data._scenes,
    "exposures": data._exposures,
    "train": training.train,
    "generate": fusing.generate,
    "evaluate": evaluation.score,
    "table": evaluation.table,
    "comparison": evaluation.comparison,
    "grid": evaluation.grid,
    "segment": segmentation.segment,
    "predict": segmentation.predict,
    "predict_head": segmentation.predict_head,
    "meta": segmentation.meta,
    "segmentation_report": segmentation.segmentation_report,
    "overlays": segmentation.overlays,
    "report": report.report,
}


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """The modules of which each stage's digest is made, by stage."""
    file = tmp_path_factory.mktemp("project") / "params.yaml"
    file.write_text("preset: smoke-rounds\nrun: [ssdfusion, psfusion, average]\n")
    params = config.load(file, presets=ROOT / "workflow/presets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "digest", list)
        return stages.resolve(params)["code"]


def lists(value):
    """All lists of modules of a stage: one, or one a method and phase."""
    return [value] if isinstance(value, list) else [found for part in value.values() for found in lists(part)]


def imported(function, seen):
    """Modules of the package that a command and its helpers import when they are called."""
    seen.add(function)
    found, scope = set(), vars(sys.modules[function.__module__])
    for node in ast.walk(ast.parse(inspect.getsource(function))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("decofuse"):
            found.add(node.module)
        called = node.func if isinstance(node, ast.Call) else None
        helper = scope.get(called.id) if isinstance(called, ast.Name) else None
        if inspect.isfunction(helper) and helper.__module__.startswith("decofuse.cli") and helper not in seen:
            found |= imported(helper, seen)
    return found


@pytest.mark.parametrize("stage", COMMANDS)
def test_a_digest_covers_what_the_command_imports(modules, stage):
    names = {name for name in imported(COMMANDS[stage], set()) if not name.startswith(EDGES)}
    assert names
    for own in lists(modules[stage]):
        missing = {name for name in names if not set(code.closure([name])) <= set(code.closure(own))}
        assert not missing
