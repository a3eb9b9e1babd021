"""Kinds of tolerance that join others, or judge a whole array; the plain ones are in test_parity.py."""

import numpy as np
import pytest

from decofuse.parity.tolerance import absolute, both, either, relative, relative_l2, unjudged

EXPECTED = np.array([3.0, 0.0, 4.0, np.nan])


def within(tolerance, found):
    return tolerance.error(np.array(found), EXPECTED) <= tolerance.limit


def test_relative_l2_judges_the_array_as_a_whole():
    assert relative_l2(1).error(np.array([3.0, 0.3, 4.4, np.nan]), EXPECTED) == pytest.approx(0.1)
    assert not within(relative_l2(1), [3, 0, 4, 0])


def test_unjudged_is_reported_and_must_be_finite():
    assert unjudged().error(np.array([6.0, 0, 8, np.nan]), EXPECTED) == 1
    assert within(unjudged(), [1e30, 1, 4, np.nan])
    assert not within(unjudged(), [np.inf, 0, 4, np.nan])
    assert not within(unjudged(), [3, np.nan, 4, np.nan])
    assert str(unjudged()) == "not judged"


def test_both_bounds_must_hold():
    tolerance = both(absolute(0.1), relative_l2(0.01))
    assert within(tolerance, [3.03, 0, 4.03, np.nan])
    assert not within(tolerance, [3.09, 0, 4, np.nan])
    assert not within(both(absolute(0.01), relative_l2(0.1)), [3.09, 0, 4, np.nan])
    assert str(tolerance) == "absolute 0.1 and relative_l2 0.01"


def test_either_bound_must_hold_for_each_value():
    tolerance = either(absolute(0.1), relative(0.05))
    assert within(tolerance, [3.14, 0.09, 3.81, np.nan])
    assert not within(tolerance, [3.16, 0, 4, np.nan])
    assert not within(tolerance, [3, 0.11, 4, np.nan])
    assert str(tolerance) == "absolute 0.1 or relative 0.05"
