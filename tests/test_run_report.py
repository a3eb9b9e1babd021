"""The report of a run: every section for what is there, none for what is not, and nothing that has to be loaded."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from decofuse.data.images import write_image
from decofuse.data.manifest import ImageFile, Manifest, Pair
from decofuse.errors import UserError
from decofuse.files import sha256
from decofuse.metrics import fusion_metrics
from decofuse.reports.costs import by_rule, read_costs
from decofuse.reports.curves import bar_chart, line_chart
from decofuse.reports.differences import Difference
from decofuse.reports.run_files import sort_files
from decofuse.reports.run_report import About, Tracked, write_report
from decofuse.segmentation.scores import Scores, write_scores

HOSTILE = "<script>alert(1)<"  # no name of a dataset of ours, but those of folders are not ours
SECTIONS = ["What ran", "Fusion metrics", "Pictures", "Segmentation", "Rounds", "Training curves", "Time and memory"]
LOADS = {"src", "srcset", "data", "poster", "action", "background", "xlink:href", "href"}
TSV = "s\th:m:s\tmax_rss\tmax_vms\n{}\t0:00:00\t{}\t0\n"


class Reader(HTMLParser):
    """Headings and tables of the page, what it loads or links to, and whether every element is closed."""

    def __init__(self, page):
        super().__init__()
        self.headings, self.links, self.loads, self.open, self.alone = [], [], [], [], set()
        self.rows, self.summaries = {}, []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.alone.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in LOADS:
                (self.links if tag == "a" else self.loads).append(value)
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)
        if tag == "tr":
            self.row = []

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "tr" and self.row:
            self.rows.setdefault(self.row[0], self.row[1:])

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if self.open and self.open[-1] == "summary":
            self.summaries.append(data)
        if "tr" in self.open and data.strip():
            self.row.append(data.strip())


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def averages(en):
    metrics = fusion_metrics(("EN", "SSIM"), "published")
    values = {"EN": en, "SSIM": None if en > 6 else 0.5}
    return json.dumps(
        {
            "images": 2,
            "conventions": {name: metric.convention for name, metric in metrics.items()},
            "mean": values,
            "std": values,
            "finite": {"EN": 2, "SSIM": 0 if en > 6 else 2},
        }
    )


def manifest(folder):
    folder.mkdir(parents=True)
    file = ImageFile(folder / "x.png", 1, "0" * 64)
    pairs = tuple(Pair(split, f"{i}", 8, 8, {"visible": file}) for i, split in enumerate(("train", "train", "test")))
    Manifest(("visible",), pairs).write(folder / "manifest.csv")
    return folder / "manifest.csv"


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3))
    return path


def minimal(root, dataset):
    """A run of methods without training."""
    files = [manifest(root / "data" / dataset), image(root / f"results/tiny/grid-{dataset}.png")]
    for i, method in enumerate(("average", "laplacian")):
        files.append(put(root / f"results/tiny/fused/{dataset}/{method}/metrics.json", averages(5.5 + i / 4)))
    return files


def whole(root, dataset):
    """A run with training, segmentation, a round and benchmark files."""
    files = minimal(root, dataset)
    results = root / "results/tiny"
    history = "epoch,loss,lr,val.loss\n1,2.5,0.1,3\n2,2.25,0.1,nan\n"
    for phase in ("fusion", "meta-1"):
        files.append(put(results / f"training/ssdfusion/{phase}/history.csv", history))
    for i, name in enumerate(("visible", "ssdfusion", "ssdfusion-round1")):
        matrix = torch.tensor([[90, 0], [10 - 4 * i, 4 * i]])
        path = results / f"segmented/{dataset}/{name}/scores.json"
        path.parent.mkdir(parents=True)
        write_scores(path, Scores.of(name, dataset, ("road", "car"), {0: matrix}, 2))
        files.append(path)
        files.append(put(results / f"segmentation/{name}/0/history.csv", "epoch,loss\n1,0.5\n"))
        if i:
            files.append(put(results / f"fused/{dataset}/{name}/metrics.json", averages(5.0 + i)))
    files += [image(results / f"overlays-{dataset}.png"), image(results / "segmentation.png")]
    benchmarks = root / "logs/benchmarks"
    files.append(put(benchmarks / "tiny/train-ssdfusion-fusion.tsv", TSV.format(75.0, 512.4)))
    files.append(put(benchmarks / "tiny/train-ssdfusion-joint.tsv", TSV.format(5.5, "NA")))
    files.append(put(benchmarks / f"dataset/{dataset}.tsv", TSV.format(2.0, 100.0)))
    return files


def page_of(tmp_path, files, **changes):
    values = {
        "preset": "tiny",
        "seed": 7,
        "train": "scenes",
        "methods": ("average", "laplacian", "ssdfusion"),
        "differences": {},
        "code": {},
    }
    write_report(sort_files(files), About(**values | changes), tmp_path / "report.html")
    return (tmp_path / "report.html").read_text()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def page(root):
    tracked = Tracked({"this run": "http://127.0.0.1:5000/#/x"}, {"train a": "http://127.0.0.1:5000/#/y"})
    return page_of(
        root,
        whole(root, "scenes"),
        differences={"ssdfusion": Difference(True, ("network: channels 8 of 64",))},
        code={"train.ssdfusion.fusion": "0123456789abcdef"},
        commit="commit 4711, with changes",
        tracked=tracked,
    )


def test_every_section_is_there_for_a_run_that_has_all(page, root):
    reader = Reader(page)
    assert reader.headings == SECTIONS and not reader.open
    assert all(words in page for words in ("commit 4711, with changes", "channels 8 of 64", "0123456789abcdef"))
    assert reader.rows["scenes"] == ["2", "0", "1", sha256(root / "data/scenes/manifest.csv")]


def test_the_best_and_the_second_best_are_marked(page):
    assert re.search(r">ssdfusion</th><td><b>6\.000</b> <span class=spread>± 6\.000</span></td>", page)
    assert re.search(r'>laplacian</th><td><span class="second">5\.750</span>', page)
    assert not re.search(r'title="ssdfusion-round1"', page)  # rounds are not ranked with the methods
    assert re.search(r">SSDFusion, round 1</th><td><b>\d", page)  # segmentation


def test_rounds_show_metrics_beside_the_mean_iou(page):
    rounds = page[page.index('<section id="rounds">') : page.index('<section id="curves">')]
    reader = Reader(rounds)
    assert reader.rows["round"] == ["EN ↑", "SSIM ↑", "mIoU [%] ↑"]
    assert reader.rows["SSDFusion"] == ["6.000", "0.5000", "66.88"]
    assert reader.rows["SSDFusion, round 1"] == ["7.000", "–", "88.91"]
    assert rounds.count("<svg") == 3


def test_curves_are_drawn_for_every_training(page):
    curves = page[page.index('<section id="curves">') : page.index('<section id="costs">')]
    for title in ("SSDFusion, fusion", "SSDFusion, meta-1", "Segmentation on Visible only"):
        assert f"<figcaption>{title}</figcaption><svg" in curves


def test_time_and_memory_of_rules_and_jobs(page):
    reader = Reader(page)
    assert reader.rows["train"] == ["2", "1:20 min", "1:15 min", "512 MB"]
    assert reader.rows["train-ssdfusion-joint"] == ["5.5 s", "–"]
    assert reader.rows["dataset-scenes"] == ["2.0 s", "100 MB"]


def test_the_page_loads_nothing_and_links_to_mlflow_alone(page):
    reader = Reader(page)
    assert all(value.startswith(("data:image/", "#")) for value in reader.loads) and len(reader.loads) >= 3
    outside = {value for value in reader.links if not value.startswith("#")}
    assert outside == {"http://127.0.0.1:5000/#/x", "http://127.0.0.1:5000/#/y"}
    assert not re.search(r"url\((?!#)|@import|import\(|fetch\(|XMLHttpRequest", page)
    for address in re.findall(r"https?://[^\s\"'<]+", re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)):
        assert address in outside


def test_names_in_the_page_lead_to_its_sections(page):
    anchors = {value[1:] for value in Reader(page).links if value.startswith("#")}
    assert anchors == set(re.findall(r'<section id="(\w+)">', page))


def test_hostile_names_are_text(tmp_path):
    page = page_of(tmp_path, whole(tmp_path, HOSTILE), preset=HOSTILE, train=HOSTILE, commit="<img src=x>")
    reader = Reader(page)
    assert "<script>alert" not in page and "<img src=x" not in page and not reader.open
    assert page.count("<script>") == 1 and page.count("&lt;script&gt;alert") > 5


def test_what_a_run_has_nothing_of_leaves_no_section(tmp_path):
    page = page_of(tmp_path, minimal(tmp_path, "scenes"), methods=("average", "laplacian"))
    reader = Reader(page)
    assert reader.headings == ["What ran", "Fusion metrics", "Pictures"]
    assert reader.summaries == ["Conventions of the metrics"]
    assert "MLflow" not in page and "<dt>code</dt>" not in page and "<ul></ul>" not in page


def test_a_missing_result_is_named_and_a_missing_benchmark_is_left_out(tmp_path):
    files = minimal(tmp_path, "scenes")
    kept = sort_files([*files, tmp_path / "logs/benchmarks/tiny/grid-scenes.tsv", tmp_path / "patches.h5"])
    assert not kept.benchmarks and len(kept.averages) == 2
    files[1].unlink()
    with pytest.raises(UserError, match=r"grid-scenes\.png: expected a file of the run"):
        sort_files(files)


def test_costs_of_jobs_are_added_by_rule(tmp_path):
    paths = [
        put(tmp_path / "tiny/train-a-b.tsv", TSV.format(2.0, 10.0)),
        put(tmp_path / "tiny/train-c-d.tsv", TSV.format(3.0, 30.0)),
        put(tmp_path / "download/a-b.tsv", TSV.format(9.0, 20.0)),
        put(tmp_path / "tiny/grid-broken.tsv", "s\n"),
    ]
    costs = read_costs(paths, "tiny")
    assert [cost.job for cost in costs] == ["download-a-b", "train-c-d", "train-a-b"]
    assert by_rule(costs)[1] == ("train", 2, 5.0, 3.0, 30.0)


def test_charts_take_their_ink_from_the_page_and_are_the_same_each_time():
    lines = {"loss": {1.0: 2.0, 2.0: float("nan")}, "val.loss": {1.0: 2.5, 2.0: 2.0}}
    chart = line_chart(lines, "epoch")
    assert chart == line_chart(lines, "epoch")
    assert "currentColor" in chart and "#010203" not in chart and "<style" not in chart
    assert not re.search(r"^<svg[^>]* (width|height)=", chart)
    bars = bar_chart({"a $x$ <b>": 1.0, "c": None}, ["1.000", "–"], ["c"])
    assert "a $x$ &lt;b&gt;" in bars and "–" in bars
