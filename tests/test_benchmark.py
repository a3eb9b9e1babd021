"""The benchmark page of a run, and the words on what a run does otherwise than a method's authors."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from decofuse import config, stages
from decofuse.metrics import fusion_metrics
from decofuse.models.registry import METHODS
from decofuse.published import Published, read_published
from decofuse.reports.benchmark import COLUMNS, Run, write_benchmark
from decofuse.reports.differences import Difference, training_differences
from decofuse.reports.results import Entry, read_results
from decofuse.settings import PatchSettings

ROOT = Path(__file__).parents[1]
NAMES = ("EN", "SSIM")
SAME = Difference(reduced=False, words=())
REDUCED = Difference(reduced=True, words=("trained on scenes, not msrs", "network: channels 16 of 64"))
PUBLISHED = (
    Published("cddfuse", "tno", "EN", 7.12, "upstream README", ""),
    Published("cddfuse", "tno", "SSIM", 1.03, "upstream README", ""),
    Published("cddfuse", "tno", "EN", 7.1, "a <b>picture</b> | x", "number of pairs not stated"),
    Published("cddfuse", "tno", "mIoU", 0.7, "upstream README", ""),
    Published("cddfuse", "roadscene", "EN", 7.4, "upstream README", ""),
    Published("psfusion", "tno", "EN", 7.0, "upstream README", ""),
)


def entries(folder, convention="published"):
    metrics = fusion_metrics(NAMES, convention)
    found = []
    for i, method in enumerate(("average", "cddfuse", "laplacian")):
        value = {
            "images": 4,
            "conventions": {name: metric.convention for name, metric in metrics.items()},
            "mean": {"EN": 5.0 + i, "SSIM": None if method == "average" else 1.0},
            "std": {"EN": 0.5, "SSIM": None if method == "average" else 0.25},
            "finite": {"EN": 4, "SSIM": 0 if method == "average" else 4},
        }
        (folder / f"{method}.json").write_text(json.dumps(value))
        found.append(Entry(method, "tno", folder / f"{method}.json"))
    return found


@pytest.fixture
def made(tmp_path):
    def make(difference=SAME, published=PUBLISHED, **options):
        out = {f"{form}_out": tmp_path / f"page.{form}" for form in ("csv", "markdown", "html")}
        run = Run("tiny", 3, {"cddfuse": difference})
        write_benchmark(read_results(entries(tmp_path, **options)), published, run, **out)
        with (tmp_path / "page.csv").open() as file:
            rows = list(csv.DictReader(file))
        return rows, (tmp_path / "page.markdown").read_text(), (tmp_path / "page.html").read_text()

    return make


def test_the_csv_has_a_row_for_each_number_and_source(made):
    rows, _, _ = made()
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 3 * 2 + 1
    (first, second) = [row for row in rows if (row["method"], row["metric"]) == ("cddfuse", "EN")]
    assert (first["mean"], first["std"], first["place"], first["published"]) == ("6.0", "0.5", "2", "7.12")
    assert (first["comparable"], first["differs"]) == ("yes", "")
    assert (second["comparable"], second["differs"]) == ("no", "there: number of pairs not stated")
    assert {row["dataset"] for row in rows} == {"tno"}
    (empty,) = [row for row in rows if (row["method"], row["metric"]) == ("average", "SSIM")]
    assert (empty["mean"], empty["finite"], empty["published"]) == ("", "0", "")


def test_the_page_marks_ours_and_sets_published_numbers_apart(made):
    _, text, _ = made()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[0] == "| method | EN ↑ | SSIM ↑ | rank |"
    assert table[2] == "| laplacian | **7.000 ± 0.500** | **1.000 ± 0.250** | 1.00 |"
    assert table[3] == "| cddfuse | <u>6.000 ± 0.500</u> | **1.000 ± 0.250** | 1.50 |"
    assert table[4] == "| *published*, note 1: *comparable* | 7.12 | 1.03 |  |"
    assert table[5] == "| *published*, note 2: *differs, see note* | 7.1 |  |  |"
    assert table[6] == "| average | 5.000 ± 0.500 | – | 3.00 |"
    assert "1. cddfuse on tno, upstream README. Nothing is known to differ." in text
    assert "- average, SSIM: mean over the 0 of 4 values that are finite." in text
    assert "preset tiny with seed 3" in text


def test_a_reduced_run_is_marked_as_not_comparable_and_says_why(made):
    rows, text, html = made(REDUCED)
    assert {row["comparable"] for row in rows if row["published"]} == {"no"}
    assert "here: trained on scenes, not msrs; network: channels 16 of 64" in rows[2]["differs"]
    assert text.count("*not comparable: reduced run*") == html.count("not comparable: reduced run") == 2
    assert "Differs – there: number of pairs not stated – here: the training, see below." in text
    assert "- cddfuse: trained on scenes, not msrs; network: channels 16 of 64" in text


def test_another_convention_is_a_difference(made):
    rows, text, _ = made(convention="standard")
    by_metric = {row["metric"]: row for row in rows if row["source"] == "upstream README"}
    assert by_metric["EN"]["comparable"] == "yes"
    assert by_metric["SSIM"]["differs"] == "here: another convention of SSIM"
    assert "here: another convention of SSIM." in text


class Parser(HTMLParser):
    """Collects tags, and fails where they do not nest."""

    VOID = ("meta",)

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_html_is_whole_escaped_and_loads_nothing(made):
    _, _, html = made(REDUCED)
    parser = Parser()
    parser.feed(html)
    parser.close()
    assert not parser.open
    assert not {"script", "link", "img", "iframe"} & set(parser.tags)
    assert all(value.startswith("#") for name, value in parser.attributes if name in ("href", "src"))
    assert "url(" not in html and "@import" not in html
    assert "a &lt;b&gt;picture&lt;/b&gt; | x" in html
    assert 'name="viewport"' in html
    assert parser.tags.count("tr") == 1 + 5
    targets = {value for name, value in parser.attributes if name == "id"}
    assert {value[1:] for name, value in parser.attributes if name == "href"} == targets == {"note-1", "note-2"}


def test_without_published_numbers_the_page_has_no_notes(made):
    _, text, html = made(published=())
    assert "Published numbers\n" not in text and "<ol>" not in html


@pytest.mark.parametrize("preset", [path.stem for path in sorted((ROOT / "workflow/presets").glob("*.yaml"))])
def test_every_preset_says_what_differs(preset):
    params = config.load(ROOT / "params.yaml", preset)
    found = stages.comparison(stages.resolve(params))["differences"]
    assert set(found) == {name for name in params.run if METHODS[name].phases}
    published = preset in ("msrs", "roadscene", "fmb", "pst900")
    for name, difference in found.items():
        assert difference["reduced"] is not published, name
        assert all("\n" not in clause for clause in difference["words"])
    assert (found["cddfuse"]["words"] == []) is (preset == "msrs") if "cddfuse" in found else True


def test_words_are_made_from_the_settings():
    settings = METHODS["cddfuse"].settings.model_validate_json(
        '{"network": {"channels": 16, "skip": "sum"}, "reconstruction": {"epochs": 3, "batch_size": 4},'
        ' "fusion": {"epochs": 100}}'
    )
    found = training_differences("cddfuse", settings, PatchSettings(size=64), "scenes")
    assert found.reduced
    assert found.words == (
        "trained on scenes, not msrs",
        "network: channels 16 of 64, skip sum, not visible",
        "reconstruction: epochs 3 of 40, also batch_size",
        "fusion: epochs 100, not 80",
        "patches: size 64 of 128",
    )
    assert training_differences("cddfuse", type(settings)(), PatchSettings(), "msrs") == SAME


def test_the_committed_numbers_find_their_place():
    """Method, dataset and metric are spelt as in a run, so that published numbers stand beside ours."""
    published = read_published(ROOT / "workflow/published.csv")
    for preset, method in (("roadscene", "sfdfuse"), ("medical", "fsidfusion"), ("msrs", "cddfuse")):
        params = config.load(ROOT / "params.yaml", preset)
        shown = [n for n in published if n.method == method and n.dataset in params.test]
        assert any(n.metric in params.evaluation.metrics for n in shown)
    assert re.match("^[a-z]", published[0].method)
