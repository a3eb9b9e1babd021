"""Are the two images of a pair clearly misregistered?

Modalities share edges, not levels, and an edge may be dark to bright in one and bright to dark in the other. So the
images are compared by the direction of their gradients at double angle, where opposite gradients agree (orientation
correlation, Fitch et al., BMVC 2002, and its squared form), with local contrast normalised. The cross-power spectrum is
half whitened, which lies between correlation and phase correlation. One shift must stand out against no shift and
against every other.

Of the 507 pairs of RoadScene, TNO, MEFB, MFFB and the three medical sets it reports one, savic_10 of MFFB, which is off
by 7 pixels of 210; of 1014 random parts of them only those of that pair. Shifts of 5, 10 and 20 % of the width in any
direction are found in 98, 98 and 77 % of the infrared-visible pairs, 96, 96 and 96 % of the multi-focus and
multi-exposure pairs, and 22, 25 and 18 % of the medical ones, whose edges agree least.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from decofuse.data.images import Float32, Pixels, luma

logger = logging.getLogger(__name__)

SIDE = 256  # longer side that is compared, in pixels: 192 and 128 tell fewer shifts
LEAST_SIDE = 32  # shorter side, at that scale, below which too few edges overlap to tell anything
REACH = 0.5  # largest shift looked for, as a share of each side: beyond it less than half of that side overlaps
CLEAR = 0.03  # shift that matters, as a share of the width: below it, it cannot be told from parallax and blur
SPREAD = 0.02  # half the width of a peak, as a share of the image's width: how far parallax smears one shift
# How many times higher than at no shift and at every other one the correlation must be. Registered pairs of the public
# sets, and random parts of them, reach 1.47.
DOMINANCE = 1.6
NEIGHBOURHOOD = 8.0  # deviation of the Gaussian that local contrast is taken over, in pixels at SIDE
FLOOR = 0.05  # contrast that is not raised further, as a share of the mean gradient energy: it would be noise
FLAT = 1e-5  # range of luma, below one level of 16 bits, that is rounding and not an image
TINY = float(np.finfo(np.float32).tiny)  # keeps flat parts from dividing by 0

Complex64 = NDArray[np.complex64]


@dataclass(frozen=True)
class Displacement:
    """What lies at (x, y) in the first image lies at (x + dx, y + dy) in the second.

    Attributes:
        dx: Columns, positive to the right [pixels of the full image].
        dy: Rows, positive downwards [pixels of the full image].
        dominance: How many times higher the correlation is there than at any other shift; at least DOMINANCE.
    """

    dx: float
    dy: float
    dominance: float


def displacement(source_a: Pixels, source_b: Pixels) -> Displacement | None:
    """The shift of the second image against the first if the two are clearly misregistered, else None.

    None does not vouch for registration: shifts below CLEAR or beyond REACH, rotation, and modalities with little
    structure in common pass. So do images of two scenes, which nothing tells from these.

    Args:
        source_a: H×W (grey) or H×W×3 (RGB), uint8 or uint16.
        source_b: image of the same size.

    Raises:
        ValueError: the sizes differ.
    """
    if source_a.shape[:2] != source_b.shape[:2]:
        raise ValueError(f"expected images of one size, got {source_a.shape[:2]} and {source_b.shape[:2]}")
    small = [_shrunk(source) for source in (source_a, source_b)]
    height, width = small[0].shape
    if min(height, width) < LEAST_SIDE or min(np.ptp(image) for image in small) < FLAT:
        return None
    x, y, dominance = _peak(_correlation(*(_edges(image) for image in small)), max(2, round(SPREAD * width)))
    if np.hypot(x, y) < CLEAR * width or dominance < DOMINANCE:
        return None
    full_height, full_width = source_a.shape[:2]
    return Displacement(x * full_width / width, y * full_height / height, dominance)


def warn_if_displaced(paths: tuple[Path, Path], images: tuple[Pixels, Pixels]) -> None:
    """Log one warning if two images are clearly misregistered; see `displacement`.

    Args:
        paths: where they come from.
        images: first and second source.
    """
    moved = displacement(*images)
    if moved is not None:
        logger.warning(
            "%s: seems displaced against %s by %+.0f pixels across and %+.0f down; register the two first",
            paths[1],
            paths[0],
            moved.dx,
            moved.dy,
        )


def _shrunk(source: Pixels) -> Float32:
    """Luma H×W in [0, 1], the longer side at most SIDE."""
    height, width = source.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return luma(np.asarray(cv2.resize(source, size, interpolation=cv2.INTER_AREA), source.dtype))


def _edges(image: Float32) -> Complex64:
    """Gradients of an H×W image as complex numbers of double angle, of about equal strength all over the image."""
    smooth = cv2.GaussianBlur(image, (0, 0), 1.0)
    gradient = cv2.Sobel(smooth, cv2.CV_32F, 1, 0) + 1j * cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    energy = np.abs(gradient) ** 2
    local = cv2.GaussianBlur(energy, (0, 0), NEIGHBOURHOOD) + np.float32(FLOOR) * energy.mean()
    doubled: Complex64 = gradient**2 / np.maximum(np.sqrt(energy * local), TINY)
    return doubled


def _correlation(edges_a: Complex64, edges_b: Complex64) -> Float32:
    """Correlation at every shift of up to REACH, rows and columns; no shift is in the middle."""
    height, width = edges_a.shape
    reach_y, reach_x = int(height * REACH), int(width * REACH)
    size = (cv2.getOptimalDFTSize(height + reach_y), cv2.getOptimalDFTSize(width + reach_x))  # no shift wraps around
    spectrum = np.conj(np.fft.fft2(edges_a, s=size)) * np.fft.fft2(edges_b, s=size)
    strength = np.abs(spectrum)
    spectrum /= np.sqrt(strength + np.float32(0.1) * strength.mean())
    rows, columns = np.arange(-reach_y, reach_y + 1), np.arange(-reach_x, reach_x + 1)
    scores = np.fft.ifft2(spectrum).real[np.ix_(rows % size[0], columns % size[1])]
    # what chance adds up to grows with the root of the overlap
    overlap = np.outer(1 - np.abs(rows) / height, 1 - np.abs(columns) / width)
    return (scores / np.sqrt(overlap)).astype(np.float32)


def _peak(scores: Float32, spread: int) -> tuple[int, int, float]:
    """The shift of highest score, in columns and rows, and by what factor it exceeds no shift and every other one."""
    middle = (scores.shape[0] // 2, scores.shape[1] // 2)
    row, column = divmod(int(scores.argmax()), scores.shape[1])
    peak, unmoved = float(scores[row, column]), float(scores[_around(middle, spread)].max())
    others = scores.copy()
    others[_around((row, column), 2 * spread)] = 0
    return column - middle[1], row - middle[0], peak / max(unmoved, float(others.max()), TINY)


def _around(centre: tuple[int, int], distance: int) -> tuple[slice, slice]:
    row, column = centre
    return (
        slice(max(0, row - distance), row + distance + 1),
        slice(max(0, column - distance), column + distance + 1),
    )
