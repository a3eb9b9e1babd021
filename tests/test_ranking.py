"""Places, mean places and printed digits."""

import pytest

from decofuse.evaluation.ranking import rank


def column(*means, direction="higher"):
    return rank({f"m{i}": {"EN": mean} for i, mean in enumerate(means)}, {"EN": direction})


def places(ranking):
    return [row["EN"] for row in ranking.places.values()]


@pytest.mark.parametrize(
    ("means", "direction", "expected"),
    [
        ((1.0, 3.0, 2.0), "higher", [3, 1, 2]),
        ((1.0, 3.0, 2.0), "lower", [1, 3, 2]),
        ((2.0, 2.0, 1.0), "higher", [1, 1, 3]),
        ((2.0, 2.0, 1.0), "lower", [2, 2, 1]),
        ((2.0001, 2.0004, 1.0), "higher", [1, 1, 3]),  # printed alike
        ((2.0001, 2.0014, 1.0), "higher", [2, 1, 3]),
        ((None, 2.0, None), "higher", [2, 1, 2]),
        ((None, -2.0), "lower", [2, 1]),
        ((None, None), "lower", [1, 1]),
        ((0.0, -0.0), "lower", [1, 1]),
    ],
)
def test_places(means, direction, expected):
    assert places(column(*means, direction=direction)) == expected


@pytest.mark.parametrize(
    ("largest", "text"),
    [
        *((0.0, "0.000"), (0.00123456, "0.001235"), (1e-9, "0.000000"), (0.5, "0.5000"), (6.7123, "6.712")),
        *((44.4444, "44.44"), (524.61, "524.6"), (15243.4, "15243")),
    ],
)
def test_the_largest_mean_of_a_column_has_four_digits(largest, text):
    assert column(largest, 0.0).text("EN", largest) == text


def test_a_negative_zero_and_a_missing_mean():
    ranking = column(5.0, None)
    assert ranking.text("EN", -0.00001) == "0.000"
    assert ranking.text("EN", None) == "–"


def test_methods_are_ordered_by_their_mean_place_and_ties_keep_their_order():
    means = {"a": {"EN": 1.0, "MSE": 1.0}, "b": {"EN": 3.0, "MSE": 2.0}, "c": {"EN": 2.0, "MSE": 9.0}}
    ranking = rank(means, {"EN": "higher", "MSE": "lower"})
    assert ranking.mean == {"a": 2.0, "b": 1.5, "c": 2.5}
    assert ranking.order == ("b", "a", "c")
    assert rank({method: {"EN": 1.0} for method in "zyx"}, {"EN": "higher"}).order == ("z", "y", "x")
