"""MLflow's page in a browser: `make ui` shows runs, curves and pictures, without the internet.

With DECOFUSE_SCREENSHOTS set to a folder it writes the pictures of docs/tracking.md there.
"""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from decofuse.tracking.run import PARENT_RUN, Tracker
from decofuse.tracking.store import close_reproduction, open_reproduction

pytest.importorskip("mlflow")

ROOT = Path(__file__).parents[2]
FOLDER = os.environ.get("DECOFUSE_SCREENSHOTS")
WIDTH = 1200  # of a picture in the docs [pixels]
STEPS = 50
CURVES = {
    "loss": lambda step: 0.2 + 1.4 * math.exp(-step / 12),
    "intensity": lambda step: 0.05 + 0.5 * math.exp(-step / 8),
    "gradient": lambda step: 0.1 + 0.6 * math.exp(-step / 20),
    "decomposition": lambda step: 0.05 + 0.3 * math.exp(-step / 10) * (1 + 0.2 * math.sin(step)),
    "lr.encoder": lambda step: 1e-4 * 0.5 ** (step // 20),
    "gradient_norm.encoder": lambda step: 0.5 + 2 * math.exp(-step / 6),
}
STAGES = (
    *("train cddfuse reconstruction", "train cddfuse fusion"),
    *("grid scenes", "predict scenes cddfuse", "table"),
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder in which a small reproduction was recorded."""
    (folder := tmp_path / "decofuse").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    monkeypatch.setenv(PARENT_RUN, open_reproduction("demo", {"seed": 0}, folder / "parent"))
    for stage in STAGES:
        with Tracker(stage, {"methods": {"cddfuse": {"fusion": {"epochs": 2}}}, "seed": 0}) as run:
            record(stage, run)
    close_reproduction(folder / "parent", {"scenes.cddfuse.EN": 7.0}, [Path("metrics.csv")], failed=False)
    return folder


def record(stage, run):
    """What a stage of this name records, made up but for the picture grid."""
    if stage.startswith("train"):
        for step in range(STEPS):
            run.log(step, {name: curve(step) for name, curve in CURVES.items()})
    elif stage == "grid scenes":
        Image.open(ROOT / "docs/demo/grid-scenes.jpg").save("grid-scenes.png")
        run.artifact(Path("grid-scenes.png"))
    elif stage == "table":
        Path("metrics.csv").write_text("method,EN,SSIM\naverage,6.151,0.9214\nfsidfusion,7.031,0.7758\n")
        run.artifact(Path("metrics.csv"))
    else:
        scores = {"dataset": "scenes", "input": "cddfuse", "classes": ["road", "car", "person"]}
        scores["trainings"] = {"0": {"confusion": [[90, 6, 4], [10, 30, 2], [5, 1, 14]]}}
        Path("scores.json").write_text(json.dumps(scores))
        run.confusion(Path("scores.json"))


@pytest.fixture
def page(project, browser, free_port, listening):
    """The browser, with the page open to which `make ui` leads."""
    port, log = free_port(), project / "ui.log"
    (project / "programs").symlink_to(Path(sys.executable).parent)
    with listening(make_ui(project, "programs", port), port, log, env=without_tracking()):
        (browser.runs,) = re.findall(r"http://\S+", log.read_text().splitlines()[0])
        browser.open(browser.runs)
        browser.click("//button[@data-component-id='mlflow.assistant.chat_panel.close']")
        yield browser


def make_ui(folder, binaries, port):
    """The command `make ui` for a project elsewhere, with programs that are in a folder of it already."""
    words = ["make", "-C", folder, "-f", ROOT / "Makefile", "--no-print-directory", "-o", ".venv/.ready"]
    return [str(word) for word in (*words, "ui", f"bin={binaries}", f"PORT={port}")]


def without_tracking():
    return {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}


def list_runs(page):
    """Show the table of runs with all stages and their whole names."""
    page.open(page.runs)
    page.wait_for_text("reproduce demo")
    if "table" not in page.text():
        page.click("//*[contains(@class, 'ag-row')]//button")
    page.wait_for_text("table")
    edges = "document.querySelectorAll('.ag-header-cell-resize')"
    page.run(f"{edges}.forEach(it => it.dispatchEvent(new MouseEvent('dblclick', {{bubbles: true}})))")


def open_run(page, name, tab):
    """Open a run from the table, and one of its tabs."""
    list_runs(page)
    page.click(f"//a[normalize-space() = '{name}']")
    page.click(f"//*[text() = '{tab}']")


def open_picture(page, run, name):
    """Open an image among a run's artifacts; its width in the file, once it is shown large enough to be looked at."""
    open_run(page, run, "Artifacts")
    page.click(f"//*[text() = '{name}']")
    return page.wait("return [...document.images].find(it => it.complete && it.clientWidth > 300)?.naturalWidth")


def save(page, project, name):
    """Save a screenshot, and for the docs a smaller one of few colours."""
    path = project / f"{name}.png"
    page.screenshot(path)
    with Image.open(path) as shown:
        assert shown.width == 1400
        if FOLDER:
            (ROOT / FOLDER).mkdir(parents=True, exist_ok=True)
            size = (WIDTH, round(shown.height * WIDTH / shown.width))
            small = shown.convert("RGB").resize(size, Image.Resampling.LANCZOS)
            small.quantize(256, Image.Quantize.FASTOCTREE).save(ROOT / FOLDER / path.name, optimize=True)


@pytest.mark.slow
def test_the_page_shows_runs_curves_and_pictures_without_the_internet(page, project):
    page.resize(560)
    list_runs(page)
    page.wait_for_text(*STAGES)
    save(page, project, "mlflow-runs")

    page.resize(1030)  # charts are drawn when they come into view
    open_run(page, "train cddfuse fusion", "Model metrics")
    page.wait_for_text(*CURVES)
    drawn = "[...document.querySelectorAll('svg .scatterlayer .trace:has(path.point)')]"
    page.wait(f"return {drawn}.length == arguments[0]", len(CURVES))
    assert page.run(f"return {drawn}.map(it => it.querySelectorAll('path.point').length)") == [STEPS] * len(CURVES)
    save(page, project, "mlflow-curves")

    page.resize(680)
    assert open_picture(page, "predict scenes cddfuse", "confusion.png") > 300
    assert open_picture(page, "grid scenes", "grid-scenes.png") == 1400
    save(page, project, "mlflow-image")

    open_run(page, "table", "Artifacts")
    page.click("//*[text() = 'metrics.csv']")
    page.wait_for_text("fsidfusion", "0.7758")

    asked = page.requests()
    assert len(asked) > 20
    assert {host for host, _ in asked} == {"127.0.0.1"}, asked


def test_make_ui_reports_nothing_to_the_makers_of_mlflow(tmp_path):
    (tmp_path / "bin").mkdir()
    (stand_in := tmp_path / "bin/mlflow").write_text(
        '#!/bin/sh\necho "$MLFLOW_DISABLE_TELEMETRY"; printf "%s\\n" "$@"\n'
    )
    stand_in.chmod(0o755)

    def output(**variables):
        command, env = make_ui(tmp_path, "bin", 5001), without_tracking() | variables
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.splitlines()

    address, switch, *words = output()
    assert "http://127.0.0.1:5001/" in address
    assert (switch, words[0], words[-1]) == ("true", "ui", f"sqlite:///{tmp_path}/mlflow.db")
    assert output(MLFLOW_DISABLE_TELEMETRY="false")[1] == "false"
