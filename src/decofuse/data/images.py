"""Reading and writing images, by one set of rules.

- grey, RGB and 16-bit images are read as they are; an alpha channel is dropped; a palette is expanded to RGB;
- an RGB image whose three channels are equal is a grey image;
- 16 bits become 8 by dividing the full range by 257, rounded to nearest, unless the depth is to be kept;
- rotation flags in metadata are ignored: the two sources of a pair are registered as stored;
- label maps are single-channel 8-bit (or palette) images whose values are class indices, kept as stored.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from decofuse.errors import UserError
from decofuse.files import atomic

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
DEEP_SUFFIXES = (".png", ".tif", ".tiff")  # of which files can hold 16 bits
MAX_PIXELS = 200_000_000  # a decompression bomb is refused before it is decoded

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Pixels = NDArray[np.unsignedinteger[Any]]  # of 8 or 16 bits
P = TypeVar("P", bound=np.unsignedinteger[Any])


@dataclass(frozen=True)
class ImageInfo:
    """Size and number of channels (1 or 3, after the module's rules) of an image file."""

    height: int
    width: int
    channels: int


def inspect_image(path: Path) -> ImageInfo:
    """Decode `path` completely and strictly, and say what it holds.

    Raises:
        UserError: the file is no image, is cut off, is corrupt, or is larger than MAX_PIXELS.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(
                    f"{path}: {image.width}x{image.height} pixels, at most {MAX_PIXELS} are accepted; shrink it"
                )
            image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: expected a readable image, found {_reason(error)}; replace the file") from error
    pixels = read_image(path)
    return ImageInfo(pixels.shape[0], pixels.shape[1], 1 if pixels.ndim == 2 else 3)


def read_image(path: Path) -> UInt8:
    """Read an image as uint8: H×W if grey, H×W×3 in RGB order if colour, range [0, 255].

    Raises:
        UserError: the file is missing or is no image that OpenCV can decode.
    """
    pixels = read_pixels(path)
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return pixels.astype(np.uint8, copy=False)


def read_pixels(path: Path) -> Pixels:
    """Read an image at its own depth, as uint8 or uint16: H×W if grey, H×W×3 in RGB order if colour.

    Raises:
        UserError: the file is missing, is no image that OpenCV can decode, or has another depth.
    """
    pixels = _decode(path)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = pixels[..., :-1]
    if pixels.ndim == 3:
        first = pixels[..., 0]
        grey = all(np.array_equal(first, pixels[..., i]) for i in range(1, pixels.shape[2]))
        pixels = first if grey else pixels[..., ::-1]
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{path}: expected 8 or 16 bits a channel, found {pixels.dtype}; convert it to 8-bit PNG")
    return np.ascontiguousarray(pixels)


def read_label(path: Path) -> UInt8:
    """Read a label map as H×W uint8 class indices; a palette image gives its indices, not its colours.

    Raises:
        UserError: the file is unreadable, or is neither single-channel 8-bit nor palette.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P"):
                raise UserError(
                    f"{path}: expected a single-channel 8-bit or palette label map, found mode {image.mode}; "
                    "save class indices"
                )
            return np.array(image, dtype=np.uint8)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: expected a readable label map, found {_reason(error)}; replace the file") from error


def write_image(path: Path, pixels: Pixels) -> None:
    """Write an H×W or H×W×3 (RGB) uint8 or uint16 image atomically; the suffix chooses the format.

    Raises:
        UserError: it cannot be written, or the format has no 16 bits.
    """
    if pixels.dtype == np.uint16 and path.suffix.lower() not in DEEP_SUFFIXES:
        raise UserError(f"{path}: expected a format with 16 bits ({', '.join(DEEP_SUFFIXES)}); choose one of these")
    with atomic(path) as temporary:
        stored = pixels if pixels.ndim == 2 else pixels[..., ::-1]
        if not cv2.imwrite(str(temporary), stored):
            raise UserError(f"{path}: could not be written; check the suffix and the free space")


def full_scale(pixels: Pixels) -> int:
    """The largest level of the image's depth: 255 or 65535."""
    return int(np.iinfo(pixels.dtype).max)


def luma(pixels: Pixels) -> Float32:
    """Luma Y of an image as H×W float32 in [0, 1]: grey / 255, or 0.299 R + 0.587 G + 0.114 B of RGB / 255.

    16 bits are divided by 65535. The order of operations (divide, then weigh, in float32) is the one of CDDFuse's
    preprocessing.
    """
    scaled = pixels.astype(np.float32) / np.float32(full_scale(pixels))
    if scaled.ndim == 2:
        return scaled
    red, green, blue = scaled[..., 0], scaled[..., 1], scaled[..., 2]
    weighted: Float32 = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    return weighted


def grey_levels(pixels: NDArray[P]) -> NDArray[P]:
    """Grey levels as the evaluation code reads them: luma in levels of the depth, rounded, ties to even; H×W."""
    if pixels.ndim == 2:
        return pixels
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    levels: NDArray[P] = np.rint(pixels.astype(np.float32) @ weights).astype(pixels.dtype)
    return levels


def _decode(path: Path) -> NDArray[np.generic]:
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UserError(f"{path}: expected an image, found {error.strerror}; check the path") from error
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if pixels is None:
        raise UserError(f"{path}: expected a readable image, found {data.size} bytes that do not decode; replace it")
    return pixels


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "a file in no known image format"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return str(error).replace("\n", " ") or type(error).__name__
