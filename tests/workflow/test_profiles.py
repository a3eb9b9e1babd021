"""Profiles for machines that are not one desktop; a real Slurm cluster is in slurm/."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from snakemake.profiles import ProfileConfigFileParser

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LOCAL = {"all", "params", "download"}


def read(profile):
    """A profile's settings as Snakemake reads them, in the current folder."""
    with Path("profiles", profile, "config.yaml").open() as file:
        return ProfileConfigFileParser().parse(file)


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def own_profiles(tmp_path, monkeypatch):
    """A copy of the profiles that a test may edit, in the current folder."""
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    monkeypatch.chdir(tmp_path)


def test_the_table_has_every_rule_that_becomes_a_job_and_knows_which_need_a_gpu():
    table = yaml.safe_load((ROOT / "profiles/rules.yaml").read_text())
    rules = {}
    for file in (ROOT / "workflow/rules").glob("*.smk"):
        for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^rule |\Z)", file.read_text(), re.MULTILINE | re.DOTALL):
            rules[name] = int("gpu=1" in body)
    assert {name: needs["gpu"] for name, needs in table.items()} == {
        name: gpu for name, gpu in rules.items() if name not in LOCAL
    }


@pytest.mark.usefixtures("own_profiles")
@pytest.mark.parametrize("profile", ["slurm", "generic"])
def test_one_switch_takes_the_gpus_away(profile):
    assert {"train:gpu=1", "evaluate:gpu=0", "train:mem_mb=16000 * attempt"} <= set(read(profile)["set-resources"])
    file = Path("profiles", profile, "config.yaml")
    file.write_text(file.read_text().replace("gpu_nodes: true", "gpu_nodes: false", 1))
    resources = read(profile)["set-resources"]
    assert not [entry for entry in resources if entry.endswith((":gpu=1", "slurm_partition=gpu"))]


@pytest.mark.usefixtures("own_profiles")
@pytest.mark.parametrize("profile", ["slurm", "generic"])
def test_a_training_can_take_several_devices_of_a_node(profile):
    table = Path("profiles/rules.yaml")
    table.write_text(re.sub(r"(train: +\{)gpu: 1,", r"\1gpu: 4, processes: 4,", table.read_text()))
    resources = set(read(profile)["set-resources"])
    assert {"train:gpu=4", "train:processes=4", "train:mem_mb=16000 * attempt", "meta:processes=1"} <= resources


@pytest.mark.parametrize("profile", ["slurm", "workstation", "generic"])
def test_a_profile_keeps_what_the_default_one_says(profile):
    default = read("default")
    kept = {key: value for key, value in default.items() if key != "cores"}
    assert kept.items() <= read(profile).items()


def test_a_job_gets_a_device_of_its_own(tmp_path):
    """Six jobs on two devices: always two at once, never two on one; rules without a GPU take none."""
    small_workflow(tmp_path, 6)
    run(tmp_path, "workstation", "--cores", "6", CUDA_VISIBLE_DEVICES="fake-3,fake-7")
    spans = [(tmp_path / f"train-{number}").read_text().split() for number in range(6)]
    assert {device for device, _, _ in spans} == {"fake-3", "fake-7"}
    for device, start, end in spans:
        others = [(float(s), float(e)) for d, s, e in spans if d == device and s != start]
        assert all(e <= float(start) or s >= float(end) for s, e in others)
    assert (tmp_path / "table-0").read_text().split()[0] == "fake-3,fake-7"


def test_a_device_in_use_by_another_run_is_left_alone(tmp_path):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "fake-4,fake-5"}
    shell = [ROOT / "profiles/workstation/one-gpu", "-c"]
    with subprocess.Popen(
        [*shell, "echo $CUDA_VISIBLE_DEVICES; read end"], stdin=-1, stdout=-1, env=environment
    ) as first:
        assert first.stdout.readline() == b"fake-4\n"
        assert subprocess.check_output([*shell, "echo $CUDA_VISIBLE_DEVICES"], env=environment) == b"fake-5\n"
        first.stdin.close()
    assert subprocess.check_output([*shell, "echo $CUDA_VISIBLE_DEVICES"], env=environment) == b"fake-4\n"
    assert subprocess.run([*shell, "false | true"], env=environment, check=False).returncode == 1


def test_a_scheduler_is_asked_for_what_the_table_says(tmp_path):
    pytest.importorskip("snakemake_executor_plugin_cluster_generic", reason="install requirements.lock")
    if " " in sys.executable:
        pytest.skip(f"Snakemake does not quote {sys.executable} in scripts for schedulers")
    small_workflow(tmp_path, 2)
    scheduler(tmp_path / "bin")
    run(tmp_path, "generic", "--seconds-between-status-checks", "1", scheduler=tmp_path / "bin")
    asked = (tmp_path / "bin/asked").read_text()
    assert asked.count("-l walltime=86400 -l select=1:ncpus=1:mem=16000mb:ngpus=1") == 2
    assert asked.count("-l walltime=600 -l select=1:ncpus=1:mem=2000mb:ngpus=0") == 1
    assert asked.count("mem=32000mb") == 1, "the job that failed was not started again with more memory"


def small_workflow(folder, count):
    """Rules with the names of real ones that say which device they had, and when; one fails at its first try."""
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    (folder / "Snakefile").write_text(
        textwrap.dedent("""
        rule all:
            input: expand("train-{n}", n=range(COUNT)), "table-0"
        rule train:
            output: "train-{n}"
            resources: gpu=1
            shell: "[ {wildcards.n} != 1 -o -e tried -o -z \\"${{FAIL-}}\\" ] || {{ touch tried; false; }};"
              " start=$(date +%s.%N); sleep 0.5; echo $CUDA_VISIBLE_DEVICES $start $(date +%s.%N) > {output}"
        rule table:
            output: "table-{n}"
            shell: "echo $CUDA_VISIBLE_DEVICES > {output}"
        """).replace("COUNT", str(count))
    )


def scheduler(folder):
    """Commands that stand in for those of PBS; one job fails."""
    folder.mkdir()
    commands = {
        "qsub": 'cd "$(dirname "$0")"; echo "$@" >> asked; for script; do :; done; id=$(wc -l < asked);'
        ' ( FAIL=1 sh "$script" > log-$id 2>&1; echo "Exit_status = $?" > status-$id; ) > /dev/null & echo $id',
        "qstat": 'cd "$(dirname "$0")"; [ -e status-$2 ] && echo job_state = F && cat status-$2 || echo job_state = R',
        "qdel": "exit 1",
    }
    for name, text in commands.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)


def run(folder, profile, *words, scheduler=None, **environment):
    path = os.pathsep.join(map(str, filter(None, (scheduler, BIN, os.environ["PATH"]))))
    command = ["snakemake", "--workflow-profile", profile, *words]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path, "CUDA_VISIBLE_DEVICES": "-"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
