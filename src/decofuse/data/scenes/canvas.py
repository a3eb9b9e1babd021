"""The picture in the making, and anti-aliased sprites that are painted onto it.

Everything is painted once, far to near, into visible radiance, infrared temperature and label together: this is what
keeps the three registered.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from decofuse.data.images import Float32, UInt8
from decofuse.data.scenes.view import Points

SHIFT = 4  # binary digits after the point in OpenCV's drawing coordinates


@dataclass
class Layer:
    """Something to paint: a box of the image, how much it covers each pixel, and what it looks like.

    Attributes:
        top: first row of the box.
        left: first column of the box.
        cover: H×W coverage in [0, 1].
        surface: H×W×4 (linear RGB radiance, temperature in °C), multiplied by the coverage.
    """

    top: int
    left: int
    cover: Float32
    surface: Float32

    def shade(self, factor: Float32) -> None:
        """Multiply the radiance by an H×W factor."""
        self.surface[..., :3] *= factor[..., None]

    def heat(self, difference: Float32) -> None:
        """Add an H×W temperature difference [°C]."""
        self.surface[..., 3] += self.cover * difference


class Canvas:
    """Linear RGB radiance and temperature (H×W×4 float32), and class indices (H×W uint8)."""

    def __init__(self, height: int, width: int) -> None:
        self.surface: Float32 = np.zeros((height, width, 4), np.float32)
        self.label: UInt8 = np.zeros((height, width), np.uint8)

    def paint(self, layer: Layer, label: int = 0, silhouette: Float32 | None = None) -> None:
        """Put a layer in front of what is there.

        Args:
            layer: lies wholly within the image.
            label: class index of what is painted, where it covers at least half a pixel.
            silhouette: coverage for the label, where it differs from the layer's (spokes fill a wheel's disc).
        """
        height, width = layer.cover.shape
        box = np.s_[layer.top : layer.top + height, layer.left : layer.left + width]
        region = self.surface[box]
        region *= (1 - layer.cover)[..., None]
        region += layer.surface
        solid = (layer.cover if silhouette is None else silhouette) >= 0.5
        self.label[box][solid] = label


class Sprite:
    """A supersampled map of part numbers over a box of the image; part 0 is empty."""

    def __init__(self, height: int, width: int, outline: ArrayLike, margin: float = 2.0) -> None:
        """Cover the bounding box of an outline, as far as it lies in the image.

        Args:
            height: of the image.
            width: of the image.
            outline: N×2 (column, row).
            margin: added on all sides [pixels].
        """
        low = np.floor(np.min(outline, axis=0) - margin).astype(int)
        high = np.ceil(np.max(outline, axis=0) + margin).astype(int)
        self.left, self.top = (int(v) for v in np.clip(low, 0, (width, height)))
        right, bottom = (int(v) for v in np.clip(high, 0, (width, height)))
        self.height, self.width = max(0, bottom - self.top), max(0, right - self.left)
        self.factor = int(np.clip(np.ceil(240 / max(self.height, self.width, 1)), 2, 6))
        self.parts = np.zeros((self.height * self.factor, self.width * self.factor), np.int16)

    @property
    def empty(self) -> bool:
        """Whether the box lies outside the image."""
        return self.parts.size == 0

    def polygon(self, points: Points, part: int) -> None:
        """Fill an N×2 polygon (column, row)."""
        cv2.fillPoly(self.parts, [self._fixed(points)], part, shift=SHIFT)

    def convex(self, points: Points, part: int) -> None:
        """Fill a convex N×2 polygon (column, row)."""
        cv2.fillConvexPoly(self.parts, self._fixed(points), part, shift=SHIFT)

    def stroke(self, points: Points, thickness: float, part: int, closed: bool = False) -> None:
        """Draw an N×2 polyline (column, row) of a thickness in pixels."""
        width = max(1, round(thickness * self.factor))
        cv2.polylines(self.parts, [self._fixed(points)], closed, part, width, shift=SHIFT)

    def coverage(self) -> Float32:
        """How much of each pixel is covered by any part; H×W in [0, 1]."""
        return self._shrink((self.parts > 0).astype(np.float32))

    def resolve(self, table: Float32) -> Layer:
        """Look the parts up in a P×4 table (radiance, temperature; row p - 1 is part p) and average over pixels."""
        rows = np.zeros((len(table) + 1, 5), np.float32)
        rows[1:, :4] = table
        rows[1:, 4] = 1
        drawn = self._shrink(rows[self.parts])
        return Layer(self.top, self.left, np.ascontiguousarray(drawn[..., 4]), np.ascontiguousarray(drawn[..., :4]))

    def _fixed(self, points: Points) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        fine = (points - (self.left, self.top) + 0.5) * self.factor - 0.5
        return np.rint(np.clip(fine, -30000, 30000) * (1 << SHIFT)).astype(np.int32)

    def _shrink(self, fine: Float32) -> Float32:
        size = (self.width, self.height)
        return np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA), np.float32)


def mask(height: int, width: int, polygons: list[Points]) -> Float32:
    """Anti-aliased coverage of the whole image by polygons (N×2 column, row); H×W in [0, 1]."""
    drawn = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        if len(polygon) >= 3:
            fixed = np.rint(np.clip(polygon, -30000, 30000) * (1 << SHIFT)).astype(np.int32)
            cv2.fillPoly(drawn, [fixed], 255, cv2.LINE_AA, shift=SHIFT)
    return drawn.astype(np.float32) / np.float32(255)
