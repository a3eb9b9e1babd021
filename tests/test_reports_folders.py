"""The forms of what `decofuse evaluate` found: marks, ranks, and names that try to break them."""

import csv
import io
import re

import pytest

from decofuse.evaluation.folders import Evaluation
from decofuse.evaluation.matching import LeftOut
from decofuse.evaluation.ranking import rank
from decofuse.evaluation.scoring import averages
from decofuse.metrics import fusion_metrics
from decofuse.reports.folders import as_csv, as_json, as_latex, as_markdown, as_text

HOSTILE = (
    "=cmd|' /C calc'!A0",
    "a|b & c_d\n# x",
    "\\end{table}%$^~{",
    "<script>*x*</script>",
    "\udcff\x1b[31m",
    "é 日本",
)


def evaluation(names=("one", "two", "three"), left_out=()):
    """Method i has SD 30 - i, and i in the other metrics, in each of two images called after the names."""
    metrics = fusion_metrics(("SD", "VIF", "SSIM"))
    images = names[:2]
    values = {
        method: {image: {"SD": 30.0 - i, "VIF": i / 10, "SSIM": 1.0} for image in images}
        for i, method in enumerate(names)
    }
    found = {method: averages(metrics, rows.values()) for method, rows in values.items()}
    means = {method: {name: average.mean for name, average in its.items()} for method, its in found.items()}
    ranking = rank(means, {"SD": "lower", "VIF": "higher", "SSIM": "higher"})
    return Evaluation(metrics, values, images, found, ranking, tuple(left_out))


def test_markdown_marks_the_best_and_orders_by_rank():
    lines = as_markdown(evaluation()).splitlines()
    assert lines[2] == "| method | SD ↑ | VIF ↑ | SSIM ↑ | rank |"
    assert lines[4] == "| three | **28.00 ± 0.00** | **0.2000 ± 0.0000** | **1.000 ± 0.000** | 1.00 |"
    assert lines[5] == "| two | <u>29.00 ± 0.00</u> | <u>0.1000 ± 0.0000</u> | **1.000 ± 0.000** | 1.67 |"
    assert lines[6].startswith("| one | 30.00 ± 0.00 | 0.0000 ± 0.0000 |")
    assert "- Mean and population standard deviation over 2 images that all methods have." in lines


def test_one_method_has_no_marks():
    text = as_markdown(evaluation(("only", "x")[:1]))
    assert "**" not in text and "<u>" not in text and "Rank" not in text


def test_the_footer_says_what_was_left_out_and_what_is_not_finite():
    fault = LeftOut("img", "two", "", "two/img.png: expected a readable image")
    given = evaluation(left_out=[fault])
    rows = [{"SD": float("inf")}, {"SD": 1.0, "VIF": 1.0, "SSIM": 1.0}]
    given.averages["two"] = averages(given.metrics, rows)
    for text in (as_markdown(given), as_latex(given)):
        assert re.search(r"Left out: two/img.png: expected a readable image: img\.", text)
        assert "two, SD: 1 of 2 images have a finite value." in text
    assert '"reason": "two/img.png: expected a readable image"' in as_json(given)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_do_not_break_markdown(name):
    lines = as_markdown(evaluation((name, "two"))).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 4
    assert all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 6 for line in table)
    assert not re.search(r"(?<!\\)<(?!/?u>)", "\n".join(lines))
    as_markdown(evaluation((name, "two"))).encode()


@pytest.mark.parametrize("name", HOSTILE)
def test_names_do_not_break_latex(name):
    text = as_latex(evaluation((name, "two"), [LeftOut(name, name, "", name)]))
    text.encode()
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    plain = re.sub(r"\\[\\{}$&#_%]", "", body)
    depth = 0
    for char in plain:
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0
    assert plain.count("$") % 2 == 0
    assert not set("#%~^") & set(plain.replace("$^2$", ""))
    assert re.findall(r"\\(begin|end)\{(\w+)\}", body) == [
        *(("begin", "table"), ("begin", "tabular"), ("end", "tabular")),
        *(("begin", "minipage"), ("end", "minipage"), ("end", "table")),
    ]
    rows = [re.sub(r"\\[&\\]", "", line) for line in body.splitlines() if line.endswith(r"\\")]
    assert [row.count("&") for row in rows] == [4, 4, 4]


def test_csv_gives_back_every_name_and_holds_no_formula():
    table = list(csv.reader(io.StringIO(as_csv(evaluation(HOSTILE)))))
    assert all(cell[:1] not in ("=", "+", "@") for row in table for cell in row)
    methods = {row[1] for row in table[1:]}
    assert {"'" + HOSTILE[0], *HOSTILE[1:4], HOSTILE[5]} <= methods
    as_csv(evaluation(HOSTILE)).encode()


def test_json_keeps_names_as_they_are():
    import json

    assert list(json.loads(as_json(evaluation(HOSTILE)))["methods"]) == list(HOSTILE)


def test_the_terminal_gets_aligned_lines_without_control_characters():
    lines = as_text(evaluation(HOSTILE)).splitlines()
    assert len(lines) == len(HOSTILE) + 2
    assert "\x1b" not in "".join(lines)
    assert lines[0].startswith("method ")
