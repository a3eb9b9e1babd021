"""dvc.yaml and Snakemake's graph are one."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_committed_pipeline_is_that_of_the_default_preset():
    command = [sys.executable, "workflow/versioning.py", "check", "demo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
