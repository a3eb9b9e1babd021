import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from decofuse.data.classes import CAMVID, FMB, MSRS, PST900
from decofuse.data.dataset import SOURCES, Dataset, local
from decofuse.data.pairing import read_splits
from decofuse.data.registry import DATASETS, get
from decofuse.errors import UserError

SPLITS = Path(__file__).parents[2] / "workflow" / "splits"


def test_import_is_cheap():
    heavy = "{'cv2', 'numpy', 'pandas', 'torch', 'requests', 'PIL'} & set(sys.modules)"
    code = f"import sys, decofuse.data.registry; sys.exit(str({heavy}) if {heavy} else 0)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", DATASETS)
def test_entry_is_complete(name):
    dataset = get(name)
    assert dataset.name == name
    assert set(dataset.sources) <= set(dataset.files) <= {*dataset.sources, "label"}
    assert all("{stem}" in template for template in dataset.files.values())
    assert ("label" in dataset.files) == bool(dataset.classes)
    assert dataset.about
    assert dataset.kind in ("archive", "manual")


def test_url_of_an_archive():
    assert get("roadscene").url == "https://github.com/hanna-xu/RoadScene/archive/refs/heads/master.zip"


@pytest.mark.parametrize("name", [n for n, d in DATASETS.items() if d.classes])
def test_classes_have_names_and_colours(name):
    dataset, table = get(name), {"msrs": MSRS, "fmb": FMB, "pst900": PST900, "camvid": CAMVID}[name]
    assert (dataset.classes, dataset.colours) == (table.names, table.colours)


def test_colours_are_as_many_as_classes():
    with pytest.raises(ValueError, match="d: 2 classes, 1 colours"):
        Dataset("d", "single", {}, classes=("a", "b"), colours=((0, 0, 0),))


def test_numbers_of_classes():
    assert {name: len(entry.classes) for name, entry in DATASETS.items() if entry.classes} == {
        "camvid": 11,
        "msrs": 9,
        "fmb": 15,
        "pst900": 5,
    }
    assert get("camvid").void == 11


def test_unknown_name_lists_the_known():
    with pytest.raises(UserError, match=r"'roadscenes'.*expected one of .*roadscene.*own folder"):
        get("roadscenes")


@pytest.mark.parametrize("task", SOURCES)
def test_local_takes_one_folder_a_source(task):
    dataset = local("mine", task)
    assert dataset.kind == "local"
    assert dataset.files == {s: f"{s}/{{stem}}" for s in SOURCES[task]} | {"label": "labels/{stem}"}


@pytest.mark.parametrize("name", [n for n, d in DATASETS.items() if d.kind == "archive" and not d.has_split_folders])
def test_split_file_is_committed(name):
    counts = Counter(read_splits(SPLITS / f"{name}.csv").values())
    expected = {"tno": 25, "mri_ct": 21, "mri_pet": 42, "mri_spect": 73, "mffb": 105, "mefb": 100}
    assert counts == ({"train": 160, "val": 11, "test": 50} if name == "roadscene" else {"test": expected[name]})


def test_roadscene_validation_follows_the_stated_rule():
    splits = read_splits(SPLITS / "roadscene.csv")
    rest = [stem for stem, split in splits.items() if split != "test"]
    smallest = sorted(rest, key=lambda stem: hashlib.sha256(stem.encode()).hexdigest())[:11]
    assert {stem for stem in rest if splits[stem] == "val"} == set(smallest)
