"""Class tables and the colours of numbered classes."""

import pytest

from decofuse.data.classes import CAMVID, FMB, MSRS, PST900, numbered


@pytest.mark.parametrize(("table", "count"), [(MSRS, 9), (FMB, 15), (PST900, 5), (CAMVID, 11)])
def test_tables_name_each_class_once_and_no_two_share_a_colour(table, count):
    assert len(table) == len(set(table.names)) == len(set(table.colours)) == count


@pytest.mark.parametrize(
    ("table", "name", "colour"),
    [
        (FMB, "vegetation", (66, 172, 84)),
        (PST900, "rescue_randy", (255, 255, 255)),
        (CAMVID, "pavement", (60, 40, 222)),
        (CAMVID, "bicyclist", (0, 128, 192)),
    ],
)
def test_colours_are_the_published_ones(table, name, colour):
    assert table.colours[table.index(name)] == colour


def test_numbered_classes_are_told_apart():
    table = numbered(255)
    assert table.names[:3] == ("0", "1", "2")
    assert table.colours[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))  # as in PASCAL VOC
    assert len(set(table.colours)) == 255
    assert numbered(3).colours == table.colours[:3]
    assert len(numbered(0)) == 0
