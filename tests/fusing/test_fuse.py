"""Fusing pairs and splits with networks whose output is known."""

import numpy as np
import pytest
import torch

from decofuse.data.images import grey_levels, luma, read_image, write_image
from decofuse.data.manifest import ImageFile, Manifest, Pair
from decofuse.errors import UserError
from decofuse.files import sha256
from decofuse.fusing.fuse import fuse_pair
from decofuse.fusing.index import FusedIndex
from decofuse.fusing.split import fuse_split
from decofuse.models.cddfuse import CDDFuse
from decofuse.models.method import Fuser
from decofuse.models.reference import Average, Laplacian
from decofuse.settings import FuseSettings, Views

CPU = torch.device("cpu")
GREY = Views(source_a="grey", source_b="grey", fused="luma")
PLAIN = FuseSettings(stretch=False, rounding="nearest")


class First(Fuser):
    """The first source, as the network sees it."""

    def fuse(self, source_a, source_b):
        assert not self.training
        assert not torch.is_grad_enabled()
        assert source_a.shape == source_b.shape == (1, 1, *source_a.shape[2:])
        assert source_a.dtype == torch.float32
        return source_a


class Broken(Fuser):
    def fuse(self, source_a, source_b):
        return source_a / 0


def grey(h=9, w=12, seed=0):
    return np.random.default_rng(seed).integers(10, 240, (h, w), dtype=np.uint8)


def colour(h=9, w=12, seed=0):
    return np.random.default_rng(seed).integers(80, 170, (h, w, 3), dtype=np.uint8)


def test_a_network_sees_grey_levels_and_its_output_is_kept():
    source = grey()
    fused = fuse_pair(First(), (source, grey(seed=1)), GREY, PLAIN, CPU)
    assert np.array_equal(fused.luma, source)
    assert fused.image is fused.luma


class Seen(Fuser):
    """Keeps what it is given, and gives the first source."""

    def fuse(self, source_a, source_b):
        self.given = source_a, source_b
        return source_a


def test_luma_is_not_rounded_and_colour_is_clamped():
    network, source = Seen(), colour()
    settings = FuseSettings(stretch=False, rounding="truncate", chroma="clamped")
    fused = fuse_pair(network, (source, grey()), Views(source_a="luma", source_b="luma", fused="luma"), settings, CPU)
    assert np.array_equal(network.given[0][0, 0].numpy(), luma(source))
    # The published factors are rounded: colours come back within a level, one lower where truncated.
    assert np.abs(fused.image.astype(int) - source).max() <= 1
    assert np.array_equal(fused.luma, (luma(source) * 255).astype(np.uint8))


def test_rgb_goes_through_the_network():
    network, source = Seen(), colour()
    views = Views(source_a="rgb", source_b="rgb", fused="rgb")
    fused = fuse_pair(network, (source, grey()), views, PLAIN, CPU)
    assert network.given[1].shape == (1, 3, 9, 12)
    assert (network.given[1][:, 0] == network.given[1][:, 2]).all()
    assert np.array_equal(fused.image, source)
    assert np.array_equal(fused.luma, grey_levels(source))


def test_the_average_of_two_images():
    a, b = grey(), grey(seed=1)
    fused = fuse_pair(Average(), (a, b), GREY, PLAIN, CPU)
    assert np.abs(fused.luma - (a / 2 + b / 2)).max() <= 0.5


def test_the_result_is_stretched_where_it_should_be():
    luma = fuse_pair(First(), (grey(), grey()), GREY, FuseSettings(), CPU).luma
    assert (luma.min(), luma.max()) == (0, 255)


def test_a_constant_result_keeps_its_level():
    flat = np.full((8, 8), 77, np.uint8)
    assert (fuse_pair(First(), (flat, grey(8, 8)), GREY, FuseSettings(), CPU).luma == 77).all()


def test_colour_comes_back():
    source = colour()
    fused = fuse_pair(First(), (source, grey()), GREY, PLAIN, CPU)
    assert np.array_equal(fused.luma, grey_levels(source))
    assert np.abs(fused.image.astype(int) - source).max() <= 1
    assert fuse_pair(First(), (grey(), source), GREY, PLAIN, CPU).image.shape == source.shape


@pytest.mark.parametrize("network", [CDDFuse(channels=8, heads=2, blocks=1, detail_nodes=1), Laplacian(), Average()])
@pytest.mark.parametrize("size", [(61, 83), (8, 31)])
def test_any_size(network, size):
    fused = fuse_pair(network, (colour(*size), grey(*size)), GREY, FuseSettings(), CPU)
    assert fused.luma.shape == size
    assert fused.image.shape == (*size, 3)
    assert fused.image.dtype == fused.luma.dtype == np.uint8


def test_views_and_read_only_images_are_accepted():
    source = grey()[::-1, ::-1]
    source.flags.writeable = False
    assert np.array_equal(fuse_pair(First(), (source, source), GREY, PLAIN, CPU).luma, source)


def test_sizes_must_agree():
    with pytest.raises(UserError, match="one size, found 12x9 and 11x9 pixels"):
        fuse_pair(First(), (grey(9, 12), grey(9, 11)), GREY, PLAIN, CPU)


def test_images_may_be_too_small_for_a_network():
    with pytest.raises(UserError, match="at least 8 pixels, found 12x7"):
        fuse_pair(Laplacian(), (grey(7, 12), grey(7, 12)), GREY, PLAIN, CPU)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match="expected finite values from the network"):
        fuse_pair(Broken(), (grey(), grey()), GREY, PLAIN, CPU)


@pytest.fixture
def manifest(tmp_path):
    """Two test pairs, the first in colour, and a training pair."""
    return write_manifest(tmp_path / "data", ("visible", "infrared"))


def write_manifest(folder, sources):
    pairs = []
    for split, stem, seed in (("test", "a.1", 0), ("test", "b", 2), ("train", "c", 4)):
        files = {}
        for i, source in enumerate(sources):
            pixels = colour(seed=seed) if stem == "a.1" and i == 0 else grey(seed=seed + i)
            path = folder / "images" / source / f"{stem}.png"
            write_image(path, pixels)
            files[source] = ImageFile(path, 3 if pixels.ndim == 3 else 1, sha256(path))
        pairs.append(Pair(split, stem, 9, 12, files))
    Manifest(sources, tuple(pairs)).write(folder / "manifest.csv")
    return folder / "manifest.csv"


def contents(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_split_is_fused(manifest, tmp_path):
    out = tmp_path / "out"
    fuse_split(First(), manifest, ["test"], GREY, PLAIN, out, CPU)
    assert contents(out) == ["images/a.1.png", "images/b.png", "index.csv", "luma/a.1.png", "luma/b.png"]
    index = FusedIndex.read(out / "index.csv")
    assert list(index.images) == ["a.1", "b"]
    in_colour, in_grey = index.images.values()
    assert read_image(in_colour.fused_path()).shape == (9, 12, 3)
    assert np.array_equal(read_image(in_colour.luma_path()), grey_levels(colour()))
    assert np.array_equal(read_image(in_grey.luma_path()), grey(seed=2))
    assert np.array_equal(read_image(in_grey.fused_path()), grey(seed=2))


def test_the_sources_are_given_in_their_order(tmp_path):
    """The order of the columns in the manifest does not matter: visible goes first."""
    manifest = write_manifest(tmp_path / "data", ("infrared", "visible"))
    fuse_split(First(), manifest, ["train"], GREY, PLAIN, tmp_path / "out", CPU)
    visible = tmp_path / "data" / "images" / "visible" / "c.png"
    assert np.array_equal(read_image(tmp_path / "out" / "images" / "c.png"), read_image(visible))


def test_results_are_replaced_and_other_files_stay(manifest, tmp_path):
    out = tmp_path / "out"
    fuse_split(First(), manifest, ["test"], GREY, PLAIN, out, CPU)
    (out / "metrics.json").write_text("{}")
    fuse_split(First(), manifest, ["train"], GREY, PLAIN, out, CPU)
    assert contents(out) == ["images/c.png", "index.csv", "luma/c.png", "metrics.json"]
    assert FusedIndex.read(out / "index.csv").image("c").fused_path().is_file()


def test_a_failure_leaves_the_old_results(manifest, tmp_path):
    out = tmp_path / "out"
    fuse_split(First(), manifest, ["test"], GREY, PLAIN, out, CPU)
    before = {name: sha256(out / name) for name in contents(out)}
    with pytest.raises(UserError, match=r"manifest.csv: pair a.1: expected finite values"):
        fuse_split(Broken(), manifest, ["test"], GREY, PLAIN, out, CPU)
    assert {name: sha256(out / name) for name in contents(out)} == before
    assert sorted(path.name for path in out.iterdir()) == ["images", "index.csv", "luma"]


def test_a_changed_source_is_refused(manifest, tmp_path):
    write_image(tmp_path / "data" / "images" / "infrared" / "b.png", grey(seed=9))
    with pytest.raises(UserError, match=r"b.png: differs from the checksum"):
        fuse_split(First(), manifest, ["test"], GREY, PLAIN, tmp_path / "out", CPU)
    assert not contents(tmp_path / "out")


def test_an_empty_split_is_refused(manifest, tmp_path):
    with pytest.raises(UserError, match=r"manifest.csv: expected pairs in split val, found none"):
        fuse_split(First(), manifest, ["val"], GREY, PLAIN, tmp_path / "out", CPU)


def test_single_images_cannot_be_fused(tmp_path):
    manifest = write_manifest(tmp_path / "data", ("image",))
    with pytest.raises(UserError, match=r"visible and infrared or source_a and source_b, found image"):
        fuse_split(First(), manifest, ["test"], GREY, PLAIN, tmp_path / "out", CPU)


def test_a_stem_must_not_leave_the_folder(manifest, tmp_path):
    manifest.write_text(manifest.read_text().replace("test,b,", "test,../b,"))
    with pytest.raises(UserError, match=r"plain file names as stems, found '../b'"):
        fuse_split(First(), manifest, ["test"], GREY, PLAIN, tmp_path / "out", CPU)
