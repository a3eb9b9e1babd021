"""dvc.yaml and Snakemake's graph are one; what DVC keeps can be had back, and damage to it is found."""

import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def test_the_committed_pipeline_is_that_of_the_default_preset():
    command = [sys.executable, "workflow/versioning.py", "check", "demo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]


def test_a_stage_that_the_graph_has_otherwise_is_noticed(project):
    check = (sys.executable, "workflow/versioning.py", "check", "smoke")
    project.edit("dvc.yaml", "- data/scenes-smoke/manifest.csv", "- data/scenes-smoke/manifest.txt")
    assert "dvc.yaml: does not match the Snakemake graph" in project.run(*check, check=False)


def test_the_record_of_former_stages_is_dropped(tmp_path):
    (tmp_path / "dvc.yaml").write_text("stages: {kept: {cmd: a}}\n")
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages:\n  kept:\n    cmd: a\n  former:\n    cmd: b\n")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'workflow')!r})\nimport versioning as v; v._forget_former_stages()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "dvc.lock").read_text() == "schema: '2.0'\nstages:\n  kept:\n    cmd: a\n"


@pytest.fixture
def clone(other, tmp_path):
    """A clone after `dvc pull`."""
    other.run("dvc", "remote", "add", "-q", "-d", "storage", tmp_path / "remote")
    other.run("dvc", "push", "-q")
    other.commit()
    clone = type(other)(tmp_path / "clone here")
    other.git("clone", "-q", other.root, clone.root)
    clone.run("dvc", "pull", "-q")
    return clone


def test_a_clone_has_everything_after_dvc_pull(project, clone):
    assert "Nothing to be done" in clone.snakemake("-n")
    for name in ("metrics.json", "training/cddfuse/fusion/weights.safetensors"):
        assert (clone.root / "results/smoke" / name).read_bytes() == (
            project.root / "results/smoke" / name
        ).read_bytes()


@pytest.mark.slow
def test_damage_is_found_and_pulled_again(clone):
    assert_found_and_mended(clone, clone.root / "results/smoke/training/cddfuse/fusion/weights.safetensors")


@pytest.mark.slow
def test_damage_is_found_and_made_again_without_a_remote(other):
    assert_found_and_mended(other, other.root / "results/smoke/grid-scenes-smoke.png")


def assert_found_and_mended(project, path):
    """Bits flip in a file and in DVC's cache; the command that verify names gives both back."""
    assert "0 findings" in project.decofuse("verify")
    content = path.read_bytes()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    for damaged in (path, project.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]):
        damaged.unlink()
        damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    name = path.relative_to(project.root)
    lines = project.decofuse("verify", check=False).splitlines()
    (remedy,) = [line.split("; ", 1)[1] for line in lines if line.startswith(f"{name}: differs from dvc.lock; ")]
    assert any(line.startswith(".dvc/cache/") and f"damaged cache entry of {name}" in line for line in lines)
    project.run("bash", "-c", remedy)
    assert path.read_bytes() == content
    assert "0 findings" in project.decofuse("verify")
    assert project.would_run() == set()


@pytest.mark.slow
def test_an_older_commit_gives_its_run_back(other):
    grid = other.root / "results/smoke/grid-scenes-smoke.png"
    first = grid.read_bytes()
    other.edit("params.yaml", "preset: demo", "preset: demo\ngrid_rows: 1")
    other.snakemake()
    other.commit()
    second = grid.read_bytes()
    assert second != first
    for commit, content in (("HEAD~1", first), ("-", second)):
        other.git("checkout", "-q", commit)
        other.run("dvc", "checkout", "--force", "-q")
        assert grid.read_bytes() == content
        assert other.would_run() == set()
        assert "up to date" in other.run("dvc", "status")


@pytest.mark.parametrize(
    ("change", "stage", "before", "made"),
    [
        ("grid_rows: 1\n", "grid--scenes-smoke", "generate--scenes-smoke--cddfuse", "grid-scenes-smoke.png"),
        pytest.param(
            "methods: {cddfuse: {fusion: {weights: {gradient: 5.0}}}}\n",
            "train--cddfuse--fusion",
            "train--cddfuse--reconstruction",
            "training/cddfuse/fusion/weights.safetensors",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_dvc_repro_and_snakemake_agree(project, other, change, stage, before, made):
    """After `dvc repro` with a changed parameter Snakemake has nothing to do, and something else came out."""
    (other.root / "params.yaml").write_text(f"preset: smoke\n{change}")
    output = other.run("dvc", "repro")
    assert f"Running stage 'smoke--{stage}'" in output
    assert f"Running stage 'smoke--{before}'" not in output
    assert other.would_run() == set()
    assert "up to date" in other.run("dvc", "status")
    by_dvc, by_snakemake = ((each.root / "results/smoke" / made).read_bytes() for each in (other, project))
    assert by_dvc != by_snakemake
    other.git("checkout", "-q", "--", ".")
    other.run("dvc", "checkout", "-q", "--force")
    assert other.would_run() == set()  # back at the commit


@pytest.mark.slow
def test_jobs_leave_dvc_to_the_process_that_started_them(other):
    """Parallel calls of DVC refuse each other's locks: no rule makes one, and the recording at the end waits."""
    for rules in (ROOT / "workflow/rules").glob("*.smk"):
        assert not re.search(r"\bdvc ", rules.read_text()), rules.name
    hold = (
        "import sys; from dvc.repo import Repo, lock_repo\nwith lock_repo(Repo()): print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold]
    holder = subprocess.Popen(
        command, cwd=other.root, env=other.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    holder.stdout.readline()
    grid = other.root / "results/smoke/grid-scenes-smoke.png"
    grid.unlink()
    command = ["snakemake", "--config", "preset=smoke"]
    run = subprocess.Popen(
        command, cwd=other.root, env=other.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not grid.exists():
        assert run.poll() is None
        time.sleep(0.1)
    with pytest.raises(subprocess.TimeoutExpired):
        run.wait(10)  # nothing is left to it but recording
    holder.communicate()
    output, _ = run.communicate()
    assert run.returncode == 0 and "not recorded" not in output, output
    assert "up to date" in other.run("dvc", "status")


def test_dvc_shows_metrics_and_plots(project):
    shown = json.loads(project.run("dvc", "metrics", "show", "--json"))
    assert "results/smoke/metrics.json" in json.dumps(shown)
    plots = yaml.safe_load((project.root / "dvc.yaml").read_text())["plots"]
    assert {"results/smoke/training/cddfuse/fusion/history.csv"} <= {next(iter(plot)) for plot in plots}
    project.run("dvc", "plots", "show", "--json")
