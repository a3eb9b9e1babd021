"""How the pixels of a patch become an HDF5 chunk and back, without loss.

Luma of a colour image is no 8-bit number, so the file keeps R, G and B as uint8, and luma is computed on reading, bit
for bit that of the image. Two reversible differences, modulo 256, make the pixels small: the planes are R - G, G,
B - G, and of each run of ROWS rows all but the first are stored as the difference to the row above. Bitshuffle with LZ4
then packs them: their high bits are mostly equal. A run is short so that all runs of a batch are undone by a few
operations on whole arrays.
"""

import cv2
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from decofuse.data.images import Float32, UInt8, luma

ROWS = 16
FILTER = hdf5plugin.Bitshuffle(cname="lz4")


def encode(patch: UInt8, channels: int) -> UInt8:
    """The planes to store, `channels` (1 or 3)×P×P, of a P×P or P×P×3 (RGB) patch.

    A grey patch takes part in a colour source as G with zero differences, which cost next to nothing.
    """
    if patch.ndim == 3:
        planes: UInt8 = np.stack(cv2.split(patch))
        planes[0] -= planes[1]
        planes[2] -= planes[1]
    else:
        planes = np.zeros((channels, *patch.shape), np.uint8)
        planes[channels // 2] = patch
    stored = planes.copy()
    stored[:, 1:] -= planes[:, :-1]
    stored[:, ::ROWS] = planes[:, ::ROWS]
    return stored


def decode(planes: UInt8) -> None:
    """Turn stored planes, N×C×P×P uint8, into pixels in place: grey if C is 1, RGB if C is 3."""
    last = planes.shape[2] - 1
    for row in range(1, ROWS):
        planes[:, :, row::ROWS] += planes[:, :, row - 1 : last : ROWS]
    if planes.shape[1] == 3:
        planes[:, 0] += planes[:, 1]
        planes[:, 2] += planes[:, 1]


def planar_luma(pixels: UInt8, grey: NDArray[np.bool_]) -> Float32:
    """Luma of patches, N×1×P×P float32 in [0, 1], equal bit for bit to `decofuse.data.images.luma` of their images.

    Args:
        pixels: N×1×P×P, or N×3×P×P in RGB order, uint8.
        grey: N flags: the image was grey, so its luma is the level / 255 (the weighted sum rounds otherwise).
    """
    if pixels.shape[1] == 1:
        return _grey_luma(pixels)
    values = luma(np.moveaxis(pixels, 1, -1))[:, None]
    if grey.any():
        values[grey] = _grey_luma(pixels[grey, 1:2])
    return values


def _grey_luma(pixels: UInt8) -> Float32:
    return luma(pixels.reshape(-1, pixels.shape[-1])).reshape(pixels.shape)
