"""Which files make a pair."""

import pytest

from decofuse.errors import UserError
from decofuse.fusing.inputs import find_pairs


@pytest.fixture
def folders(tmp_path):
    for name in ("visible/a.png", "visible/b.jpg", "visible/only.png", "visible/notes.txt", "infrared/a.bmp"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for name in ("infrared/b.png", "infrared/A.png"):
        (tmp_path / name).touch()
    return tmp_path


def test_folders_are_paired_by_name(folders):
    pairs, lonely = find_pairs(f"{folders}/visible", f"{folders}/infrared")
    assert [(pair.stem, pair.source_a.name, pair.source_b.name) for pair in pairs] == [
        ("a", "a.png", "a.bmp"),
        ("b", "b.jpg", "b.png"),
    ]
    assert [line.split(":")[0] for line in lonely] == [f"{folders}/infrared/A.png", f"{folders}/visible/only.png"]


def test_patterns_are_paired_by_name(folders):
    pairs, lonely = find_pairs(f"{folders}/visible/[ab].*", f"{folders}/infrared/?.*")
    assert [pair.stem for pair in pairs] == ["a", "b"]
    assert len(lonely) == 1


def test_two_files_are_a_pair_whatever_their_names(folders):
    pairs, lonely = find_pairs(f"{folders}/visible/only.png", f"{folders}/infrared/A.png")
    assert ([pair.stem for pair in pairs], lonely) == (["only"], [])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("nowhere", "infrared", r"nowhere: expected a file, a folder or a pattern, found none"),
        ("visible", "infrared/a.bmp", "expected two files, folders or patterns, found a file beside"),
        ("visible/*.txt", "infrared", r"\*\.txt: expected images .*, found none"),
        ("visible/only*", "infrared", "expected images of equal name in .*, found none"),
    ],
)
def test_what_cannot_be_paired_is_refused_in_one_line(folders, first, second, message):
    with pytest.raises(UserError, match=message) as caught:
        find_pairs(f"{folders}/{first}", f"{folders}/{second}")
    assert "\n" not in str(caught.value)


def test_a_name_may_stand_once(folders):
    (folders / "visible/a.jpg").touch()
    with pytest.raises(UserError, match=r"a\.png: expected every name once, found a\.jpg beside it"):
        find_pairs(f"{folders}/visible", f"{folders}/infrared")
