"""The docs cannot drift from the code, nor from the recorded run."""

import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def test_generated_docs_are_current():
    command = [sys.executable, ROOT / "docs/generate.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]


def test_the_shown_results_are_those_of_the_recorded_run():
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())
    recorded = {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}
    source = json.loads((ROOT / "docs/demo/source.json").read_text())
    assert {f"results/demo/{name}": md5 for name, md5 in source.items()}.items() <= recorded.items()
    shown = hashlib.md5((ROOT / "docs/demo/metrics.md").read_bytes(), usedforsecurity=False).hexdigest()
    assert shown == source["metrics.md"]


def test_the_readme_says_of_the_results_what_they_say():
    lines = (ROOT / "docs/demo/metrics.md").read_text().splitlines()
    table = [[cell.strip(" *↑") for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    names = table[0][2:]
    scores = {row[0]: dict(zip(names, map(float, row[2:]), strict=True)) for row in table[2:]}
    average = scores["average"]
    for method in ("fsidfusion", "sfdfuse", "ssdfusion"):
        better = {name for name in names if scores[method][name] > average[name]}
        assert {"EN", "SD", "SF", "Qabf"} <= better <= set(names) - {"SSIM"}
    assert scores["psfusion"]["SF"] < average["SF"]  # soft


def test_links_in_the_docs_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert "://" in link or (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_lock_has_one_version_of_everything_that_is_needed():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = dict(line.split("==") for line in lines)
    assert len(locked) == len(lines)
    own = [Requirement(text) for text in importlib.metadata.requires("decofuse") or []]
    names = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in locked.items()}
    for requirement in own:
        if requirement.marker and not requirement.marker.evaluate({"extra": "dev"}):
            continue  # an extra for those who want it
        version = names[re.sub(r"[-_.]+", "-", requirement.name).lower()]
        assert requirement.specifier.contains(version), requirement


def test_the_readme_names_every_preset():
    presets = {path.stem for path in (ROOT / "workflow/presets").glob("*.yaml")}
    assert presets == set(re.findall(r"^\| `([a-z0-9-]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE))
