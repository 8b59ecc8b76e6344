"""A small renderer of triangle meshes with a depth buffer, for pictures that are exact and independent of splatting.

All triangles are tested at once: every (triangle, pixel of its bounding box) pair is one row of a long array, and the
nearest pair of each pixel wins by an atomic minimum. Dense meshes of small triangles make that a good bargain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

NEAREST_M = 0.05
"""Triangles with a corner nearer than this are not drawn."""


@dataclass(frozen=True)
class Visible:
    """What is seen: one row for each covered pixel of a picture of ``size`` x ``size``."""

    size: int
    pixels: Int[np.ndarray, " P"]
    """Row-major index."""
    triangles: Int[np.ndarray, " P"]
    weights: Float[np.ndarray, "P 3"]
    """Perspective-correct barycentric coordinates."""
    inverse_depth: Float[np.ndarray, " P"]

    def interpolate(
        self, triangles: Int[np.ndarray, "M 3"], values: Float[np.ndarray, "N channels"]
    ) -> Float[np.ndarray, "P channels"]:
        """Values of the vertices at the seen points."""
        a, b, c = (triangles[:, corner][self.triangles] for corner in range(3))
        result = np.take(values, a, axis=0) * self.weights[:, :1]
        result += np.take(values, b, axis=0) * self.weights[:, 1:2]
        result += np.take(values, c, axis=0) * self.weights[:, 2:]
        return result


def project(points: Float[np.ndarray, "N 3"], intrinsics: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "N 2"]:
    """Pixel coordinates of points in camera axes (x right, y down, z forward)."""
    return points[:, :2] / points[:, 2:] * intrinsics[[0, 1], [0, 1]] + intrinsics[:2, 2]


def rasterize(
    screen: Float[np.ndarray, "N 2"], depth: Float[np.ndarray, " N"], triangles: Int[np.ndarray, "M 3"], size: int
) -> Visible:
    """The nearest front-facing triangle at every pixel centre.

    ``screen`` holds pixel coordinates (x right, y down) and ``depth`` positive distances; a triangle faces the viewer
    when its corners run counter-clockwise as seen on the screen.
    """
    kept, doubled = _facing(screen, depth, triangles)
    corners = screen[triangles[kept]].astype(np.float64)
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    low = np.clip(np.ceil(np.minimum(np.minimum(a, b), c) - 0.5), 0, size).astype(np.int64)
    high = np.clip(np.floor(np.maximum(np.maximum(a, b), c) - 0.5) + 1, 0, size).astype(np.int64)
    # Coordinates relative to the bounding box keep the products small, so that neighbors leave no cracks.
    plane = _planes(corners - (low + 0.5)[:, None], 1.0 / depth[triangles[kept]].astype(np.float64), doubled)
    width, height = np.maximum(high - low, 0).T
    count = width * height
    owner = np.repeat(np.arange(len(kept), dtype=np.int32), count)
    within = np.arange(count.sum(), dtype=np.int32) - np.repeat((np.cumsum(count) - count).astype(np.int32), count)
    dy, dx = np.divmod(within, np.repeat(width.astype(np.int32), count))
    px, py = dx.astype(np.float32), dy.astype(np.float32)
    values = [np.take(x, owner) * px + np.take(y, owner) * py + np.take(one, owner) for x, y, one in plane]
    inside = np.flatnonzero((values[0] >= 0) & (values[1] >= 0) & (values[2] >= 0))
    owner = owner[inside]
    pixels = (low[owner, 1] + dy[inside]) * size + low[owner, 0] + dx[inside]
    return _nearest(pixels, np.stack([value[inside] for value in values], -1), kept[owner], size)


def _facing(screen, depth, triangles):
    """Indices of the triangles that face the viewer, and minus twice their areas on the screen."""
    (ax, ay), (bx, by), (cx, cy) = (screen[triangles[:, k]].T.astype(np.float64) for k in range(3))
    doubled = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    in_front = (depth > NEAREST_M)[triangles]
    kept = np.flatnonzero((doubled < -1e-9) & in_front[:, 0] & in_front[:, 1] & in_front[:, 2])
    return kept, doubled[kept]


def _planes(corners, inverse, doubled):
    """The affine functions (x, y, 1) -> barycentric weight over depth: [corner, coefficient, triangle]."""
    plane = np.empty((3, 3, len(corners)), np.float32)
    for k in range(3):
        (px, py), (qx, qy) = corners[:, (k + 1) % 3].T, corners[:, (k + 2) % 3].T
        scale = inverse[:, k] / doubled
        plane[k] = (py - qy) * scale, (qx - px) * scale, (px * qy - py * qx) * scale
    return plane


def _nearest(pixels, values, triangles, size) -> Visible:
    """Keep for every pixel the pair with the greatest inverse depth."""
    inverse_depth = values[:, 0] + values[:, 1] + values[:, 2]
    # Non-negative floats sort like their bits; the row number in the low half makes ties deterministic.
    key = (inverse_depth.view(np.int32).astype(np.int64) << 32) | np.arange(len(pixels))
    best = np.full(size * size, -1, np.int64)
    np.maximum.at(best, pixels, key)
    covered = np.flatnonzero(best >= 0)
    rows = best[covered] & 0xFFFFFFFF
    weights = values[rows] / inverse_depth[rows, None]
    return Visible(
        size=size, pixels=covered, triangles=triangles[rows], weights=weights, inverse_depth=inverse_depth[rows]
    )
