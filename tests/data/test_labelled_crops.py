"""Crops of labelled images: places, augmentation, and the maps that follow from labels."""

import numpy as np
import pytest
from pydantic import ValidationError

from decofuse.data.images import luma, write_image
from decofuse.data.labelled_crops import LabelledCrops, boundaries
from decofuse.data.manifest import ImageFile, Manifest, Pair
from decofuse.errors import UserError
from decofuse.files import sha256
from decofuse.settings import LabelledCropSampling

CLASSES = np.array([0, 1, 2, 3, 4, 8, 255], np.uint8)


def blocks(rng, height, width):
    """A label map of blocks of 8 pixels."""
    coarse = rng.choice(CLASSES, (-(-height // 8), -(-width // 8)))
    return np.kron(coarse, np.ones((8, 8), np.uint8))[:height, :width]


def dataset(folder, sizes=((48, 72), (80, 40)), split="train", grey=False, labels=True):
    """Pairs whose images tell the place of each pixel: red its row, green its column, infrared their sum."""
    rng = np.random.default_rng(0)
    pairs = []
    for number, (height, width) in enumerate(sizes):
        rows, columns = np.indices((height, width)).astype(np.uint8)
        images = {
            "visible": rows if grey else np.stack((rows, columns, np.full_like(rows, number)), axis=-1),
            "infrared": rows + columns,
        }
        if labels:
            images["label"] = blocks(rng, height, width)
        files = {}
        for role, pixels in images.items():
            path = folder / f"{number}-{role}.png"
            write_image(path, pixels)
            files[role] = ImageFile(path, 3 if pixels.ndim == 3 else 1, sha256(path))
        pairs.append(Pair(split, f"{number}", height, width, files))
    Manifest(("visible", "infrared"), tuple(pairs)).write(folder / "manifest.csv")
    return folder / "manifest.csv"


def samples(path, fixed=False, seed=1, split="train", **settings):
    return LabelledCrops(path, split, LabelledCropSampling(**{"size": 32, **settings}), seed, fixed)


def levels(image):
    return np.rint(image * 255).astype(np.int64)


def test_keys_shapes_and_ranges(tmp_path):
    found = samples(dataset(tmp_path))
    batch = found.batch(np.array([1, 0, 1]), 5)
    assert len(found) == 2
    assert {key: (value.shape, value.dtype.name) for key, value in batch.items()} == {
        "visible": ((3, 3, 32, 32), "float32"),
        "infrared": ((3, 1, 32, 32), "float32"),
        "label": ((3, 32, 32), "int64"),
        "binary": ((3, 32, 32), "int64"),
        "boundary": ((3, 32, 32), "int64"),
        "mask": ((3, 1, 32, 32), "float32"),
    }
    assert all(0 <= batch[key].min() <= batch[key].max() <= 1 for key in batch if key != "label")
    assert all(value.flags.c_contiguous for value in batch.values())
    assert levels(batch["visible"][:, 2]).reshape(3, -1).tolist() == [[1] * 1024, [0] * 1024, [1] * 1024]


def test_all_maps_of_a_sample_are_cut_alike(tmp_path):
    """Each pixel says where it comes from, so the whole image's maps can be looked up there."""
    found = samples(dataset(tmp_path), boundary_radius=2, mask_classes=(2, 8))
    places = set()
    for step in range(12):
        batch = found.batch(np.array([0, 1]), step)
        for i in range(2):
            label = found._store.image(i, "label")
            rows, columns, _ = levels(batch["visible"][i])
            assert np.array_equal(levels(batch["infrared"][i, 0]), rows + columns)
            assert np.array_equal(batch["label"][i], label[rows, columns])
            assert np.array_equal(batch["binary"][i], ((label > 0) & (label < 255))[rows, columns])
            assert np.array_equal(batch["boundary"][i], boundaries(label, 2)[rows, columns])
            assert np.array_equal(batch["mask"][i, 0], np.isin(label, (2, 8))[rows, columns])
            places.add((i, *rows[0, :2], *columns[0, :2]))
    assert len(places) > 15


def test_every_orientation_and_place_occurs(tmp_path):
    """Three flips and four turns make the eight orientations of a square."""
    found = samples(dataset(tmp_path, sizes=((33, 34),)))
    orientations, places = set(), set()
    for step in range(300):
        rows, columns, _ = levels(found.batch(np.array([0]), step)["visible"][0])
        down, right = rows[1, 0] - rows[0, 0], rows[0, 1] - rows[0, 0]
        orientations.add((int(down), int(right), int(columns[1, 1] - columns[0, 0])))
        places.add((int(rows.min()), int(columns.min())))
    assert orientations == {(d, r, c) for d, r in ((1, 0), (-1, 0), (0, 1), (0, -1)) for c in (1, -1)}
    assert places == {(row, column) for row in (0, 1) for column in (0, 1, 2)}


def test_randomness_depends_on_seed_step_and_position(tmp_path):
    path = dataset(tmp_path)
    first, again, other = (samples(path, seed=seed) for seed in (1, 1, 2))
    indices = np.zeros(4, np.int64)
    assert np.array_equal(first.batch(indices, 7)["visible"], again.batch(indices, 7)["visible"])
    assert not np.array_equal(first.batch(indices, 7)["visible"], first.batch(indices, 8)["visible"])
    assert not np.array_equal(first.batch(indices, 7)["visible"], other.batch(indices, 7)["visible"])
    assert len({sample.tobytes() for sample in first.batch(indices, 7)["visible"]}) == 4


def test_fixed_samples_are_the_middle(tmp_path):
    found = samples(dataset(tmp_path, split="val"), fixed=True, split="val")
    rows, columns, _ = levels(found.batch(np.array([0]), 3)["visible"][0])
    assert rows[:, 0].tolist() == list(range(8, 40))
    assert columns[0].tolist() == list(range(20, 52))
    assert np.array_equal(found.batch(np.array([1, 0]), 4)["visible"][1], found.batch(np.array([0]), 9)["visible"][0])
    assert len(samples(found._store.path, split="train")) == 0


def test_small_images_are_enlarged_and_labels_stay_labels(tmp_path):
    found = samples(dataset(tmp_path, sizes=((24, 20), (16, 64))), size=64)
    batch = found.batch(np.array([0, 1]), 0)
    assert batch["visible"].shape == (2, 3, 64, 64)
    for i in range(2):
        assert set(np.unique(batch["label"][i])) <= set(np.unique(found._store.image(i, "label")))


def test_a_boundary_is_two_pixels_wide_and_needs_a_neighbour():
    label = np.zeros((6, 8), np.uint8)
    label[:, 4:] = 3
    assert boundaries(label, 1).tolist() == [[column in (3, 4) for column in range(8)]] * 6
    assert boundaries(label, 2).tolist() == [[2 <= column <= 5 for column in range(8)]] * 6
    assert not boundaries(np.full((6, 8), 255, np.uint8), 1).any()


def test_infrared_in_colour_gives_its_luma(tmp_path):
    path = dataset(tmp_path)
    manifest = Manifest.read(path)
    colour = np.random.default_rng(3).integers(0, 256, (48, 72, 3), dtype=np.uint8)
    image = manifest.pairs[0].files["infrared"].path
    write_image(image, colour)
    files = manifest.pairs[0].files | {"infrared": ImageFile(image, 3, sha256(image))}
    Manifest(manifest.sources, (Pair("train", "0", 48, 72, files),)).write(path)
    found = samples(path, fixed=True).batch(np.array([0]), 0)["infrared"]
    assert np.array_equal(found[0, 0], luma(colour)[8:40, 20:52])


def test_grey_visible_images_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"0-visible.png: expected a visible image in colour, found a grey one; train"):
        samples(dataset(tmp_path, grey=True))


def test_a_dataset_without_labels_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"manifest.csv: expected a dataset with labels, found none for 0"):
        samples(dataset(tmp_path, labels=False))


@pytest.mark.parametrize("settings", [{"size": 48}, {"size": 0}, {"boundary_radius": 0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        LabelledCropSampling(**settings)
