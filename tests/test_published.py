"""The committed table of published numbers, and the reader's judgement on tables that are none."""

from collections import Counter
from pathlib import Path

import pytest

from decofuse.data.registry import DATASETS
from decofuse.errors import UserError
from decofuse.metrics import METRICS, USUAL
from decofuse.published import Published, read_published

TABLE = Path(__file__).parents[1] / "workflow" / "published.csv"
METHODS = {"cddfuse", "fsidfusion", "sfdfuse", "psfusion", "ssdfusion", "defusion", "defusionpp"}
ELSEWHERE = {"llvip", "mfnet", "real-mff", "not stated"}  # datasets that are not in the registry
HEADER = "method,dataset,metric,value,source,differs\n"


@pytest.fixture(scope="module")
def published():
    return read_published(TABLE)


def test_names(published):
    assert {number.method for number in published} <= METHODS
    assert {number.dataset for number in published} <= {*DATASETS, *ELSEWHERE}


def test_metrics_are_spelt_as_ours(published):
    ours = {name.lower(): name for name in METRICS}
    assert all(ours.get(number.metric.lower(), number.metric) == number.metric for number in published)


def test_shares_are_no_per_cents(published):
    shares = ("AP@", "mAP@", "IoU", "mIoU", "accuracy", "mean accuracy", "F-score", "mean F-score")
    assert all(0 < number.value < 1 for number in published if number.metric.startswith(shares))


def test_what_is_directly_comparable_is_scored_as_here(published):
    """Nothing differs only where the set, the pairs and the evaluator are those of this project."""
    comparable = [number for number in published if not number.differs]
    assert {(number.method, number.dataset) for number in comparable} == {("cddfuse", "tno"), ("cddfuse", "roadscene")}
    per_source = Counter((number.dataset, number.source) for number in comparable)
    assert set(per_source.values()) == {len(USUAL)}


def test_a_doubtful_number_says_so(published):
    doubtful = next(n for n in published if (n.method, n.dataset, n.metric) == ("sfdfuse", "llvip", "SF"))
    assert "slip" in doubtful.differs


def test_a_row(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text(HEADER + 'cddfuse,tno,EN,7.12,"Table 1, left",\n')
    assert read_published(path) == (Published("cddfuse", "tno", "EN", 7.12, "Table 1, left", ""),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the columns method, dataset"),
        ("method,dataset\n", "found method, dataset; correct the file"),
        (HEADER + "cddfuse,tno,EN,7.12,README\n", "line 2: expected the columns"),
        (HEADER + ",tno,EN,7.12,README,\n", "line 2: expected the columns"),
        (HEADER + "cddfuse,tno,EN,high,README,\n", "line 2: expected a finite number as value, found high"),
        (HEADER + "cddfuse,tno,EN,inf,README,\n", "line 2: expected a finite number as value, found inf"),
        (HEADER + 2 * "cddfuse,tno,EN,7.12,README,\n", "line 3: .* found cddfuse, tno, EN, README again"),
        (HEADER + 'cddfuse,tno,EN,7.12,"README,\n', "expected the columns"),
        ("\xff", "expected the columns"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "published.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=message):
        read_published(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"other.csv: expected published numbers, found No such file"):
        read_published(tmp_path / "other.csv")
