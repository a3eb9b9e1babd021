"""Result tables: CSV, JSON and Markdown of several methods and datasets."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from decofuse.errors import UserError
from decofuse.metrics import METRICS, USUAL
from decofuse.reports.results import Entry
from decofuse.reports.tables import summarise

NAMES = list(USUAL)


def averages(path: Path, base: float, **changes: Any) -> Path:
    """A metrics.json whose k-th mean is base + k."""
    value = {
        "images": 4,
        "conventions": dict.fromkeys(NAMES, "as tested"),
        "mean": {name: base + k for k, name in enumerate(NAMES)},
        "std": dict.fromkeys(NAMES, 0.5),
        "finite": dict.fromkeys(NAMES, 4),
    }
    for key, change in changes.items():
        value[key] = {**value[key], **change}
    path.write_text(json.dumps(value))
    return path


def table(folder: Path, entries: list[Entry]) -> tuple[list[dict[str, str]], dict[str, Any], str]:
    summarise(entries, folder / "t.csv", folder / "t.json", folder / "t.md")
    with (folder / "t.csv").open() as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((folder / "t.json").read_text()), (folder / "t.md").read_text()


def entries(folder: Path) -> list[Entry]:
    return [
        Entry("cddfuse", "scenes", averages(folder / "1.json", 1.0)),
        Entry("average", "scenes", averages(folder / "2.json", 0.5, mean={"SD": 9.25})),
        Entry("cddfuse", "roadscene", averages(folder / "3.json", 3.0)),
    ]


def test_every_format_holds_every_mean(tmp_path: Path) -> None:
    rows, nested, markdown = table(tmp_path, entries(tmp_path))
    assert list(rows[0]) == ["dataset", "method", "images", *NAMES]
    assert [(row["dataset"], row["method"]) for row in rows] == [
        ("scenes", "cddfuse"),
        ("scenes", "average"),
        ("roadscene", "cddfuse"),
    ]
    for row in rows:
        means = nested[row["dataset"]][row["method"]]
        assert list(means) == NAMES
        assert {name: float(row[name]) for name in NAMES} == means
    assert nested["scenes"]["average"]["SD"] == 9.25
    assert markdown.count("\n## ") == 2
    assert "- SSIM: as tested" in markdown


def test_the_best_of_each_dataset_is_bold(tmp_path: Path) -> None:
    _, _, markdown = table(tmp_path, entries(tmp_path))
    lines = [line for line in markdown.splitlines() if line.startswith(("| cddfuse", "| average", "| method"))]
    assert lines[0].startswith("| method | images | EN ↑ | SD ↑ |")
    assert lines[1].startswith("| cddfuse | 4 | **1.000** | 2.000 | **3.000** |")
    assert lines[2].startswith("| average | 4 | 0.500 | **9.250** | 2.500 |")
    assert lines[4].startswith("| cddfuse | 4 | **3.000** | **4.000** |"), "alone in its dataset"


def test_bold_follows_the_direction_of_the_metric_and_ties_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower = dataclasses.replace(METRICS["EN"], direction="lower")
    for module in ("tables", "results"):
        monkeypatch.setattr(f"decofuse.reports.{module}.METRICS", {**METRICS, "EN": lower})
    paths = [averages(tmp_path / f"{i}.json", 2.0, mean={"EN": value}) for i, value in enumerate((1.00001, 1.0, 2.0))]
    _, _, markdown = table(tmp_path, [Entry(f"m{i}", "scenes", path) for i, path in enumerate(paths)])
    assert "| EN ↓ |" in markdown
    assert "| m0 | 4 | **1.000** |" in markdown and "| m1 | 4 | **1.000** |" in markdown
    assert "| m2 | 4 | 2.000 |" in markdown


def test_values_that_were_not_finite_are_named(tmp_path: Path) -> None:
    path = averages(tmp_path / "1.json", 1.0, mean={"EN": None}, finite={"EN": 0, "SD": 3})
    rows, nested, markdown = table(tmp_path, [Entry("cddfuse", "scenes", path)])
    assert rows[0]["EN"] == "" and nested["scenes"]["cddfuse"]["EN"] is None
    assert "| cddfuse | 4 | – | **2.000** |" in markdown
    assert "- cddfuse, EN: mean over the 0 of 4 values that are finite." in markdown
    assert "- cddfuse, SD: mean over the 3 of 4 values that are finite." in markdown


def refusal(folder: Path, listed: list[Entry]) -> str:
    with pytest.raises(UserError) as caught:
        table(folder, listed)
    assert not list(folder.glob("t.*")), "nothing half-written"
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_results_of_different_conventions_do_not_share_a_table(tmp_path: Path) -> None:
    first = averages(tmp_path / "1.json", 1.0)
    other = averages(tmp_path / "2.json", 1.0, conventions={"SSIM": "another"})
    message = refusal(tmp_path, [Entry("cddfuse", "scenes", first), Entry("average", "scenes", other)])
    assert message.startswith(f"{other}: ") and str(first) in message


def test_bad_entries_are_refused(tmp_path: Path) -> None:
    first = averages(tmp_path / "1.json", 1.0)
    assert "found none" in refusal(tmp_path, [])
    twice = Entry("cddfuse", "scenes", first)
    assert "cddfuse on scenes once, found it twice" in refusal(tmp_path, [twice, twice])
    absent = tmp_path / "absent.json"
    assert f"{absent}: expected averages" in refusal(tmp_path, [Entry("cddfuse", "scenes", absent)])
    unknown = averages(
        tmp_path / "2.json", 1.0, mean={"XY": 1.0}, std={"XY": 0.0}, finite={"XY": 4}, conventions={"XY": "none"}
    )
    assert "found ['XY']" in refusal(tmp_path, [Entry("cddfuse", "scenes", unknown)])


@pytest.mark.parametrize("content", ["", "[]", "{}", "3", '{"mean": {"EN": 1}, "images": 1}', '{"mean": {"EN": "x"}}'])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    message = refusal(tmp_path, [Entry("cddfuse", "scenes", path)])
    assert message.startswith(f"{path}: expected averages of the evaluation stage")
