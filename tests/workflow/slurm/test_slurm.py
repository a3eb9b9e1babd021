"""The workflow on a real Slurm cluster, which loses a job and a node.

`DECOFUSE_SLURM_PRESET=demo pytest -m slow tests/workflow/slurm` takes a whole preset instead of a part of the smallest
one: any that trains SSDFusion.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

CLUSTER = Path(__file__).with_name("cluster.py")
CANNOT = 77
PATIENCE_S = 2 * 60 * 60
# Long enough to be caught in the middle of each phase.
SHORT = """\
preset: smoke
run: [cddfuse, average]
methods: {cddfuse: {reconstruction: {epochs: 12}, fusion: {epochs: 12}}}
"""


@pytest.fixture
def cluster(tmp_path_factory):
    """What the environment of a user of the cluster has beside ours; nothing is installed or started in vain."""
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="pip install -r profiles/slurm/requirements.lock")
    if " " in sys.executable:
        pytest.skip(f"Snakemake does not quote {sys.executable} in scripts for schedulers")
    command = [sys.executable, CLUSTER, tmp_path_factory.mktemp("slurm") / "cluster"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        exported = re.fullmatch(r"export SLURM_CONF=(\S+) PATH=(\S+):\$PATH\n", process.stdout.readline())
        if exported is None:
            reason = process.communicate()[1]
            assert process.returncode == CANNOT, reason
            pytest.skip(reason)
        yield {"SLURM_CONF": exported[1], "SLURM_BIN": exported[2]}
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert not processes(SLURM_CONF=exported[1])


@pytest.mark.slow
def test_a_cluster_that_loses_a_job_and_a_node_gives_the_same_weights(new_project, cluster, tmp_path_factory):
    preset = os.environ.get("DECOFUSE_SLURM_PRESET")
    (new_project.root / "params.yaml").write_text(f"preset: {preset}\n" if preset else SHORT)
    method = "ssdfusion" if preset else "cddfuse"
    folder = tmp_path_factory.mktemp("elsewhere")
    other = type(new_project)(folder / "on a cluster")
    shutil.copytree(new_project.root, other.root, symlinks=True)
    other.env |= {"SLURM_CONF": cluster["SLURM_CONF"], "PATH": f"{cluster['SLURM_BIN']}:{other.env['PATH']}"}
    # Whatever is stopped in its second epoch has been saved.
    other.edit("workflow/rules/train.smk", '"decofuse train', '"decofuse train --save-every 0')
    new_project.run("snakemake")

    command = ["snakemake", "--workflow-profile", "slurm", "--seconds-between-status-checks", "1"]
    with (folder / "log").open("w") as log:
        run = subprocess.Popen(command, cwd=other.root, env=other.env, stdout=log, stderr=log)
        try:
            job, _ = in_the_middle(other, run, method, "reconstruction")
            other.run("scancel", job)
            lost, node = in_the_middle(other, run, method, "fusion")
            fail(node, cluster["SLURM_CONF"])
            run.wait(timeout=PATIENCE_S)
        finally:
            run.terminate()
    output = (folder / "log").read_text()
    assert run.returncode == 0, output
    assert f"SLURM-job '{job}' failed, SLURM status is: 'CANCELLED'" in output
    assert f"SLURM-job '{lost}' failed due to a node failure" in output

    weights = sorted(path.relative_to(new_project.root) for path in new_project.root.rglob("results/**/*.safetensors"))
    assert len(weights) >= 4
    for path in weights:
        assert (other.root / path).read_bytes() == (new_project.root / path).read_bytes(), path
    for phase in ("reconstruction", "fusion"):
        (log,) = other.root.glob(f"logs/*/train-{method}-{phase}.log")
        assert "epoch 1 of" not in log.read_text(), "the second try started from nothing"
    assert len([*other.root.glob(f"logs/slurm/rule_train/*_{method}_fusion/*.log")]) == 2
    assert "Nothing to be done" in other.run("snakemake", "-n")


def in_the_middle(project, run, method, phase):
    """Wait until a phase has its first epoch behind it; its job and the node that it runs on."""
    while not any("epoch 1 of" in log.read_text() for log in project.root.glob(f"logs/*/train-{method}-{phase}.log")):
        assert run.poll() is None, "the run ended before the phase began"
        time.sleep(0.05)
    jobs = [line.split() for line in project.run("squeue", "-h", "-t", "R", "-o", "%i %N %k").splitlines()]
    ((job, node),) = [(job, node) for job, node, comment in jobs if comment.endswith(f"_{method}_{phase}")]
    return job, node


def fail(node, conf):
    """A node fails: its slurmd and all that it started, with the parents that Slurm gave them, are gone at once."""
    victims = processes(SLURMD_NODENAME=node, SLURM_CONF=conf)
    victims += [parent for victim in victims if (parent := victim.parent()) and parent.name() == "slurmstepd"]
    victims.append(psutil.Process(int(Path(conf).with_name("run").joinpath(f"slurmd-{node}.pid").read_text())))
    for victim in dict.fromkeys(victims):
        victim.kill()


def processes(**variables):
    """The processes with these variables in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if variables.items() <= environment.items():
            found.append(process)
    return found
