"""What a change makes run again, and nothing else does: each edit with the exact jobs of a dry run after it."""

import contextlib

import pytest

from decofuse.models.registry import METHODS

NOTE = "Writing down the parameters of smoke"
COMPARISON = "Comparing the scores of smoke with published numbers"
REPORT = "Writing the report of smoke"
TABLES = {"Gathering the scores of smoke", COMPARISON, REPORT}
GRID = "Drawing the picture grid of scenes-smoke"
TRAINED = tuple(name for name, method in METHODS.items() if method.phases)
RESTORMER = ("cddfuse", "fsidfusion", "sfdfuse", "ssdfusion")


def training(*methods):
    return {f"Training {name}, phase {phase}" for name in methods for phase in METHODS[name].phases}


def scoring(*methods):
    return {f"Scoring {name} on scenes-smoke" for name in methods} | TABLES


def fusing(*methods):
    return {f"Fusing scenes-smoke with {name}" for name in methods} | {GRID} | scoring(*methods)


ON_PATCHES = tuple(
    name for name in TRAINED if any(samples.reads == "patches" for samples in METHODS[name].phases.values())
)
AFTER_FUSION = {"Training cddfuse, phase fusion"} | fusing("cddfuse")

EDITS = {
    "a shared block": (
        "src/decofuse/models/restormer.py",
        "return ",
        "return 1 * ",
        {NOTE} | training(*RESTORMER) | fusing(*RESTORMER),
    ),
    "a loss's constant": (
        "src/decofuse/losses/selection.py",
        "WINDOW = 9",
        "WINDOW = 11",
        {NOTE} | training("ssdfusion", "psfusion") | fusing("ssdfusion", "psfusion"),
    ),
    "a method": (
        "src/decofuse/models/sfdfuse.py",
        "nn.LeakyReLU(0.01)",
        "nn.LeakyReLU(0.02)",
        {NOTE} | training("sfdfuse") | fusing("sfdfuse"),
    ),
    "what one phase reads": (
        "src/decofuse/data/labelled_crops.py",
        "PCG64(",
        "PCG64DXSM(",
        {NOTE} | training("psfusion") | fusing("psfusion"),
    ),
    "a metric": ("src/decofuse/metrics/edges.py", "import math", "import math\n\nLEFT = 0", {NOTE} | scoring(*METHODS)),
    "the picture grid": ("src/decofuse/grid.py", "GAP = ", "GAP = 2 * ", {NOTE, GRID, REPORT}),
    "the page's template": ("src/decofuse/reports/page_html.py", "1.6rem", "1.7rem", {NOTE, COMPARISON, REPORT}),
    "the style of the report": ("src/decofuse/reports/run_style.py", "1.6rem", "1.7rem", {NOTE, REPORT}),
    "the published numbers": (
        "workflow/published.csv",
        "cddfuse,tno,EN,7.12",
        "cddfuse,tno,EN,7.13",
        {COMPARISON, REPORT},
    ),
}
PARAMETERS = {
    "methods: {cddfuse: {fusion: {weights: {gradient: 5.0}}}}": {NOTE} | AFTER_FUSION,
    "methods: {defusionpp: {mcud: {epochs: 3}}}": {NOTE, "Training defusionpp, phase mcud"} | fusing("defusionpp"),
    "methods: {psfusion: {network: {channels: 16}}}": {NOTE} | training("psfusion") | fusing("psfusion"),
    "patches: {stride: 16}": {NOTE, "Cutting patches for smoke"} | training(*ON_PATCHES) | fusing(*ON_PATCHES),
    "seed: 1": {NOTE} | training(*TRAINED) | fusing(*TRAINED),
    "threads: 2": {NOTE} | training(*TRAINED) | fusing(*METHODS),
    "evaluation: {metrics: [EN]}": {NOTE} | scoring(*METHODS),
    "datasets: {more: {kind: scenes, seed: 1, train: 1, val: 1, test: 1, height: 96, width: 128}}\n"
    "test: [scenes-smoke, more]": (
        {NOTE, "Making the dataset more", "Drawing the picture grid of more"}
        | TABLES
        | {f"Fusing more with {name}" for name in METHODS}
        | {f"Scoring {name} on more" for name in METHODS}
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_reruns_what_depends_on_it(project, edit):
    file, old, new, jobs = EDITS[edit]
    project.edit(file, old, new)
    assert project.plan() == jobs


@pytest.mark.parametrize("params", PARAMETERS)
def test_a_parameter_reruns_what_depends_on_it(project, params):
    (project.root / "params.yaml").write_text(f"preset: smoke\n{params}\n")
    assert project.plan() == PARAMETERS[params]


def test_what_no_stage_runs_changes_the_note_of_the_parameters_alone(project):
    """A docstring, a comment, code of stages that this run lacks or of a tool, parameters of no stage."""
    project.edit("src/decofuse/models/cddfuse.py", '"""CDDFuse: ', '"""The network CDDFuse: ')
    project.edit("src/decofuse/losses/selection.py", "WINDOW = 9", "WINDOW = 9  # odd,\n# as a window's side is\n")
    project.edit("src/decofuse/segmentation/training.py", "import functools", "import math, functools")
    project.edit("src/decofuse/fusing/video.py", "import contextlib", "import math, contextlib")
    project.edit("workflow/presets/smoke.yaml", "grid_rows: 2", "grid_rows: 2  # of two")
    project.edit(
        "params.yaml", "preset: demo", "preset: demo  # mine\nsegmentation: {training: {epochs: 3}}\nrounds: 0"
    )
    assert project.plan() == {NOTE}


def test_what_lies_outside_the_run_changes_nothing(project):
    """Text, tests, another preset, a touch of everything, an input that was altered and restored."""
    project.edit("README.md", "# DecoFuse", "# DecoFuse!")
    project.edit("tests/test_grid.py", "import numpy as np", "import math, numpy as np")
    project.edit("workflow/presets/msrs.yaml", "epochs: 40", "epochs: 41")
    manifest = project.root / "data/scenes-smoke/manifest.csv"
    content = manifest.read_bytes()
    manifest.unlink()
    manifest.write_bytes(content + b"\n")
    manifest.write_bytes(content)
    for folder in ("data", "results", "src", "workflow"):
        for path in (project.root / folder).rglob("*"):
            path.touch()
    assert project.plan() == set()


@contextlib.contextmanager
def replaced(path, content):
    """The file with another content, or gone; the same bytes again afterwards, whatever the test did."""
    before = path.read_bytes()
    path.unlink()  # it may be a hard link into DVC's cache
    try:
        if content is not None:
            path.write_bytes(content)
        yield
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("file", "jobs"),
    [("grid-scenes-smoke.png", {GRID, REPORT}), ("training/cddfuse/fusion/history.csv", AFTER_FUSION)],
)
def test_a_deleted_output_is_made_again_with_what_follows(project, file, jobs):
    with replaced(project.root / "results/smoke" / file, None):
        assert project.plan() == jobs
    assert project.plan() == set()


def test_an_altered_output_reruns_what_reads_it(project):
    with replaced(project.root / "results/smoke/training/cddfuse/reconstruction/weights.safetensors", b"altered"):
        assert project.plan() == AFTER_FUSION
    assert project.plan() == set()


def test_the_reasons_are_told_in_words(project):
    """A parameter with its values, the module that changed, the input, the output, and the job that comes before."""
    project.edit("src/decofuse/losses/selection.py", "WINDOW = 9", "WINDOW = 11")
    project.edit("workflow/published.csv", "cddfuse,tno,EN,7.12", "cddfuse,tno,EN,7.13")
    project.edit(
        "params.yaml", "preset: demo", "preset: demo\nmethods: {cddfuse: {fusion: {weights: {gradient: 5.0}}}}"
    )
    with replaced(project.root / "results/smoke/grid-scenes-smoke.png", None):
        told = explained(project)
    assert told["Training cddfuse, phase fusion"] == ["methods.cddfuse.fusion.weights.gradient: 10.0 -> 5.0"]
    assert told["Training ssdfusion, phase reconstruction"] == ["code changed: decofuse/losses/selection.py"]
    assert told["Fusing scenes-smoke with cddfuse"] == ["follows: Training cddfuse, phase fusion"]
    assert "missing: results/smoke/grid-scenes-smoke.png" in told[GRID]
    assert "input changed: params.yaml" in told[NOTE]
    assert project.would_run() == project.plan() == set(told)
    assert list(told).index("Training cddfuse, phase fusion") < list(told).index("Fusing scenes-smoke with cddfuse")


def test_reasons_of_one_target(project):
    project.edit("workflow/published.csv", "cddfuse,tno,EN,7.12", "cddfuse,tno,EN,7.13")
    assert explained(project, "results/smoke/benchmark.csv") == {COMPARISON: ["input changed: workflow/published.csv"]}
    output = project.decofuse("explain", "--preset", "smoke", "results/smoke/metrics.csv")
    assert output.startswith("Nothing to be done")
    output = project.decofuse("explain", "--preset", "smoke", "results/smoke/nonsense", check=False)
    assert len(output.splitlines()) == 1 and "decofuse: error: No rule to produce results/smoke/nonsense" in output


def explained(project, *targets):
    """What `decofuse explain` says: the reasons by job, in its order."""
    told = {}
    for line in project.decofuse("explain", "--preset", "smoke", *targets).splitlines():
        if line.startswith("    "):
            told[[*told][-1]].append(line.strip())
        else:
            told[line] = []
    return told
