"""A picture for a person to look at: sources and fused images of a few pairs, side by side."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from decofuse.data.images import UInt8, read_image, write_image
from decofuse.data.manifest import Manifest
from decofuse.errors import UserError
from decofuse.fusing.index import FusedIndex

MAX_WIDTH = 2400  # of the whole picture [pixels]

_CELL_WIDTH = 400  # of an image, if the columns leave room [pixels]
GAP = 8
_FONT_SIZE = 22
_SMALLEST_FONT_SIZE = 11
LINE = 34  # height of a line of text [pixels]


def draw_grid(manifest_path: Path, split: str, methods: Sequence[tuple[str, Path]], out: Path, rows: int = 4) -> None:
    """Write a PNG with a row a pair, labelled by its stem, and a column a source, then a method.

    The pairs are spread evenly over the split in manifest order, so that the same split always gives the same rows.
    Images keep their proportions and are scaled to one width; the same input gives the same bytes.

    Args:
        manifest_path: the dataset.
        split: where the pairs are taken from.
        methods: title and index of fused images of each method.
        out: where the PNG goes.
        rows: number of pairs; all of them if the split has fewer.

    Raises:
        UserError: the split has no pairs; a file is missing, changed or no image; too many columns.
    """
    manifest = Manifest.read(manifest_path)
    pairs = manifest.split(split)
    if not pairs:
        raise UserError(f"{manifest_path}: expected pairs of split {split}, found none; choose another split")
    indices = [FusedIndex.read(path) for _, path in methods]
    titles = [*manifest.sources, *(title for title, _ in methods)]
    width = cell_width(len(titles))
    strips = [title_strip(titles, width)]
    for i in spread(len(pairs), rows):
        pair = pairs[i]
        paths = [pair.path(source) for source in manifest.sources]
        paths += [index.image(pair.stem).fused_path() for index in indices]
        strips.append(image_strip(pair.stem, [scaled(read_image(path), width) for path in paths]))
    write_image(out, np.concatenate(strips))


def spread(count: int, rows: int) -> list[int]:
    """`rows` numbers below `count`, in the middles of equal parts; all numbers if there are fewer."""
    rows = min(rows, count)
    return [(2 * i + 1) * count // (2 * rows) for i in range(rows)]


def cell_width(columns: int) -> int:
    """Width of an image, with this many beside each other [pixels].

    Raises:
        UserError: too many.
    """
    width = (MAX_WIDTH - GAP) // columns - GAP
    if width < 64:
        raise UserError(f"{columns} columns leave {width} pixels for an image of the grid; show fewer methods")
    return min(width, _CELL_WIDTH)


def scaled(pixels: UInt8, width: int) -> UInt8:
    """RGB of the given width, proportions kept."""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    height = max(1, round(pixels.shape[0] * width / pixels.shape[1]))
    method = cv2.INTER_AREA if width < pixels.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method), dtype=np.uint8)


def title_strip(titles: Sequence[str], width: int) -> UInt8:
    """A line with a title above each column, H×W×3."""
    strip = Image.new("RGB", (GAP + len(titles) * (width + GAP), GAP + LINE), "white")
    draw = ImageDraw.Draw(strip)
    for column, title in enumerate(titles):
        middle = GAP + column * (width + GAP) + width / 2
        draw.text((middle, GAP + LINE / 2), *fitted(title, width), anchor="mm")
    return np.asarray(strip)


def image_strip(label: str, images: Sequence[UInt8]) -> UInt8:
    """The images beside each other, tops aligned, below a line with the label."""
    width, height = images[0].shape[1], max(image.shape[0] for image in images)
    total = GAP + len(images) * (width + GAP)
    strip = Image.new("RGB", (total, LINE + height + GAP), "white")
    ImageDraw.Draw(strip).text((GAP, LINE / 2), *fitted(label, total - 2 * GAP), anchor="lm")
    for column, image in enumerate(images):
        strip.paste(Image.fromarray(image), (GAP + column * (width + GAP), LINE))
    return np.asarray(strip)


def fitted(text: str, width: int) -> tuple[str, str, ImageFont.FreeTypeFont]:
    """Text, colour and font that stay within `width`: a smaller font first, then an ellipsis."""
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    font = ImageFont.truetype(str(file), _FONT_SIZE)
    while font.getlength(text) > width and font.size > _SMALLEST_FONT_SIZE:
        font = font.font_variant(size=font.size - 1)
    shown = text
    while font.getlength(shown) > width:
        text = text[:-1]
        shown = f"{text}…"
    return shown, "black", font
