"""Triangle meshes of the synthetic person: parts, grids, smooth normals, Loop subdivision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from talksplat.frame import Label


@dataclass(frozen=True)
class Part:
    """One piece of the person at rest, in the canonical face's axes: centimetres, x right, y up, z to the viewer.

    Triangles are wound so that their normals, by the right-hand rule, point out of the visible side.
    """

    vertices: Float[np.ndarray, "N 3"]
    triangles: Int[np.ndarray, "M 3"]
    texture: Float[np.ndarray, "N 2"]
    """Place of every vertex in the page's picture, 0 to 1, v down."""
    page: str
    """Name of the picture that paints it."""
    labels: Int[np.ndarray, " M"]
    """:class:`Label` of every triangle."""
    gloss: float = 0.0
    """Strength of the highlight."""
    sharpness: float = 20.0
    """Exponent of the highlight."""

    @staticmethod
    def uniform(triangles: Int[np.ndarray, "M 3"], label: Label) -> Int[np.ndarray, " M"]:
        """The same label for every triangle."""
        return np.full(len(triangles), int(label))


def grid_triangles(rows: int, columns: int, *, closed: bool = False) -> Int[np.ndarray, "M 3"]:
    """Triangles of a grid of vertices, row by row; ``closed`` joins the last column to the first.

    They face the side from which columns run to the right and rows run down.
    """
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    right = (column + 1) % columns
    a, b = row * columns + column, row * columns + right
    c, d = a + columns, b + columns
    return np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])


class NormalField:
    """Smooth vertex normals of a fixed topology: the sum of the area normals of the triangles around a vertex."""

    def __init__(self, triangles: Int[np.ndarray, "M 3"], vertices: int) -> None:
        from scipy.sparse import csr_matrix

        rows = triangles.T.reshape(-1)
        columns = np.tile(np.arange(len(triangles)), 3)
        ones = np.ones(len(rows), np.float32)
        self._triangles = triangles
        self._incidence = csr_matrix((ones, (rows, columns)), shape=(vertices, len(triangles)))

    def __call__(self, vertices: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """Unit normals."""
        a, b, c = (vertices[self._triangles[:, corner]] for corner in range(3))
        summed = self._incidence @ cross(b - a, c - a)
        return summed / np.maximum(np.sqrt(np.einsum("ij,ij->i", summed, summed))[:, None], 1e-12)


def cross(a: Float[np.ndarray, "N 3"], b: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """Cross product of rows (several times faster than numpy's)."""
    (ax, ay, az), (bx, by, bz) = a.T, b.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -1)


@dataclass(frozen=True)
class Subdivision:
    """A refined topology and how its vertices follow from the coarse ones."""

    triangles: Int[np.ndarray, "M 3"]
    parents: Int[np.ndarray, " M"]
    """Coarse triangle of every fine one."""
    weights: Float[np.ndarray, "fine coarse"]
    """Fine vertices are weights @ coarse vertices; the first rows are the coarse vertices themselves, exactly."""


def interpolating_subdivision(
    triangles: Int[np.ndarray, "M 3"], vertices: int, corners: Sequence[int], levels: int = 2
) -> Subdivision:
    """Loop's subdivision (Loop 1987; boundary rules of Hoppe et al. 1994) made to pass through the coarse vertices.

    Loop's surface shrinks away from its control points; here the control points are moved, by one linear system, so
    that the refined surface meets the given vertices. ``corners`` are boundary vertices where the rim has a corner.
    """
    weights = np.eye(vertices)
    parents = np.arange(len(triangles))
    for _ in range(levels):
        step, triangles = _loop_step(triangles, len(weights), corners)
        weights = step @ weights
        parents = np.tile(parents, 4)
    through = np.linalg.inv(weights[:vertices])
    weights = weights @ through
    weights[:vertices] = np.eye(vertices)
    return Subdivision(triangles=triangles, parents=parents, weights=weights.astype(np.float32))


def _loop_step(triangles: Int[np.ndarray, "M 3"], vertices: int, corners: Sequence[int]):
    """One level: the sparse matrix from old to new vertices, and the new triangles (four blocks of the old order)."""
    from scipy.sparse import coo_matrix

    sides = np.concatenate([triangles[:, [1, 2]], triangles[:, [2, 0]], triangles[:, [0, 1]]])
    opposite = triangles.T.reshape(-1)
    edges, edge_of_side = np.unique(np.sort(sides, 1), axis=0, return_inverse=True)
    edge_of_side = edge_of_side.reshape(-1)
    shared = np.bincount(edge_of_side, minlength=len(edges)) == 2
    new = vertices + np.arange(len(edges))
    entries = []  # (row, column, value), summed where they repeat
    for end in (0, 1):
        entries.append((new, edges[:, end], np.where(shared, 3 / 8, 1 / 2)))
    inner = shared[edge_of_side]
    entries.append((new[edge_of_side[inner]], opposite[inner], np.full(inner.sum(), 1 / 8)))
    entries += _old_vertices(edges, shared, vertices, corners)
    rows, columns, values = (np.concatenate(part) for part in zip(*entries, strict=True))
    step = coo_matrix((values, (rows, columns)), shape=(vertices + len(edges), vertices)).tocsr()
    a, b, c = triangles.T
    opposite_a, opposite_b, opposite_c = new[edge_of_side].reshape(3, -1)
    quarters = (
        (a, opposite_c, opposite_b),
        (opposite_c, b, opposite_a),
        (opposite_b, opposite_a, c),
        (opposite_a, opposite_b, opposite_c),
    )
    return step, np.concatenate([np.stack(quarter, -1) for quarter in quarters])


def _old_vertices(edges: np.ndarray, shared: np.ndarray, vertices: int, corners: Sequence[int]):
    """Rules for the old vertices: inner ones by valence (Warren's weights), rim ones along the rim, corners stay."""
    on_rim = np.zeros(vertices, bool)
    on_rim[edges[~shared].reshape(-1)] = True
    fixed = np.zeros(vertices, bool)
    fixed[list(corners)] = True
    valence = np.bincount(edges.reshape(-1), minlength=vertices)
    beta = np.where(valence == 3, 3 / 16, 3 / (8 * np.maximum(valence, 1)))
    every = np.arange(vertices)
    own = np.where(fixed, 1.0, np.where(on_rim, 3 / 4, 1 - valence * beta))
    entries = [(every, every, own)]
    for here, there in (edges.T, edges.T[::-1]):
        along = np.where(on_rim[here], np.where(shared, 0.0, 1 / 8), beta[here])
        entries.append((here, there, np.where(fixed[here], 0.0, along)))
    return entries
