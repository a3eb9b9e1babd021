"""A copy of the project in which the smallest preset has run."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PLANNER = Path(__file__).with_name("planner.py")


class Project:
    """A checkout with its own data, results, DVC cache and tracking database; its path has a space."""

    def __init__(self, root):
        self.root, self._planner = root, None
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DECOFUSE_", "MLFLOW_", "DVC_"))}
        self.env = inherited | {"PYTHONPATH": str(root / "src"), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def run(self, *command, check=True, env=None):
        words = [str(word) for word in command]
        environment = self.env | (env or {})
        done = subprocess.run(words, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def snakemake(self, *words, **kwargs):
        return self.run("snakemake", "--config", "preset=smoke", *words, **kwargs)

    def decofuse(self, *words, **kwargs):
        return self.run(sys.executable, "-m", "decofuse.cli", *words, **kwargs)

    def would_run(self):
        """What a dry run would do: each job by its message."""
        lines = self.snakemake("-n").splitlines()
        return {line.split(": ", 1)[1] for line in lines if line.startswith("Job ") and ": " in line}

    def plan(self, preset="smoke"):
        """The same of Snakemake's graph, asked of a process that has loaded Snakemake for all questions."""
        if self._planner is None:
            command, pipe = [sys.executable, PLANNER], subprocess.PIPE
            self._planner = subprocess.Popen(command, cwd=self.root, env=self.env, stdin=pipe, stdout=pipe, text=True)
        print(preset, file=self._planner.stdin, flush=True)
        answer = json.loads(self._planner.stdout.readline())
        assert isinstance(answer, list), answer
        return set(answer)

    def close(self):
        if self._planner is not None:
            self._planner.communicate()

    def copied(self, folder):
        """A copy with a state of its own."""
        shutil.copytree(self.root, folder, symlinks=True)
        return Project(folder)

    def git(self, *words):
        return self.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words)

    def commit(self):
        self.git("add", "-A")
        self.git("commit", "-qm", "x", "--allow-empty")

    def edit(self, file, old, new):
        path = self.root / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))


def copy(folder):
    """The tracked and new files of this project, in a repository of their own, without its record of runs."""
    tracked = subprocess.check_output(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True
    ).splitlines()
    for name in tracked:
        if (ROOT / name).is_file() and name not in ("dvc.yaml", "dvc.lock"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    project = Project(folder)
    project.git("init", "-q")
    project.commit()
    return project


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The project after one whole run; tests leave it as they found it.

    The run is made once. Each process of pytest-xdist has a copy of it: whichever comes second waits for the first.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    run, over = shared / "a whole run", shared / "the run is over"
    with (shared / "the run's lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not over.exists():
            shutil.rmtree(run, ignore_errors=True)
            run.mkdir()
            project = copy(run)
            project.snakemake()
            project.commit()
            over.touch()
    own = Project(run).copied(tmp_path_factory.mktemp("copy") / "a project")
    yield own
    own.close()


@pytest.fixture
def project(finished):
    yield finished
    finished.git("checkout", "-q", "--", ".")


@pytest.fixture(scope="session")
def unrun(tmp_path_factory):
    """The project before any run; of what is in it tests change params.yaml alone."""
    made = copy(tmp_path_factory.mktemp("not run"))
    yield made
    made.close()


@pytest.fixture
def other(project, tmp_path):
    """A copy of the finished project in which a test may leave what it likes."""
    return project.copied(tmp_path / "other")


@pytest.fixture
def new_project(tmp_path):
    """The project before any run."""
    return copy(tmp_path)
