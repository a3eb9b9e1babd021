"""`decofuse evaluate`: folders of images from anywhere, one or several methods, whatever is wrong with the files."""

import csv
import io
import json
import logging
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from decofuse.cli.app import SKIPPED
from decofuse.data.images import read_image, write_image
from decofuse.data.manifest import ImageFile, Manifest, Pair
from decofuse.errors import UserError
from decofuse.evaluation import folders
from decofuse.evaluation.folders import evaluate_folders
from decofuse.evaluation.settings import EvaluationSettings
from decofuse.evaluation.split import score_split
from decofuse.files import sha256
from decofuse.fusing.index import FusedImage, FusedIndex

ROOT = Path(__file__).parents[1]
NAMES = ("a", "b", "c")
ALL_EIGHT = ["EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM"]


def image(seed, height=44, width=48, colour=False):
    """Smooth noise, so that all metrics have something to see."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3 if colour else 1), np.uint8)
    pixels = coarse.repeat(4, 0).repeat(4, 1)[:height, :width] // 2 + rng.integers(0, 100, (height, width, 1), np.uint8)
    return pixels if colour else pixels[..., 0]


@pytest.fixture
def root(tmp_path):
    """Colour and grey sources, and two methods: one close to the sources, one noise."""
    for i, name in enumerate(NAMES):
        visible, infrared = image(2 * i, colour=True), image(2 * i + 1)
        write_image(tmp_path / f"visible/{name}.png", visible)
        write_image(tmp_path / f"infrared/{name}.BMP", infrared)
        write_image(tmp_path / f"good/{name}.png", (visible // 2 + infrared[..., None] // 2))
        write_image(tmp_path / f"noise/{name}.tif", image(100 + i))
    return tmp_path


def run(root, *methods, **options):
    methods = {name: root / name for name in methods or ("good",)}
    return evaluate_folders(root / "visible", root / "infrared", methods, **options)


def command(root, *words):
    """The command line; returns exit code, stdout and the lines of stderr."""
    start = [sys.executable, "-m", "decofuse.cli", "evaluate", "--visible", "visible", "--infrared", "infrared"]
    done = subprocess.run(
        [*start, *map(str, words)], cwd=root, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr.splitlines()


def warnings(caplog):
    found = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert all("\n" not in line for line in found)
    return found


def as_split(root, sources, fused):
    """The same images as manifest and index, for the stage of the workflow."""
    pairs, images = [], {}
    for name in sorted({path.stem for path in (root / fused).iterdir()}):
        files = {role: next((root / folder).glob(f"{name}.*")) for role, folder in sources.items()}
        height, width = read_image(files["visible"]).shape[:2]
        entries = {role: ImageFile(path, 1, sha256(path)) for role, path in files.items()}
        pairs.append(Pair("test", name, height, width, entries))
        luma = next((root / fused).glob(f"{name}.*"))
        images[name] = FusedImage(name, luma, sha256(luma), luma, sha256(luma))
    Manifest(("visible", "infrared"), tuple(pairs)).write(root / "manifest.csv")
    FusedIndex(root / "index.csv", images).write()
    return root / "manifest.csv", root / "index.csv"


def assert_equal_to_the_stage(root, sources, fused, found):
    manifest, index = as_split(root, sources, fused)
    out = {"csv_out": root / "stage.csv", "json_out": root / "stage.json"}
    score_split(manifest, index, "test", EvaluationSettings(), **out, workers=1)
    rows = {row["stem"]: row for row in csv.DictReader((root / "stage.csv").open())}
    assert set(rows) == set(found.images)
    for name, values in found.values[fused].items():
        assert {metric: float(rows[name][metric]) for metric in ALL_EIGHT} == values
    averages = json.loads((root / "stage.json").read_text())
    for metric, average in found.averages[fused].items():
        assert average.mean == averages["mean"][metric]
        assert average.std == averages["std"][metric]


@pytest.mark.parametrize("fused", ["good", "noise"])
def test_values_are_those_of_the_stage_to_the_last_digit(root, fused):
    found = run(root, fused)
    assert found.left_out == ()
    assert_equal_to_the_stage(root, {"visible": "visible", "infrared": "infrared"}, fused, found)


def test_values_of_real_images_are_those_of_the_stage(mirror, tmp_path):
    archive = mirror / "github.com/hanna-xu/RoadScene/archive/refs/heads/master.zip"
    with zipfile.ZipFile(archive) as members:
        for folder, role in (("crop_LR_visible", "visible"), ("cropinfrared", "infrared")):
            names = sorted(name for name in members.namelist() if f"/{folder}/" in name and name[-1] != "/")
            for name in names[:2]:
                (tmp_path / role).mkdir(exist_ok=True)
                (tmp_path / role / Path(name).name).write_bytes(members.read(name))
    for path in (tmp_path / "visible").iterdir():
        write_image(tmp_path / f"fused/{path.stem}.png", read_image(path))
    found = run(tmp_path, "fused")
    assert len(found.images) == 2
    assert_equal_to_the_stage(tmp_path, {"visible": "visible", "infrared": "infrared"}, "fused", found)


def test_every_form_is_written_and_the_workers_change_no_byte(root):
    texts = []
    for workers in (1, 3):
        words = [f"--out={workers}{suffix}" for suffix in (".csv", ".json", ".md", ".tex")]
        code, out, lines = command(root, "--fused", "good", "--fused", "other=noise", *words, "--workers", workers)
        assert (code, out, lines) == (0, "", [])
        texts.append([(root / word.removeprefix("--out=")).read_bytes() for word in words])
    assert texts[0] == texts[1]
    rows = list(csv.DictReader(io.StringIO(texts[0][0].decode())))
    assert [(row["image"], row["method"]) for row in rows] == [(n, m) for n in NAMES for m in ("good", "other")]
    assert list(rows[0]) == ["image", "method", *ALL_EIGHT]
    value = json.loads(texts[0][1])
    assert value["images"] == list(NAMES)
    assert value["order"][0] == "good"
    assert value["methods"]["other"]["values"]["b"]["MI"] == float(rows[3]["MI"])
    assert value["methods"]["good"]["finite"]["EN"] == 3
    assert "L = 2 " in value["conventions"]["SSIM"]


def test_without_a_file_the_table_is_printed(root):
    code, out, lines = command(root, "--fused", "good", "--metrics", "EN, SSIM", "--convention", "SSIM=standard")
    assert (code, lines) == (0, [])
    assert out.splitlines()[0].split() == ["method", "EN", "↑", "SSIM", "↑", "rank"]
    assert out.splitlines()[1].startswith("good ")


def test_all_methods_are_averaged_over_the_images_that_all_have(root, caplog):
    (root / "noise/b.tif").unlink()
    found = run(root, "good", "noise")
    assert found.images == ("a", "c")
    assert set(found.values["good"]) == set(NAMES)
    mean = (found.values["good"]["a"]["EN"] + found.values["good"]["c"]["EN"]) / 2
    assert found.averages["good"]["EN"].mean == pytest.approx(mean, rel=1e-12)
    (line,) = warnings(caplog)
    assert line == f"{root}/noise: expected images named as the sources; left out: b"


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FAULTS = {
    "no infrared": (lambda r: (r / "infrared/b.BMP").unlink(), "{r}/infrared: expected images named as the other"),
    "no visible": (lambda r: (r / "visible/b.png").unlink(), "{r}/visible: expected images named as the other"),
    "no fused": (lambda r: (r / "good/b.png").unlink(), "{r}/good: expected images named as the sources; left out: b"),
    "sources of two sizes": (
        lambda r: write_image(r / "infrared/b.BMP", image(1, 44, 50)),
        "{r}/infrared/b.BMP: expected 44x48 pixels (height x width) as {r}/visible/b.png has, found 44x50; register",
    ),
    "fused of another size": (
        lambda r: write_image(r / "good/b.png", image(1, 22, 24)),
        "{r}/good/b.png: expected 44x48 pixels (height x width) as {r}/visible/b.png has, found 22x24; resize it, or",
    ),
    "cut off": (lambda r: cut(r / "good/b.png"), "{r}/good/b.png: expected a readable image, found "),
    "cut-off source": (lambda r: cut(r / "visible/b.png"), "{r}/visible/b.png: expected a readable image, found "),
    "empty file": (lambda r: (r / "good/b.png").write_bytes(b""), "{r}/good/b.png: expected a readable image"),
    "no image": (lambda r: (r / "good/b.png").write_text("=HYPERLINK()"), "{r}/good/b.png: expected a readable"),
    "one name twice": (
        lambda r: write_image(r / "good/b.jpg", image(1)),
        "{r}/good: expected one image of a name, found b.jpg and b.png; remove all but one; left out: b",
    ),
    "one source twice": (
        lambda r: write_image(r / "visible/b.jpg", image(1)),
        "{r}/visible: expected one image of a name, found b.jpg and b.png; remove all but one; left out: b",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_in_one_line_and_the_rest_is_scored(root, caplog, fault):
    spoil, message = FAULTS[fault]
    before = run(root)
    spoil(root)
    found = run(root)
    assert found.images == ("a", "c")
    assert {entry.image for entry in found.left_out} == {"b"}
    assert found.values["good"] == {name: before.values["good"][name] for name in found.images}
    (line,) = warnings(caplog)
    assert line.startswith(message.format(r=root))


def test_a_fused_image_without_sources_is_named(root, caplog):
    write_image(root / "good/extra.png", image(0))
    assert run(root).images == NAMES
    assert warnings(caplog) == [f"{root}/good: expected sources for every fused image; left out: extra"]


def test_many_missing_images_take_one_line(root, caplog):
    for i in range(30):
        write_image(root / f"visible/{i:02}.png", image(i))
    assert run(root).images == NAMES
    (line,) = warnings(caplog)
    assert line.endswith("left out: 00, 01, 02, 03, 04, 05, 06, 07, 08, 09 and 20 more")


def test_an_image_too_small_for_a_metric_keeps_its_other_values(root, caplog):
    for folder, suffix in (("visible", "png"), ("infrared", "BMP"), ("good", "png")):
        write_image(root / f"{folder}/b.{suffix}", image(5, 40, 60))
    found = run(root)
    assert found.images == NAMES
    assert "VIF" not in found.values["good"]["b"] and "SSIM" in found.values["good"]["b"]
    assert (found.averages["good"]["VIF"].finite, found.averages["good"]["SSIM"].finite) == (2, 3)
    assert warnings(caplog) == ["VIF: expected images of at least 41x41 pixels; no VIF of: b"]
    assert [(entry.image, entry.metric) for entry in found.left_out] == [("b", "VIF")]


def test_skipped_images_show_in_the_exit_code_and_in_the_report(root):
    cut(root / "noise/c.tif")
    code, _, lines = command(root, "--fused", "good", "--fused", "noise", "--out", "t.md", "--out", "t.csv")
    assert code == SKIPPED == 3
    assert len(lines) == 1 and lines[0].startswith("decofuse: warning: noise/c.tif: expected a readable image")
    text = (root / "t.md").read_text()
    assert "over 2 images that all methods have" in text
    assert "Left out: noise/c.tif: expected a readable image" in text
    assert "c,good," in (root / "t.csv").read_text()


def test_what_is_missing_altogether_is_refused(root):
    (root / "empty").mkdir()
    (root / "notes").mkdir()
    (root / "notes/a.txt").write_text("")
    write_image(root / "other/z.png", image(0))
    for folder, message in {
        "absent": "absent: expected a folder of images, found No such file or directory",
        "empty": "empty: expected images (.png, ",
        "notes": "notes: expected images (.png, ",
        "visible/a.png": "visible/a.png: expected a folder of images, found Not a directory",
        "other": "expected images of one name in ",
    }.items():
        with pytest.raises(UserError) as caught:
            run(root, folder)
        assert message in str(caught.value) and "\n" not in str(caught.value)


def test_hostile_names_of_files_and_folders_stay_on_one_line(root, caplog):
    hostile = "=a|b&c_d\n# e\x1b[0m"
    for folder, suffix in (("visible", "png"), ("infrared", "BMP"), ("good", "png")):
        (root / f"{folder}/b.{suffix}").rename(root / f"{folder}/{hostile}.{suffix}")
    (root / "good").rename(root / hostile)
    cut(root / hostile / f"{hostile}.png")
    (root / hostile / "a.png").unlink()
    found = run(root, hostile)
    assert found.images == ("c",)
    assert {entry.image for entry in found.left_out} == {"a", hostile}
    assert len(warnings(caplog)) == 2


def test_if_nothing_can_be_scored_the_reasons_are_told_first(root, caplog):
    for name in NAMES:
        cut(root / f"good/{name}.png")
    with pytest.raises(UserError, match=r"expected images that can be scored for every method, found none \(good 0\)"):
        run(root)
    assert len(warnings(caplog)) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "t.txt"], "--out: t.txt: expected a name that ends with .csv, .json, .md, .tex"),
        (["--out", "none/t.csv"], "--out: none/t.csv: expected a file in a folder that is there"),
        (["--out", "visible.csv", "--out", "visible.csv"], "--out: visible.csv: expected each file once"),
        (["--metrics", "EN,SSMI"], "--metrics, --convention: expected a metric of EN, "),
        (["--convention", "SSIM=kornia"], "--metrics, --convention: expected a convention of SSIM of "),
        (["--convention", "paper"], "--metrics, --convention: "),
        (["--source-a", "visible"], "expected --visible and --infrared, or --source-a and --source-b"),
        (["--fused", "x/../good"], "--fused: expected different names, found good twice; give them as NAME=FOLDER"),
    ],
)
def test_wrong_options_are_refused_before_any_work(root, words, message):
    cut(root / "good/a.png")  # would be warned of
    code, out, lines = command(root, "--fused", "good", *words)
    assert (code, out, len(lines)) == (1, "", 1), lines
    assert lines[0].startswith(f"decofuse: error: {message}")
    assert not list(root.glob("*.csv"))


def test_a_failure_leaves_the_old_file(root):
    (root / "t.csv").write_text("old")
    code, _, lines = command(root, "--fused", "absent", "--out", "t.csv")
    assert (code, len(lines)) == (1, 1)
    assert (root / "t.csv").read_text() == "old"
    assert not list(root.glob(".t*"))


def test_names_of_other_tasks_and_a_folder_with_an_equals_sign(root):
    (root / "good").rename(root / "x=good")
    start = [sys.executable, "-m", "decofuse.cli", "evaluate", "--source-a", "visible", "--source-b", "infrared"]
    done = subprocess.run(
        [*start, "--fused", "x=good", "--fused", "y=noise", "--metrics", "EN", "--out", "t.json"],
        cwd=root, check=True, env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"}, capture_output=True,
    )  # fmt: skip
    assert not done.stderr
    assert set(json.loads((root / "t.json").read_text())["methods"]) == {"x=good", "y"}


def test_sources_are_read_once_and_few_images_are_held_at_a_time(root, monkeypatch):
    """However many images there are, as many scenes are under way as there are workers."""
    for i in range(40):
        for folder in ("visible", "infrared", "good", "noise"):
            write_image(root / f"{folder}/{i:02}.png", image(i, 12, 12))
    read, lock, under_way, most = [], threading.Lock(), [0], [0]
    original, score = folders._read, folders._score

    def counting(path, precision):
        read.append(path)
        return original(path, precision)

    def watching(scene, metrics, precision):
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        try:
            return score(scene, metrics, precision)
        finally:
            with lock:
                under_way[0] -= 1

    monkeypatch.setattr(folders, "_read", counting)
    monkeypatch.setattr(folders, "_score", watching)
    settings = EvaluationSettings(metrics=("EN",))
    found = run(root, "good", "noise", settings=settings, workers=2)
    assert len(found.images) == 43
    assert len(read) == len(set(read)) == 4 * 43
    assert most[0] <= 2
