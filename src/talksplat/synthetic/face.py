"""The face: MediaPipe's canonical mesh, opened at the eyes and the mouth, smooth, and moved by named actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from jaxtyping import Bool, Float, Int

from talksplat.frame import Label
from talksplat.synthetic.mesh import Subdivision, interpolating_subdivision

LANDMARKS = 468
UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
"""Inner rims of the lips from the right corner to the left, facing each other one by one."""
UPPER_RINGS = (
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292),
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306),
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
)
LOWER_RINGS = (
    (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292),
    (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306),
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
)
"""The lips' other rings from the inside out."""
UPPER_LIDS = ((246, 161, 160, 159, 158, 157, 173), (466, 388, 387, 386, 385, 384, 398))
LOWER_LIDS = ((7, 163, 144, 145, 153, 154, 155), (249, 390, 373, 374, 380, 381, 382))
"""Rims of the lids between the corners, right eye then left, facing each other one by one."""
EYE_CORNERS = ((33, 133), (263, 362))
"""Outer and inner."""
LID_FOLDS = ((247, 30, 29, 27, 28, 56, 190), (467, 260, 259, 257, 258, 286, 414))
BROWS = (((70, 63, 105, 66, 107), (46, 53, 52, 65, 55)), ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285)))
"""Upper and lower edge from the temple to the nose, right brow then left."""
EYE_CENTERS = np.array([[-3.15, 2.62, 2.46], [3.15, 2.62, 2.46]])
EYE_RADIUS = 1.39
LID_THICKNESS = 0.085
JAW_AXIS = np.array([0.0, -2.0, -4.0])
"""A point of the axis, along x, about which the jaw turns."""


@dataclass(frozen=True)
class FaceTopology:
    """Vertices at rest (centimetres, y up, z to the viewer) and triangles without those that fill eyes and mouth."""

    vertices: Float[np.ndarray, "468 3"]
    texture: Float[np.ndarray, "468 2"]
    """Place in the painted skin, 0 to 1, v down."""
    triangles: Int[np.ndarray, "M 3"]
    lips: Bool[np.ndarray, " M"]
    """Which triangles belong to the lips."""
    oval: tuple[int, ...]
    """The outer rim, in the order of its triangles."""


@cache
def face_topology() -> FaceTopology:
    """The canonical face as shipped, read from its OBJ file."""
    text = (files("talksplat") / "assets" / "weights" / "canonical_face_model.obj").read_text(encoding="ascii")
    lines = [line.split() for line in text.splitlines() if line]
    vertices = np.array([[float(x) for x in line[1:4]] for line in lines if line[0] == "v"])
    coordinates = np.array([[float(x) for x in line[1:3]] for line in lines if line[0] == "vt"])
    pairs = np.array([[[int(x) for x in c.split("/")[:2]] for c in line[1:]] for line in lines if line[0] == "f"]) - 1
    texture = np.zeros((LANDMARKS, 2))
    texture[pairs[..., 0]] = coordinates[pairs[..., 1]] * (1, -1) + (0, 1)
    triangles = pairs[..., 0]
    rims = [set(UPPER_INNER + LOWER_INNER)]
    rims += [set(up + low + ends) for up, low, ends in zip(UPPER_LIDS, LOWER_LIDS, EYE_CORNERS, strict=True)]
    filling = np.any([np.isin(triangles, list(rim)).all(1) for rim in rims], axis=0)
    triangles = triangles[~filling]
    lip_vertices = sorted({v for ring in (UPPER_INNER, LOWER_INNER, *UPPER_RINGS, *LOWER_RINGS) for v in ring})
    return FaceTopology(
        vertices=vertices,
        texture=texture,
        triangles=triangles,
        lips=np.all(np.isin(triangles, lip_vertices), axis=1),
        oval=_outer_rim(triangles),
    )


def _outer_rim(triangles: Int[np.ndarray, "M 3"]) -> tuple[int, ...]:
    """The longest loop of sides that only one triangle has; it starts at the top of the forehead."""
    sides = {(int(t[i]), int(t[(i + 1) % 3])) for t in triangles for i in range(3)}
    following = {a: b for a, b in sides if (b, a) not in sides}
    rim = [10]
    while (after := following[rim[-1]]) != 10:
        rim.append(after)
    return tuple(rim)


@cache
def fine_face() -> Subdivision:
    """The face refined twice; its first 468 vertices are the landmarks."""
    corners = (UPPER_INNER[0], UPPER_INNER[-1], *EYE_CORNERS[0], *EYE_CORNERS[1])
    return interpolating_subdivision(face_topology().triangles, LANDMARKS, corners)


@cache
def fine_labels() -> Int[np.ndarray, " M"]:
    """LIPS or FACE for every fine triangle."""
    lips = face_topology().lips[fine_face().parents]
    return np.where(lips, int(Label.LIPS), int(Label.FACE))


def fine_rim(start: int) -> Int[np.ndarray, " fine"]:
    """The fine vertices around the rim that ``start`` lies on, in the order of the triangles that border on it."""
    triangles = fine_face().triangles
    sides = {(int(t[i]), int(t[(i + 1) % 3])) for t in triangles for i in range(3)}
    following = {a: b for a, b in sides if (b, a) not in sides}
    loop = [start]
    while (after := following[loop[-1]]) != start:
        loop.append(after)
    return np.array(loop)


class Spreading:
    """Smooth displacement fields from a few prescribed vertices: biharmonic over the coarse mesh (least bending)."""

    def __init__(self) -> None:
        topology = face_topology()
        vertices, triangles = topology.vertices, topology.triangles
        sides = np.unique(np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1), axis=0)
        a, b = sides.T
        stiffness = 1.0 / np.linalg.norm(vertices[a] - vertices[b], axis=1)
        laplacian = np.zeros((LANDMARKS, LANDMARKS))
        laplacian[a, b] = laplacian[b, a] = -stiffness
        laplacian[np.diag_indices(LANDMARKS)] = -laplacian.sum(1)
        area = np.zeros(LANDMARKS)
        np.add.at(area, sides.reshape(-1), 1 / np.repeat(stiffness, 2))
        self._bending = laplacian @ (laplacian / area[:, None])

    def weights(self, handles: list[int]) -> Float[np.ndarray, "468 handles"]:
        """Matrix from the values at ``handles`` to those at all vertices."""
        free = np.setdiff1d(np.arange(LANDMARKS), handles)
        result = np.zeros((LANDMARKS, len(handles)))
        result[handles, np.arange(len(handles))] = 1
        block = self._bending[np.ix_(free, free)]
        result[free] = np.linalg.solve(block, -self._bending[np.ix_(free, np.array(handles))])
        return result

    def field(self, handles: Mapping[int, np.ndarray]) -> Float[np.ndarray, "468 channels"]:
        """The smooth field with the given values at the given vertices."""
        return self.weights(list(handles)) @ np.array(list(handles.values()), dtype=float)


@cache
def spreading() -> Spreading:
    """The one solver of the canonical mesh."""
    return Spreading()
