"""Cutting patches, the patch file, and what damaged files meet."""

import multiprocessing
import pickle
from dataclasses import replace
from pathlib import Path
from threading import Lock

import h5py
import numpy as np
import pytest

from decofuse.data import patches as stage
from decofuse.data.images import luma, read_image, write_image
from decofuse.data.manifest import ImageFile, Manifest, Pair
from decofuse.data.patch_codec import FILTER, ROWS, decode, encode, planar_luma
from decofuse.data.patch_file import Origin, PatchDataset
from decofuse.data.patches import corners, is_low_contrast, is_low_contrast_luma, write_patches
from decofuse.errors import UserError
from decofuse.files import sha256
from decofuse.settings import PatchSettings

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "cddfuse.npz"
SETTINGS = PatchSettings(size=16, stride=20)
SHAPES = {"train": [(40, 60), (16, 36), (30, 30)], "val": [(37, 41)], "test": [(40, 40)]}


def textured(rng, height, width, channels):
    shape = (height, width) if channels == 1 else (height, width, 3)
    return rng.integers(0, 256, shape, dtype=np.uint8)


def add_pair(folder, split, stem, **images):
    files = {}
    for source, image in images.items():
        path = folder / "images" / f"{stem}-{source}.png"
        write_image(path, image)
        files[source] = ImageFile(path, 3 if read_image(path).ndim == 3 else 1, sha256(path))
    height, width = next(iter(images.values())).shape[:2]
    return Pair(split, stem, height, width, files)


def write_manifest(folder, pairs):
    path = folder / "manifest.csv"
    Manifest(tuple(pairs[0].files), tuple(pairs)).write(path)
    return path


@pytest.fixture
def manifest(tmp_path):
    """Textured pairs of all splits; the stem of one is not ASCII."""
    rng = np.random.default_rng(0)
    pairs = [
        add_pair(
            tmp_path,
            split,
            f"{split}-é{i}",
            visible=textured(rng, height, width, 3),
            infrared=textured(rng, height, width, 1),
        )
        for split, shapes in SHAPES.items()
        for i, (height, width) in enumerate(shapes)
    ]
    return write_manifest(tmp_path, pairs)


@pytest.fixture
def patch_file(manifest, tmp_path):
    path = tmp_path / "patches.h5"
    write_patches(manifest, SETTINGS, path)
    return path


def expected(manifest, split):
    """Luma patches of a split straight from the images, and their origins; random texture is never low contrast."""
    crops = {"visible": [], "infrared": []}
    origins = []
    for pair in Manifest.read(manifest).split(split):
        for row, column in corners(pair.height, pair.width, SETTINGS):
            origins.append(Origin(split, pair.stem, row, column))
            for source, values in crops.items():
                image = luma(read_image(pair.files[source].path))
                values.append(image[row : row + SETTINGS.size, column : column + SETTINGS.size])
    return {source: np.stack(values)[:, None] for source, values in crops.items()}, origins


# --- selection -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.is_file():
        pytest.skip(f"no golden vectors at {GOLDEN}")
    return np.load(GOLDEN)


def test_luma_matches_golden(golden):
    np.testing.assert_allclose(luma(golden["prep.rgb"]), golden["prep.y"][0], rtol=0, atol=1e-7)


def test_windows_match_golden(golden):
    settings = PatchSettings(size=8, stride=12)
    y, patches = golden["prep.y"][0], golden["prep.patches"]
    cut = [y[row : row + 8, column : column + 8] for row, column in corners(*y.shape, settings)]
    assert len(cut) == patches.shape[-1] == 6
    for i, patch in enumerate(cut):
        np.testing.assert_array_equal(patch, patches[0, :, :, i])


def test_contrast_flags_match_golden(golden):
    settings = PatchSettings(size=8, stride=12)
    rgb = golden["prep.rgb"]
    crops = [rgb[row : row + 8, column : column + 8] for row, column in corners(*rgb.shape[:2], settings)]
    assert [is_low_contrast(crop, settings) for crop in crops] == golden["prep.low"].tolist()
    exact = [is_low_contrast_luma(golden["prep.patches"][0, :, :, i], settings) for i in range(6)]
    assert exact == golden["prep.low"].tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_histogram_bounds_never_change_the_exact_answer(channels):
    rng = np.random.default_rng(channels)
    answers = set()
    for _ in range(400):
        base, spread = rng.integers(0, 250), rng.integers(1, 40)
        patch = np.clip(base + textured(rng, 12, 12, channels) % spread, 0, 255).astype(np.uint8)
        answer = is_low_contrast(patch, SETTINGS)
        assert answer == is_low_contrast_luma(luma(patch), SETTINGS)
        answers.add(answer)
    assert answers == {True, False}


@pytest.mark.parametrize(("keep_black", "low"), [(True, False), (False, True)])
def test_black_patch(keep_black, low):
    assert is_low_contrast(np.zeros((16, 16), np.uint8), SETTINGS.model_copy(update={"keep_black": keep_black})) is low


@pytest.mark.parametrize("flat", ["visible", "infrared"])
def test_a_pair_is_dropped_if_either_source_is_flat(tmp_path, flat):
    rng = np.random.default_rng(0)
    images = {"visible": textured(rng, 16, 36, 3), "infrared": textured(rng, 16, 36, 1)}
    images[flat][:, :16] = 100
    summary = write_patches(
        write_manifest(tmp_path, [add_pair(tmp_path, "train", "a", **images)]), SETTINGS, tmp_path / "p.h5"
    )
    assert (summary.kept, summary.dropped, summary.too_small) == (1, 1, 0)
    with PatchDataset(tmp_path / "p.h5", ["train"]) as patches:
        assert patches.origin(0) == Origin("train", "a", 0, 20)


# --- pixels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [8, ROWS, ROWS + 1, 2 * ROWS - 1])
@pytest.mark.parametrize(("channels", "planes"), [(1, 1), (3, 3), (1, 3)])
def test_pixels_and_luma_survive_bit_for_bit(side, channels, planes):
    rng = np.random.default_rng(side)
    images = [textured(rng, side, side, channels) for _ in range(3)]
    pixels = np.stack([encode(image, planes) for image in images])
    decode(pixels)
    for image, planar in zip(images, pixels, strict=True):
        whole = np.broadcast_to(image.reshape(side, side, -1), (side, side, planes))
        np.testing.assert_array_equal(np.moveaxis(planar, 0, -1), whole)
    values = planar_luma(pixels, np.full(3, channels == 1))
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values[:, 0], np.stack([luma(image) for image in images]))


def test_grey_images_of_a_colour_source_keep_their_own_luma(tmp_path):
    """Level / 255 and the weighted sum of equal channels differ in the last bit."""
    rng = np.random.default_rng(0)
    grey = textured(rng, 16, 16, 1)
    same = np.repeat(grey[..., None], 3, axis=2)
    colour = textured(rng, 16, 36, 3)
    colour[:, :16] = same
    pairs = [
        add_pair(tmp_path, "train", "colour", visible=colour, infrared=textured(rng, 16, 36, 1)),
        add_pair(tmp_path, "train", "grey", visible=grey, infrared=textured(rng, 16, 16, 1)),
    ]
    write_patches(write_manifest(tmp_path, pairs), SETTINGS, tmp_path / "p.h5")
    with PatchDataset(tmp_path / "p.h5", ["train"]) as patches:
        values, pixels = patches.batch([0, 2])["visible"], patches.pixels([0, 2])["visible"]
    np.testing.assert_array_equal(pixels[0], pixels[1])
    np.testing.assert_array_equal(values[0, 0], luma(same))
    np.testing.assert_array_equal(values[1, 0], luma(grey))
    assert (values[0] != values[1]).any()


def test_black_and_flat_patches_are_small_and_legal(tmp_path):
    black = np.zeros((128, 128), np.uint8)
    pair = add_pair(tmp_path, "train", "black", visible=black, infrared=black)
    write_patches(write_manifest(tmp_path, [pair]), PatchSettings(), tmp_path / "p.h5")
    with PatchDataset(tmp_path / "p.h5", ["train"]) as patches:
        assert not patches.batch([0])["visible"].any()


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("options", [{}, {"cache_bytes": 0}])
def test_batches_equal_the_images_in_any_order(manifest, patch_file, split, options):
    values, origins = expected(manifest, split)
    with PatchDataset(patch_file, [split], **options) as patches:
        assert len(patches) == len(origins) > 1
        assert [patches.origin(i) for i in range(len(patches))] == origins
        for indices in ([len(origins) - 1, 0, 0, 1], np.arange(len(origins)), np.array([], np.int64), [1]):
            batch = patches.batch(indices)
            assert list(batch) == ["visible", "infrared"]
            for source, images in batch.items():
                assert images.dtype == np.float32
                np.testing.assert_array_equal(images, values[source][np.asarray(indices, np.int64)])


def test_splits_and_sources_are_chosen(manifest, patch_file):
    with PatchDataset(patch_file, ["val", "train"], ["infrared"]) as patches:
        batch = patches.batch(np.arange(len(patches)))
    assert list(batch) == ["infrared"]
    both = np.concatenate([expected(manifest, split)[0]["infrared"] for split in ("train", "val")])
    np.testing.assert_array_equal(batch["infrared"], both)


@pytest.mark.parametrize("index", [-1, 9])
def test_index_out_of_range(patch_file, index):
    with PatchDataset(patch_file, ["train"]) as patches, pytest.raises(IndexError, match="of 9 patches"):
        patches.batch([0, index])


def test_equal_input_gives_equal_bytes(manifest, patch_file, tmp_path):
    again = tmp_path / "again.h5"
    write_patches(manifest, SETTINGS, again, workers=1)
    assert again.read_bytes() == patch_file.read_bytes()


def test_header_says_where_patches_come_from(manifest, patch_file):
    with PatchDataset(patch_file, ["train"]) as patches:
        header = patches.header
    assert header.settings == SETTINGS
    assert header.manifest_sha256 == sha256(manifest)
    assert (header.splits, header.sources) == (("train", "val"), ("visible", "infrared"))


def test_a_plain_hdf5_reader_can_unpack_the_chunks(patch_file):
    with h5py.File(patch_file) as file, PatchDataset(patch_file, ["train", "val"]) as patches:
        planes = file["patches/visible"][:]
        decode(planes)
        np.testing.assert_array_equal(planes, patches.pixels(np.arange(len(patches)))["visible"])


def first_batch(patches):
    return patches.batch([0])["visible"]


def test_processes_open_the_file_themselves(patch_file):
    with PatchDataset(patch_file, ["train"]) as patches:
        here = first_batch(patches)
        np.testing.assert_array_equal(first_batch(pickle.loads(pickle.dumps(patches))), here)  # noqa: S301
        with multiprocessing.get_context("fork").Pool(1) as pool:
            np.testing.assert_array_equal(pool.apply_async(first_batch, (patches,)).get(timeout=60), here)


def test_closed_dataset_opens_again(patch_file):
    patches = PatchDataset(patch_file, ["train"])
    first = first_batch(patches)
    patches.close()
    np.testing.assert_array_equal(first_batch(patches), first)
    patches.close()


# --- the stage -------------------------------------------------------------------------------------------------------


def test_small_images_are_counted(tmp_path):
    rng = np.random.default_rng(0)
    pairs = [
        add_pair(tmp_path, "train", stem, visible=textured(rng, *shape, 3), infrared=textured(rng, *shape, 1))
        for stem, shape in {"fits": (16, 16), "low": (15, 40), "narrow": (40, 15)}.items()
    ]
    summary = write_patches(write_manifest(tmp_path, pairs), SETTINGS, tmp_path / "p.h5")
    assert vars(summary) == {"pairs": 3, "too_small": 2, "kept": 1, "dropped": 0}


def test_no_patch_at_all(manifest, tmp_path):
    out = tmp_path / "out" / "p.h5"
    with pytest.raises(UserError, match=r"expected patches of 64x64 .* 4 pairs \(4 pairs too small, 0 patches"):
        write_patches(manifest, PatchSettings(size=64), out)
    assert list(out.parent.iterdir()) == []


def test_failure_in_the_middle_leaves_the_old_file(manifest, patch_file):
    before = patch_file.read_bytes()
    altered = Manifest.read(manifest).split("val")[0].files["infrared"].path
    altered.write_bytes(altered.read_bytes() + b"x")
    siblings = sorted(patch_file.parent.iterdir())
    with pytest.raises(UserError, match="differs from the checksum"):
        write_patches(manifest, SETTINGS, patch_file)
    assert patch_file.read_bytes() == before
    assert sorted(patch_file.parent.iterdir()) == siblings


@pytest.mark.parametrize("wrong", ["height", "channels"])
def test_image_unlike_its_row_in_the_manifest(manifest, tmp_path, wrong):
    pair = Manifest.read(manifest).pairs[0]
    if wrong == "height":
        pair = replace(pair, height=pair.height - 1)
    else:
        pair = replace(pair, files={**pair.files, "visible": replace(pair.files["visible"], channels=1)})
    with pytest.raises(UserError, match="as in the manifest, found"):
        write_patches(write_manifest(tmp_path, [pair]), SETTINGS, tmp_path / "p.h5")


def test_work_runs_ahead_by_a_bounded_number():
    lock, started = Lock(), []

    def work(item):
        with lock:
            started.append(item)
        return item

    for done, result in enumerate(stage._in_order(work, range(50), workers=2)):
        assert result == done
        assert len(started) <= done + 4


# --- files that are none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", None])
def test_not_a_patch_file(tmp_path, content):
    path = tmp_path / "foreign.h5"
    if content is None:
        with h5py.File(path, "w") as file:
            file["visible"] = np.zeros(3)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match="expected a patch file of this version, found one") as caught:
        PatchDataset(path, ["train"])
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="found none; run the patches stage"):
        PatchDataset(tmp_path / "absent.h5", ["train"])


def test_truncated_file(patch_file):
    data = patch_file.read_bytes()
    for length in (len(data) - 1, len(data) // 2, 700):
        patch_file.write_bytes(data[:length])
        with pytest.raises(UserError, match="foreign or damaged"), PatchDataset(patch_file, ["train"]) as patches:
            patches.batch(np.arange(len(patches)))


@pytest.mark.parametrize(
    ("splits", "sources", "said"), [(["test"], None, "split test"), (["train"], ["x"], "source x")]
)
def test_missing_split_or_source(patch_file, splits, sources, said):
    with pytest.raises(UserError, match=f"expected patches of the {said}, found "):
        PatchDataset(patch_file, splits, sources)


def as_float(file):
    values = file["patches/visible"][:].astype(np.float32)
    del file["patches/visible"]
    file["patches/visible"] = values


def other_filter(file):
    values = file["patches/visible"][:]
    del file["patches/visible"]
    file.create_dataset("patches/visible", data=values, chunks=(1, *values.shape[1:]), compression="lzf")


def external_link(file):
    del file["patches/visible"]
    file["patches/visible"] = h5py.ExternalLink("/etc/passwd", "/")


def external_storage(file):
    del file["stems"]
    file.create_dataset("stems", (4,), "S9", external=[("/etc/passwd", 0, 36)])


def object_stems(file):
    del file["stems"]
    file["stems"] = ["a", "b", "c", "d"]


def huge_index(file):
    dtype = file["index"].dtype
    del file["index"]
    file.create_dataset("index", (2**40,), dtype)


def empty_chunks(file):
    shape = file["patches/visible"].shape
    del file["patches/visible"]
    file.create_dataset("patches/visible", shape, np.uint8, chunks=(1, *shape[1:]), **FILTER)


def wild_index(file):
    file["index"][0] = (0, 4, 0, 0, (3, 1))


def other_settings(file):
    file.attrs["settings"] = np.bytes_(b'{"size": "large"}')


def other_version(file):
    file.attrs["format"] = np.bytes_(b"decofuse patches 0")


def object_attribute(file):
    file.attrs["sources"] = '["visible", "infrared"]'


FORGERIES = (
    as_float,
    other_filter,
    external_link,
    external_storage,
    object_stems,
    huge_index,
    empty_chunks,
    wild_index,
    other_settings,
    other_version,
    object_attribute,
)


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_forged_layout_is_refused(patch_file, forge):
    with h5py.File(patch_file, "r+") as file:
        forge(file)
    with pytest.raises(UserError, match="foreign or damaged"):
        PatchDataset(patch_file, ["train"])


SIZE = 3 * SETTINGS.size**2


@pytest.mark.parametrize(
    ("chunk", "mask"),
    [
        (b"garbage", 0),
        ((SIZE - 1).to_bytes(8, "big") + bytes(99), 0),
        ((2**62).to_bytes(8, "big"), 0),
        (bytes(SIZE), 1),
    ],
    ids=["garbage", "short", "huge", "not packed"],
)
def test_forged_chunk_is_refused(patch_file, chunk, mask):
    """What a chunk says of its size is checked before the filter allocates it."""
    with h5py.File(patch_file, "r+") as file:
        file["patches/visible"].id.write_direct_chunk((0, 0, 0, 0), chunk, mask)
    with pytest.raises(UserError, match="foreign or damaged"):
        PatchDataset(patch_file, ["train"])


def test_damaged_chunk_is_refused(patch_file):
    with h5py.File(patch_file, "r+") as file:
        chunk = SIZE.to_bytes(8, "big") + (8192).to_bytes(4, "big") + b"\xff" * 99
        file["patches/visible"].id.write_direct_chunk((0, 0, 0, 0), chunk)
    with PatchDataset(patch_file, ["train"]) as patches:
        patches.batch([1])
        with pytest.raises(UserError, match="foreign or damaged"):
            patches.batch([0])
