"""Training samples from patches: flips, labels, background."""

import numpy as np
import pytest
from PIL import Image

from decofuse.data.manifest import ImageFile, Manifest, Pair
from decofuse.data.patch_samples import LabelledPatchSamples, PatchSamples
from decofuse.data.patches import write_patches
from decofuse.errors import UserError
from decofuse.files import sha256
from decofuse.settings import PatchSampling, PatchSettings

EVERY = np.arange(8)


def patches(folder, labels=True, names=("visible", "infrared")):
    """Two pairs of four patches each; the left half of each label map is background."""
    rng = np.random.default_rng(0)
    pairs = []
    for stem in ("a", "b"):
        images = dict(zip(names, (rng.integers(0, 255, (16, 16, 3)), rng.integers(0, 255, (16, 16))), strict=False))
        if labels:
            images["label"] = np.pad(np.full((16, 8), 3), ((0, 0), (8, 0)))
        files = {}
        for role, pixels in images.items():
            path = folder / f"{stem}-{role}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            files[role] = ImageFile(path, 3 if role == names[0] else 1, sha256(path))
        pairs.append(Pair("train", stem, 16, 16, files))
    Manifest(names, tuple(pairs)).write(folder / "manifest.csv")
    write_patches(folder / "manifest.csv", PatchSettings(size=8, stride=8), folder / "patches.h5")
    return folder / "patches.h5"


def samples(path, kind=LabelledPatchSamples, fixed=False, seed=1, **settings):
    return kind(path, "train", PatchSampling(**settings), seed, fixed)


def test_without_options_they_are_the_patches(tmp_path):
    batch = samples(patches(tmp_path), PatchSamples).batch(EVERY, 0)
    assert {key: value.shape for key, value in batch.items()} == dict.fromkeys(["visible", "infrared"], (8, 1, 8, 8))


def test_two_sources_of_other_names_go_by_the_same_keys(tmp_path):
    (tmp_path / "other").mkdir()
    expected = samples(patches(tmp_path), flip=True).batch(EVERY, 3)
    found = samples(patches(tmp_path / "other", names=("source_a", "source_b")), flip=True).batch(EVERY, 3)
    assert list(found) == list(expected) == ["visible", "infrared", "label"]
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


def test_single_images_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"patches\.h5: expected patches of pairs, found those of image; train on a"):
        samples(patches(tmp_path, names=("image",)))


def test_labels_come_along(tmp_path):
    batch = samples(patches(tmp_path)).batch(EVERY, 0)
    assert batch["label"].dtype == np.uint8
    assert batch["label"].reshape(8, -1).tolist() == [[0] * 64, [3] * 64] * 4


def test_a_dataset_without_labels_has_background_only(tmp_path):
    batch = samples(patches(tmp_path, labels=False), background="drop").batch(EVERY, 0)
    assert batch["label"].shape == (8, 1, 8, 8)
    assert not batch["label"].any()


def test_background_is_dropped_where_there_are_labels(tmp_path):
    found = samples(patches(tmp_path), background="drop")
    assert len(found) == 4
    assert found.batch(np.arange(4), 0)["label"].all()


def test_all_images_of_a_sample_are_flipped_alike_and_every_flip_occurs(tmp_path):
    path = patches(tmp_path)
    plain, flipped = samples(path).batch(EVERY, 0), samples(path, flip=True)
    seen = set()
    for step in range(6):
        batch = flipped.batch(EVERY, step)
        for i in EVERY:
            axes = [
                a
                for a in ((), (-1,), (-2,), (-1, -2))
                if np.array_equal(batch["visible"][i], np.flip(plain["visible"][i], a))
            ]
            assert len(axes) == 1
            assert np.array_equal(batch["infrared"][i], np.flip(plain["infrared"][i], axes[0]))
            seen.add(axes[0])
    assert len(seen) == 4


def test_flips_depend_on_seed_and_step_and_are_off_in_validation(tmp_path):
    path = patches(tmp_path)
    first = samples(path, flip=True).batch(EVERY, 5)["visible"]
    assert np.array_equal(first, samples(path, flip=True).batch(EVERY, 5)["visible"])
    assert not np.array_equal(first, samples(path, flip=True).batch(EVERY, 6)["visible"])
    assert not np.array_equal(first, samples(path, flip=True, seed=2).batch(EVERY, 5)["visible"])
    fixed = samples(path, flip=True, fixed=True).batch(EVERY, 5)["visible"]
    assert np.array_equal(fixed, samples(path).batch(EVERY, 0)["visible"])


@pytest.mark.parametrize("kind", [PatchSamples, LabelledPatchSamples])
def test_they_can_be_closed(tmp_path, kind):
    found = samples(patches(tmp_path), kind)
    found.batch(EVERY[:1], 0)
    found.close()
