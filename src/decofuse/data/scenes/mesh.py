"""Solid things made of flat faces, shaded one by one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Faces = NDArray[np.float64]


@dataclass(frozen=True)
class Mesh:
    """Quadrilaterals with outward normals, in metres.

    Attributes:
        corners: N×4×3.
        normals: N×3, unit length.
        material: N indices into whatever table the painter keeps.
        rank: N; faces of a higher rank lie on top of all of a lower one (a lamp on the body).
    """

    corners: Faces
    normals: Faces
    material: NDArray[np.int64]
    rank: NDArray[np.int64]

    def placed(self, across: float, base: float, ahead: float, yaw: float) -> "Mesh":
        """Turn by `yaw` and move to a place."""
        return Mesh(
            turned(self.corners, yaw) + (across, base, ahead), turned(self.normals, yaw), self.material, self.rank
        )

    def visible(self, eye: float) -> NDArray[np.int64]:
        """Indices of the faces that the camera at height `eye` sees, in painting order: by rank, then far to near."""
        centres = self.corners.mean(axis=1)
        towards = np.array([0.0, eye, 0.0]) - centres
        facing = np.flatnonzero(np.sum(self.normals * towards, axis=1) > 0)
        distance = np.sum(towards * towards, axis=1)
        order = facing[np.lexsort((-distance[facing], self.rank[facing]))]
        return np.asarray(order, np.int64)


def turned(vectors: Faces, yaw: float) -> Faces:
    """Turn (..., 3) vectors about the vertical; yaw 0 keeps z ahead, a positive one turns it to the right."""
    sine, cosine = np.sin(yaw), np.cos(yaw)
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.stack([x * cosine + z * sine, y, z * cosine - x * sine], axis=-1)


def mesh(parts: list[tuple[Faces, int, int]]) -> Mesh:
    """Collect parts, each convex: (faces N×4×3, material, rank); normals point away from their part's middle.

    A part of a single plane has no inside; its normals point away from the mesh's middle.
    """
    corners = np.concatenate([faces for faces, _, _ in parts])
    middles = np.concatenate([np.broadcast_to(_middle(faces, corners), (len(faces), 3)) for faces, _, _ in parts])
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    outwards = np.sum(normals * (corners.mean(axis=1) - middles), axis=1, keepdims=True)
    material = np.repeat([kind for _, kind, _ in parts], [len(faces) for faces, _, _ in parts])
    rank = np.repeat([order for _, _, order in parts], [len(faces) for faces, _, _ in parts])
    return Mesh(corners, np.where(outwards < 0, -normals, normals), material, rank)


def _middle(faces: Faces, everything: Faces) -> Faces:
    flat = np.ptp(faces.reshape(-1, 3), axis=0).min() < 1e-9
    corners = (everything if flat else faces).reshape(-1, 3)
    return np.asarray((corners.min(axis=0) + corners.max(axis=0)) / 2)


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> Faces:
    """The six sides of a box, 6×4×3."""
    x0, y0, z0 = low
    x1, y1, z1 = high
    return np.array(
        [
            [(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0)],
            [(x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)],
            [(x0, y0, z0), (x0, y0, z1), (x0, y1, z1), (x0, y1, z0)],
            [(x1, y0, z0), (x1, y0, z1), (x1, y1, z1), (x1, y1, z0)],
            [(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)],
            [(x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)],
        ]
    )
