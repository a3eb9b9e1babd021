"""The pinhole camera, and road coordinates.

Road coordinates are (across, up, ahead) in metres: `across` is counted from the camera's path, to the right, `up` from
the road's surface, `ahead` along the road. The road bends: what is `ahead` by z is displaced to the right by bend·z².
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from decofuse.data.images import Float32

NEAR = 1.2  # the closest that anything is drawn [metres]

Points = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """Where the camera looks from; the optical axis is level, so upright things stay upright."""

    height: int
    width: int
    focal: float  # [pixels]
    horizon: float  # row of the horizon [pixels]
    centre: float  # column straight ahead [pixels]
    eye: float  # height of the camera above the road [metres]
    bend: float  # curvature of the road [1/metres]

    @property
    def unit(self) -> float:
        """Pixels of this image to one pixel of a 480×640 image."""
        return max(self.height / 480, self.width / 640)

    def project(self, points: ArrayLike) -> Points:
        """Project N×3 road coordinates to N×2 (column, row); points nearer than NEAR are moved to it."""
        across, up, ahead = np.asarray(points, dtype=np.float64).reshape(-1, 3).T
        ahead = np.maximum(ahead, NEAR)
        scale = self.focal / ahead
        column = self.centre + (across + self.bend * ahead * ahead) * scale
        return np.stack([column, self.horizon + (self.eye - up) * scale], axis=1)

    def project_ground(self, polygon: ArrayLike) -> Points:
        """Project an N×2 polygon (across, ahead) that lies on the road, cut off at NEAR."""
        cut = _clip_near(np.asarray(polygon, dtype=np.float64).reshape(-1, 2))
        return self.project(np.stack([cut[:, 0], np.zeros(len(cut)), cut[:, 1]], axis=1))

    def scale(self, ahead: float) -> float:
        """Pixels to a metre at distance `ahead`."""
        return self.focal / max(ahead, NEAR)

    def towards_camera(self, point: ArrayLike) -> Points:
        """Vectors from N×3 points to the camera, not normalised (the bend is neglected, as in all shading)."""
        vectors: Points = np.array([0.0, self.eye, 0.0]) - np.asarray(point, dtype=np.float64)
        return vectors


def _clip_near(polygon: Points) -> Points:
    """Cut a polygon (across, ahead) at ahead = NEAR (Sutherland and Hodgman's rule for one plane)."""
    kept = []
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if start[1] >= NEAR:
            kept.append(start)
        if (start[1] >= NEAR) != (end[1] >= NEAR):
            kept.append(start + (end - start) * (NEAR - start[1]) / (end[1] - start[1]))
    return np.array(kept).reshape(-1, 2)


def rows_of_ground(view: View) -> tuple[int, Float32]:
    """The first image row below the horizon, and the distance [metres] of the road in each row from there on."""
    first = max(0, int(np.floor(view.horizon)) + 1)
    below = np.arange(first, view.height, dtype=np.float32) - np.float32(view.horizon)
    return first, np.float32(view.focal * view.eye) / np.maximum(below, np.float32(0.25))
