"""A Slurm cluster of two nodes on this one machine, all of it in one folder: `python cluster.py [FOLDER]`.

Starts munged, slurmctld and two slurmd, prints what to export, and stops them when its standard input ends: with
Ctrl-D, or with whatever process started it. Each node claims cores, memory and a GPU whether the machine has them
or not, so that a profile for a real cluster is tried as it stands. `--no-gpu` leaves the GPUs out.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

NODES = ("node1", "node2")
CONF = """\
ClusterName=decofuse
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.socket
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd-%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
# A node counts as lost after these seconds of silence; its jobs fail then.
SlurmdTimeout=20
KillWait=2
SlurmdParameters=config_overrides
{gres}
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=16 RealMemory=200000 {node} State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=16 RealMemory=200000 {node} State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES
PartitionName=gpu Nodes=ALL
"""
# The executor clears SLURM_* in the environment before its inner srun, which would then look in /etc/slurm.
SRUN = """\
#!/bin/sh
SLURM_CONF={root}/slurm.conf exec {srun} "$@"
"""


def main(root: Path, gpu: bool) -> None:
    """Run the cluster until standard input ends."""
    if os.geteuid() != 0:
        cannot("the daemons of Slurm are started, and installed, by root")
    install()
    for folder in ("run", "log", "state", "bin", *(f"spool-{node}" for node in NODES)):
        (root / folder).mkdir(parents=True)
    root.chmod(0o755)  # munge wants to be sure that nobody but its user may write above its socket
    configure(root, gpu)
    os.environ["SLURM_CONF"] = f"{root}/slurm.conf"
    daemons: list[subprocess.Popen[bytes]] = []
    # A signal ends the wait below as the end of the input does: nothing may outlive this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        daemons.append(munged(root))
        daemons.append(subprocess.Popen(["slurmctld", "-D", "-c"], **quiet(root)))
        daemons += [subprocess.Popen(["slurmd", "-D", "-N", node], **quiet(root)) for node in NODES]
        wait(root, daemons)
        print(f"export SLURM_CONF={root}/slurm.conf PATH={root}/bin:$PATH", flush=True)
        sys.stdin.read()
    finally:
        end_jobs()
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(timeout=30)


def end_jobs() -> None:
    """Cancel what still runs: jobs outlive the daemons that started them."""
    subprocess.run(["scancel", "--quiet", "--user=root"], check=False)
    for _ in range(100):
        left = subprocess.run(["squeue", "-h"], capture_output=True, check=False)
        if not left.stdout:
            return
        time.sleep(0.1)


def install() -> None:
    """Install Debian's packages where they are missing."""
    if all(map(shutil.which, ("munged", "slurmctld", "slurmd", "srun"))):
        return
    if not shutil.which("apt-get"):
        cannot("slurm-wlm is not installed, and there is no apt-get to install it")
    # The packages' own services stay off: the daemons run here, in one folder.
    apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    subprocess.run(["apt-get", "-q", "update"], check=False, stdout=sys.stderr)
    if subprocess.run([*apt, "slurm-wlm", "munge"], check=False, stdout=sys.stderr, env=environment).returncode:
        cannot("apt-get could not install slurm-wlm and munge")


def configure(root: Path, gpu: bool) -> None:
    """Write the configuration, on free ports."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    if gpu:
        # A GPU is a device file that jobs are told of in CUDA_VISIBLE_DEVICES; any character device will do.
        (root / "gres.conf").write_text(
            "".join(f"NodeName={node} Name=gpu File={root}/run/gpu0 Flags=nvidia_gpu_env\n" for node in NODES)
        )
        os.mknod(root / "run/gpu0", 0o20666, os.makedev(1, 3))
    (root / "slurm.conf").write_text(
        CONF.format(
            root=root,
            host=socket.gethostname(),
            ports=ports,
            gres="GresTypes=gpu" if gpu else "",
            node="Gres=gpu:1" if gpu else "",
        )
    )
    wrapper = root / "bin/srun"
    wrapper.write_text(SRUN.format(root=root, srun=shutil.which("srun")))
    wrapper.chmod(0o755)


def munged(root: Path) -> "subprocess.Popen[bytes]":
    """Start the daemon that signs Slurm's messages, with a key of its own."""
    key = root / "run/munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    files = {
        "key-file": key,
        "socket": root / "run/munge.socket",
        "pid-file": root / "run/munged.pid",
        "log-file": root / "log/munged.log",
        "seed-file": root / "run/munge.seed",
    }
    options = [f"--{name}={path}" for name, path in files.items()]
    started = subprocess.Popen(["munged", "--foreground", "--force", *options], **quiet(root))
    until((root / "run/munge.socket").exists, "munged did not start", root)
    return started


def wait(root: Path, daemons: "list[subprocess.Popen[bytes]]") -> None:
    """Wait until both nodes are idle."""

    def ready() -> bool:
        if any(daemon.poll() is not None for daemon in daemons):
            return False
        command = ["sinfo", "-h", "-N", "-p", "cpu", "-o", "%T"]
        states = subprocess.run(command, capture_output=True, text=True, check=False)
        return states.stdout.split() == ["idle"] * len(NODES)

    until(ready, "the nodes did not become idle", root)


def until(condition: Callable[[], bool], message: str, root: Path) -> None:
    """Wait for a condition; after a minute say what the daemons wrote."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    logs = "".join(path.read_text(errors="replace")[-2000:] for path in sorted((root / "log").iterdir()))
    cannot(f"{message}:\n{logs}")


def cannot(reason: str) -> NoReturn:
    """End, telling a test to skip: this machine is no place for a cluster."""
    print(reason, file=sys.stderr)
    sys.exit(77)


def quiet(root: Path) -> dict[str, Any]:
    """How a daemon is started: what it says goes to a file, and Ctrl-C is for this process alone."""
    return {
        "stdin": subprocess.DEVNULL,
        "stdout": (root / "log/output.log").open("a"),
        "stderr": subprocess.STDOUT,
        "start_new_session": True,
    }


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--no-gpu"]
    main(Path(words[0] if words else tempfile.mkdtemp(prefix="slurm-")).absolute(), "--no-gpu" not in sys.argv)
