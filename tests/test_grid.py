"""The picture grid: right images in right places, nothing cut off, same bytes."""

from pathlib import Path

import numpy as np
import pytest

from decofuse.data.images import read_image, write_image
from decofuse.data.manifest import ImageFile, Manifest, Pair
from decofuse.errors import UserError
from decofuse.files import sha256
from decofuse.fusing.index import FusedImage, FusedIndex
from decofuse.grid import MAX_WIDTH, draw_grid

RED, GREEN = (200, 30, 40), (20, 180, 60)


def make(folder: Path, stems: list[str], methods: int = 1) -> tuple[Path, list[tuple[str, Path]]]:
    """Pairs of a red visible and a grey infrared image of level 100 + i; method k gives green images plus k blue."""
    pairs, results = [], [{} for _ in range(methods)]
    for i, stem in enumerate(stems):
        files = {}
        for name, colour in (("visible", RED), ("infrared", (100 + i,) * 3)):
            path = folder / name / f"{i}.png"
            write_image(path, np.full((30, 50, 3), colour, np.uint8))
            files[name] = ImageFile(path, 3, sha256(path))
        pairs.append(Pair("test", stem, 30, 50, files))
        for k, images in enumerate(results):
            path = folder / f"fused{k}" / f"{i}.png"
            write_image(path, np.full((30, 50, 3), (*GREEN[:2], GREEN[2] + k), np.uint8))
            images[stem] = FusedImage(stem, path, sha256(path), path, sha256(path))
    Manifest(("visible", "infrared"), tuple(pairs)).write(folder / "manifest.csv")
    for k, images in enumerate(results):
        FusedIndex(folder / f"index{k}.csv", images).write()
    return folder / "manifest.csv", [(f"method{k}", folder / f"index{k}.csv") for k in range(methods)]


def cells(picture: np.ndarray, colour: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Rectangles (top, left, height, width) filled with exactly this colour, from top to bottom."""
    mask = (picture == np.array(colour)).all(axis=2)
    lines = mask.sum(axis=1) > 50
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lines, [False]]).astype(int)))
    found = []
    for top, bottom in edges.reshape(-1, 2):
        columns = np.flatnonzero(mask[top])
        assert mask[top:bottom, columns].all() and columns[-1] - columns[0] + 1 == len(columns)
        found.append((int(top), int(columns[0]), int(bottom - top), len(columns)))
    return found


def test_sources_and_methods_stand_side_by_side_at_one_width(tmp_path: Path) -> None:
    manifest, methods = make(tmp_path, ["a", "b", "c"], methods=2)
    draw_grid(manifest, "test", methods, tmp_path / "grid.png", rows=2)
    picture = read_image(tmp_path / "grid.png")
    visible, first, second = cells(picture, RED), cells(picture, GREEN), cells(picture, (*GREEN[:2], GREEN[2] + 1))
    assert len(visible) == len(first) == len(second) == 2
    assert [len(cells(picture, (100 + i,) * 3)) for i in range(3)] == [1, 0, 1]
    for row in range(2):
        boxes = [visible[row], first[row], second[row]]
        assert len({(box[0], box[2], box[3]) for box in boxes}) == 1, "same top, height and width"
        assert boxes[0][3] / boxes[0][2] == pytest.approx(50 / 30, rel=0.01), "proportions kept"
        assert boxes[0][1] < boxes[1][1] < boxes[2][1]
    assert (picture[0] == 255).all() and (picture[:, 0] == 255).all() and (picture[-1] == 255).all()
    assert (picture[:, -1] == 255).all()


def test_rows_are_spread_evenly_over_the_split(tmp_path: Path) -> None:
    manifest, methods = make(tmp_path, [f"{i:02}" for i in range(20)])
    draw_grid(manifest, "test", methods, tmp_path / "grid.png", rows=4)
    picture = read_image(tmp_path / "grid.png")
    assert [i for i in range(20) if cells(picture, (100 + i,) * 3)] == [2, 7, 12, 17]


def test_all_pairs_are_shown_if_there_are_fewer_than_rows(tmp_path: Path) -> None:
    manifest, methods = make(tmp_path, ["a", "b"])
    draw_grid(manifest, "test", methods, tmp_path / "grid.png", rows=9)
    assert len(cells(read_image(tmp_path / "grid.png"), RED)) == 2


def test_the_bytes_are_the_same_each_time(tmp_path: Path) -> None:
    manifest, methods = make(tmp_path, ["a", "b"])
    for name in ("1.png", "2.png"):
        draw_grid(manifest, "test", methods, tmp_path / name)
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


def test_many_columns_and_long_names_stay_inside(tmp_path: Path) -> None:
    manifest, methods = make(tmp_path, ["stem" * 60], methods=12)
    titled = [(f"a title that is much too long for its column {title}", index) for title, index in methods]
    draw_grid(manifest, "test", titled, tmp_path / "grid.png")
    picture = read_image(tmp_path / "grid.png")
    assert picture.shape[1] <= MAX_WIDTH
    boxes = cells(picture, RED)
    (top, left, _, width), *_ = boxes
    titles = (picture[: top - 40] < 128).any(axis=(0, 2))
    for column in range(14):
        gap = left + column * (width + 8) + width
        assert titles[gap - width : gap].any(), "every column has a title"
        assert not titles[gap + 1 : gap + 7].any(), "and it stays in its column"
    label = (picture[top - 34 : top] < 128).any(axis=(0, 2))
    assert label.any() and not label[-8:].any()


def test_images_of_another_shape_keep_their_proportions(tmp_path: Path) -> None:
    manifest, methods = make(tmp_path, ["a"])
    path = tmp_path / "fused0/0.png"
    write_image(path, np.full((100, 50, 3), GREEN, np.uint8))
    FusedIndex(methods[0][1], {"a": FusedImage("a", path, sha256(path), path, sha256(path))}).write()
    draw_grid(manifest, "test", methods, tmp_path / "grid.png")
    picture = read_image(tmp_path / "grid.png")
    (_, _, height, width), *_ = cells(picture, GREEN)
    assert height == 2 * width
    assert cells(picture, RED)[0][2:] == (round(width * 0.6), width)


def test_bad_input_is_refused(tmp_path: Path) -> None:
    manifest, methods = make(tmp_path, ["a"])
    out = tmp_path / "grid.png"
    with pytest.raises(UserError, match=r"manifest\.csv: expected pairs of split val, found none"):
        draw_grid(manifest, "val", methods, out)
    with pytest.raises(UserError, match="42 columns leave 48 pixels"):
        draw_grid(manifest, "test", methods * 40, out)
    (tmp_path / "fused0/0.png").write_bytes(b"changed")
    with pytest.raises(UserError, match=r"0\.png: differs from the checksum"):
        draw_grid(manifest, "test", methods, out)
    FusedIndex(methods[0][1], {}).write()
    with pytest.raises(UserError, match=r"index0\.csv: expected a fused image of a"):
        draw_grid(manifest, "test", methods, out)
    assert not out.exists()
