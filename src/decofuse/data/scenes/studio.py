"""What every painter needs: the camera, the light, the canvas and textures."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import ArrayLike

from decofuse.data.images import Float32
from decofuse.data.scenes import noise
from decofuse.data.scenes.canvas import Canvas, Layer, Sprite
from decofuse.data.scenes.view import Points, View
from decofuse.data.scenes.weather import Vectors, Weather


@dataclass
class Studio:
    """The state of one scene's painting.

    Attributes:
        view: the camera.
        weather: light, temperatures, haze.
        canvas: what is painted on.
        soft: a noise tile with broad structure (clouds, stains).
        grain: a noise tile with fine structure (asphalt, leaves).
        sunlit: share of the sun on the ground as seen in each pixel, H×W; buildings and trees cast the shadows.
        ground: radiance of a white surface on the ground as seen in each pixel, H×W×3.
    """

    view: View
    weather: Weather
    canvas: Canvas
    soft: Float32
    grain: Float32
    sunlit: Float32 = field(default_factory=lambda: np.ones((1, 1), np.float32))
    ground: Float32 = field(default_factory=lambda: np.ones((1, 1, 3), np.float32))

    def lit(self, across: float, ahead: float) -> float:
        """Share of the sun that reaches a thing standing at a place."""
        column, row = np.rint(self.view.project([(across, 0.0, ahead)])[0]).astype(int)
        height, width = self.sunlit.shape
        return float(self.sunlit[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)])

    def glow(self, points: ArrayLike, normals: ArrayLike, lit: ArrayLike = 1.0) -> Vectors:
        """Light on N×3 points with N×3 normals, as N×3 radiance of a white surface."""
        return self.weather.light.irradiance(points, normals, lit)

    def upright(self, across: float, up: float, ahead: float) -> Vectors:
        """Light on an upright thing at a place, averaged over the sides that the camera sees; 3 values."""
        point = np.array([(across, up, ahead)] * 3)
        normals = np.array([(0.0, 0.0, -1.0), (-0.7, 0.15, -0.7), (0.7, 0.15, -0.7)])
        mean: Vectors = self.glow(point, normals, self.lit(across, ahead)).mean(axis=0)
        return mean

    def mirror(self, normal_up: ArrayLike) -> Vectors:
        """Radiance that a glossy surface mirrors: sky from above, the dim street from the side; N×3."""
        up = np.clip(np.asarray(normal_up, np.float64), -0.2, 1)[:, None]
        blend: Vectors = np.array(self.weather.light.sky) * (0.25 + 0.75 * np.clip(up, 0, 1))
        return blend

    def through_haze(self, radiance: ArrayLike, distance: ArrayLike) -> Float32:
        """Radiance (..., 3) as it arrives from a distance [metres] (..., 1)."""
        share = np.exp(np.float32(-self.weather.haze) * np.asarray(distance, np.float32))
        arrived: Float32 = np.asarray(radiance, np.float32) * share
        arrived += np.array(self.weather.skyline, np.float32) * (1 - share)
        return arrived

    def table(self, radiance: ArrayLike, temperature: ArrayLike, distance: float) -> Float32:
        """A part table for `Sprite.resolve` from P×3 radiance at the thing, and P temperatures."""
        seen = self.through_haze(radiance, distance)
        return np.concatenate([seen, np.reshape(temperature, (-1, 1))], axis=1).astype(np.float32)

    def sprite(self, outline: Points, margin: float = 2.0) -> Sprite:
        """A sprite over the bounding box of an outline."""
        return Sprite(self.view.height, self.view.width, outline, margin)

    def texture(self, tile: Float32, seed: int, like: Float32, extent: float) -> Float32:
        """A piece of a noise tile as large as `like` (H×W), whose longer side spans `extent` tile pixels."""
        height, width = like.shape
        return noise.patch(tile, noise.generator(seed), height, width, extent)


def relief(layer: Layer, strength: float, light_from: float, sigma: float) -> Float32:
    """Shading that makes a flat silhouette look round.

    Args:
        layer: the silhouette.
        strength: amplitude of the shading.
        light_from: where the light comes from: -1 left, 1 right, 0 the camera.
        sigma: how far the rounding reaches inwards [pixels].
    """
    height = cv2.GaussianBlur(layer.cover, (0, 0), sigma)
    slope = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3) * np.float32(sigma / 3)
    shading: Float32 = 1 - np.float32(strength) * (slope * np.float32(light_from) + 0.6 * np.abs(slope))
    return np.clip(shading, 0.2, 2.0).astype(np.float32)
