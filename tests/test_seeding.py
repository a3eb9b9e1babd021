"""Randomness is a function of place."""

from decofuse.seeding import epoch_order, seed_for


def test_known_values_do_not_drift():
    """A change here would change every published weight."""
    assert seed_for(0, "cddfuse", "reconstruction", 0) == 3296704559553222711
    assert list(epoch_order(5, 0, "m", "p", 0)) == [1, 2, 0, 4, 3]


def test_orders_are_permutations_that_differ_by_place():
    first, second = epoch_order(50, 0, "m", "p", 0), epoch_order(50, 0, "m", "p", 1)
    assert sorted(first) == list(range(50))
    assert list(first) == list(epoch_order(50, 0, "m", "p", 0))
    assert list(first) != list(second)
