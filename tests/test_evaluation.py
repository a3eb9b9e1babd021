"""The evaluation stage: the index of fused images, values, averages, refusals."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decofuse.data.images import grey_levels, read_image, write_image
from decofuse.data.manifest import ImageFile, Manifest, Pair
from decofuse.errors import UserError
from decofuse.evaluation.scoring import metrics_of
from decofuse.evaluation.settings import EvaluationSettings
from decofuse.evaluation.split import score_split
from decofuse.files import sha256
from decofuse.fusing.index import FusedImage, FusedIndex
from decofuse.metrics import fusion_metrics, score

STEMS = ("b", "a", "c")  # the manifest sorts them, the index does not


def make(folder: Path, height: int = 44, width: int = 48) -> tuple[Path, Path]:
    """Three colour + grey pairs with a coloured fused image and its luma; returns manifest and index."""
    rng = np.random.default_rng(0)
    pairs, images = [], {}
    for stem in STEMS:
        files = {
            "visible": (folder / f"visible/{stem}.png", rng.integers(0, 256, (height, width, 3), np.uint8)),
            "infrared": (folder / f"infrared/{stem}.png", rng.integers(0, 256, (height, width), np.uint8)),
            "fused": (folder / f"fused/{stem}.png", rng.integers(0, 256, (height, width, 3), np.uint8)),
            "luma": (folder / f"fused/{stem}-luma.png", rng.integers(0, 256, (height, width), np.uint8)),
        }
        for path, pixels in files.values():
            write_image(path, pixels)
        sources = {
            name: ImageFile(files[name][0], 3 if name == "visible" else 1, sha256(files[name][0]))
            for name in ("visible", "infrared")
        }
        pairs.append(Pair("test", stem, height, width, sources))
        fused, luma = files["fused"][0], files["luma"][0]
        images[stem] = FusedImage(stem, fused, sha256(fused), luma, sha256(luma))
    Manifest(("visible", "infrared"), tuple(pairs)).write(folder / "manifest.csv")
    FusedIndex(folder / "index.csv", images).write()
    return folder / "manifest.csv", folder / "index.csv"


def run(manifest: Path, index: Path, out: Path, *, split: str = "test", workers: int = 1, **settings: Any) -> None:
    score_split(
        manifest,
        index,
        split,
        EvaluationSettings(**settings),
        csv_out=out / "values.csv",
        json_out=out / "metrics.json",
        workers=workers,
    )


def refusal(manifest: Path, index: Path, out: Path, **options: str) -> str:
    with pytest.raises(UserError) as caught:
        run(manifest, index, out, **options)
    assert not list(out.glob("*.csv")) and not list(out.glob("*.json")), "nothing half-written"
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_values_are_those_of_the_metrics_on_the_luma_in_manifest_order(tmp_path: Path) -> None:
    manifest, index = make(tmp_path)
    run(manifest, index, tmp_path / "out")
    with (tmp_path / "out/values.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["stem"] for row in rows] == sorted(STEMS)
    for row in rows:
        paths = (
            tmp_path / f"{name.format(row['stem'])}.png" for name in ("fused/{}-luma", "visible/{}", "infrared/{}")
        )
        batch = [torch.from_numpy(grey_levels(read_image(path)))[None].double() for path in paths]
        for name, metric in fusion_metrics().items():
            assert float(row[name]) == pytest.approx(metric(*batch).item(), rel=1e-8)


def test_averages_are_over_the_rows_of_the_table(tmp_path: Path) -> None:
    manifest, index = make(tmp_path)
    run(manifest, index, tmp_path / "out")
    with (tmp_path / "out/values.csv").open() as file:
        rows = list(csv.DictReader(file))
    result = json.loads((tmp_path / "out/metrics.json").read_text())
    assert result["images"] == 3
    for name in fusion_metrics():
        values = [float(row[name]) for row in rows]
        assert result["mean"][name] == pytest.approx(np.mean(values), rel=1e-12)
        assert result["std"][name] == pytest.approx(np.std(values), rel=1e-12)
        assert result["finite"][name] == 3
    assert "L = 2 " in result["conventions"]["SSIM"]


def test_values_that_are_not_finite_are_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No metric of today gives them; the averages must hold for one that does."""
    values = iter([3.0, math.nan, 5.0, math.inf, math.nan, -math.inf])

    def some_not_finite(*arguments: Any) -> dict[str, torch.Tensor]:
        return {**score(*arguments), **{name: torch.tensor([next(values)]) for name in ("EN", "SD")}}

    monkeypatch.setattr("decofuse.evaluation.scoring.score", some_not_finite)
    manifest, index = make(tmp_path)
    run(manifest, index, tmp_path)
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert (result["mean"]["EN"], result["std"]["EN"], result["finite"]["EN"]) == (4.0, 1.0, 2)
    assert (result["mean"]["SD"], result["std"]["SD"], result["finite"]["SD"]) == (None, None, 0)
    assert result["finite"]["SF"] == result["images"] == 3


def test_the_bytes_do_not_depend_on_the_workers_and_threads_are_given_back(tmp_path: Path) -> None:
    manifest, index = make(tmp_path)
    threads = torch.get_num_threads()
    for workers in (1, 3):
        run(manifest, index, tmp_path / str(workers), workers=workers)
    assert torch.get_num_threads() == threads
    for name in ("values.csv", "metrics.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()


def test_metrics_and_conventions_are_settings(tmp_path: Path) -> None:
    manifest, index = make(tmp_path)
    results = {}
    for convention in ("published", "standard"):
        run(manifest, index, tmp_path / convention, convention=convention, metrics=("VIF", "SSIM"))
        results[convention] = json.loads((tmp_path / convention / "metrics.json").read_text())
    assert list(results["published"]["mean"]) == ["VIF", "SSIM"]
    assert results["published"]["mean"]["SSIM"] != results["standard"]["mean"]["SSIM"]
    assert results["published"]["mean"]["VIF"] == results["standard"]["mean"]["VIF"]
    assert results["standard"]["conventions"]["SSIM"] == fusion_metrics(["SSIM"], "standard")["SSIM"].convention


def test_an_unknown_metric_is_refused_in_one_line(tmp_path: Path) -> None:
    settings = EvaluationSettings.model_construct(metrics=("ENN",), convention="published", conventions={})
    with pytest.raises(UserError, match="found 'ENN'; did you mean EN"):
        metrics_of(settings)


def test_a_missing_fused_image_is_refused(tmp_path: Path) -> None:
    manifest, index = make(tmp_path)
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(line for line in lines if not line.startswith("c,")))
    assert f"{index}: expected a fused image of c" in refusal(manifest, index, tmp_path / "out")


def test_rows_of_other_splits_in_the_index_are_ignored(tmp_path: Path) -> None:
    manifest, index = make(tmp_path)
    read = Manifest.read(manifest)
    Manifest(read.sources, read.pairs[:1]).write(manifest)
    run(manifest, index, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["images"] == 1


@pytest.mark.parametrize("role", ["fused/a-luma.png", "visible/a.png", "infrared/a.png"])
def test_a_changed_or_missing_file_is_refused_by_name(tmp_path: Path, role: str) -> None:
    manifest, index = make(tmp_path)
    write_image(tmp_path / role, np.zeros((44, 48), np.uint8))
    assert f"{tmp_path / role}: differs from the checksum" in refusal(manifest, index, tmp_path / "out")
    (tmp_path / role).unlink()
    assert f"{tmp_path / role}: listed in the" in refusal(manifest, index, tmp_path / "out")


def test_a_fused_image_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    manifest, index = make(tmp_path)
    path = tmp_path / "fused/a-luma.png"
    old = sha256(path)
    write_image(path, np.zeros((44, 50), np.uint8))
    index.write_text(index.read_text().replace(old, sha256(path)))
    message = refusal(manifest, index, tmp_path / "out")
    assert f"{path}: expected 44x48 pixels" in message and "found 44x50" in message


def test_images_below_a_metric_s_minimum_have_no_value_of_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest, index = make(tmp_path, height=40)
    csv_out, json_out = tmp_path / "out.csv", tmp_path / "out.json"
    score_split(manifest, index, "test", EvaluationSettings(), csv_out=csv_out, json_out=json_out, workers=1)
    rows = list(csv.DictReader(csv_out.read_text().splitlines()))
    assert all(row["VIF"] == "" and float(row["SSIM"]) for row in rows)
    found = json.loads(json_out.read_text())
    assert (found["mean"]["VIF"], found["finite"]["VIF"]) == (None, 0)
    assert found["finite"]["SSIM"] == found["images"] == len(rows)
    assert f"{manifest}: expected at least 41x41 pixels for VIF, found less; no VIF of: a" in caplog.text


def test_an_empty_split_and_a_wrong_number_of_sources_are_refused(tmp_path: Path) -> None:
    manifest, index = make(tmp_path)
    assert f"{manifest}: expected pairs of split val" in refusal(manifest, index, tmp_path / "out", split="val")
    read = Manifest.read(manifest)
    Manifest(("visible",), read.pairs).write(manifest)
    assert f"{manifest}: expected two sources, found ['visible']" in refusal(manifest, index, tmp_path / "out")


def test_an_index_is_read_as_written_and_follows_its_folder(tmp_path: Path) -> None:
    _, index = make(tmp_path / "old")
    assert index.read_text().splitlines()[0] == "stem,fused,fused_sha256,luma,luma_sha256"
    assert index.read_text().splitlines()[1].startswith("b,fused/b.png,")
    read = FusedIndex.read(index)
    assert tuple(read.images) == STEMS
    before = index.read_bytes()
    read.write()
    assert index.read_bytes() == before
    (tmp_path / "old").rename(tmp_path / "new")
    image = FusedIndex.read(tmp_path / "new/index.csv").image("a")
    assert image.fused_path() == tmp_path / "new/fused/a.png"
    assert image.luma_path() == tmp_path / "new/fused/a-luma.png"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"stem,fused\na,b\n",
        b"stem,fused,fused_sha256,luma,luma_sha256\na,b,c\n",
        b"\xff\xfe\x00",
    ],
)
def test_a_file_that_is_no_index_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "index.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match="expected an index of fused images with columns") as caught:
        FusedIndex.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_index_and_a_stem_twice_are_refused(tmp_path: Path) -> None:
    _, index = make(tmp_path)
    with pytest.raises(UserError, match="run the fusing stage"):
        FusedIndex.read(tmp_path / "absent.csv")
    index.write_text(index.read_text() + index.read_text().splitlines()[1] + "\n")
    with pytest.raises(UserError, match="every stem once, found b twice"):
        FusedIndex.read(index)


def test_float32_is_close_and_float64_the_default(tmp_path: Path) -> None:
    manifest, index = make(tmp_path)
    found = {}
    for precision in ("float64", "float32"):
        settings = EvaluationSettings(precision=precision)
        out = {"csv_out": tmp_path / "out.csv", "json_out": tmp_path / f"{precision}.json"}
        score_split(manifest, index, "test", settings, **out, workers=1)
        found[precision] = json.loads(out["json_out"].read_text())["mean"]
    assert found["float32"] != found["float64"]
    assert found["float32"] == pytest.approx(found["float64"], rel=1e-4)
    assert EvaluationSettings().precision == "float64"
