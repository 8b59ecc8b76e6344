"""The head's skin in one piece: face, skull behind it, rims of the lids, and the pouch of the mouth."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from talksplat.frame import Label
from talksplat.synthetic.expression import Expression, face_rig
from talksplat.synthetic.face import (
    EYE_CENTERS,
    EYE_CORNERS,
    EYE_RADIUS,
    UPPER_INNER,
    face_topology,
    fine_face,
    fine_labels,
    fine_rim,
)
from talksplat.synthetic.mesh import Part, grid_triangles

SKULL_CENTER = np.array([0.0, 3.6, -4.2])
SKULL_AXES = np.array([7.75, 9.2, 9.6])
"""Half axes of the ellipsoid that the back of the head follows."""
BACK_POLE = np.array([0.0, -0.12, -0.993])
SKULL_RINGS = 26
# One row a ring of the mouth's pouch: backwards, apart from the middle line, shrink of the width.
POUCH = np.array(
    [(0.3, 0.0, 1.0), (0.8, 0.45, 1.04), (1.8, 0.95, 1.04), (3.4, 1.0, 0.95), (5.0, 0.5, 0.6), (5.6, 0.0, 0.0)]
)


def _turned_towards(start: Float[np.ndarray, "N 3"], end: Float[np.ndarray, "3"], share: float):
    """Unit vectors on the great arcs from ``start`` to ``end``."""
    angle = np.arccos(np.clip(start @ end, -1, 1))[:, None]
    return (np.sin((1 - share) * angle) * start + np.sin(share * angle) * end) / np.sin(angle)


class Head:
    """Topology of the head's skin, and its shape under an expression."""

    def __init__(self) -> None:
        self._face = fine_face()
        self._rim = fine_rim(10)
        self._lids = [fine_rim(corners[0]) for corners in EYE_CORNERS]
        self._mouth = fine_rim(UPPER_INNER[0])
        rest = face_rig().fine(Expression())
        self._rest_rim = rest[self._rim]
        self._skull, self._follow = self._skull_rings(self._rest_rim)

    def shape(self, expression: Expression) -> Float[np.ndarray, "N 3"]:
        """All vertices, centimetres; the first 468 are the exact landmarks."""
        face = face_rig().fine(expression)
        moved = face[self._rim] - self._rest_rim
        skull = self._skull + self._follow[:, None, None] * moved
        lids = [self._lid_rings(face[rim], center) for rim, center in zip(self._lids, EYE_CENTERS, strict=True)]
        pieces = [face, skull, *lids, self._pouch_rings(face[self._mouth])]
        return np.concatenate([piece.reshape(-1, 3) for piece in pieces]).astype(np.float32)

    @cached_property
    def part(self) -> Part:
        """The head at rest."""
        rest = self.shape(Expression())
        triangles, labels = [self._face.triangles], [fine_labels()]
        texture = [self._face.weights @ face_topology().texture]
        count = len(self._face.weights)
        for rim, rings, label in self._borders():
            piece = bordered_grid(rim, rings, count)
            triangles.append(piece)
            labels.append(Part.uniform(piece, label))
            count += rings * len(rim)
            # Behind its rim the face's paint is continued by its mirror image.
            inward = 0.16 * (np.arange(rings)[:, None, None] + 1) / rings * ((0.5, 0.5) - texture[0][rim])
            texture.append((texture[0][rim] + inward).reshape(-1, 2))
        texture[-1] = self._pouch_texture()
        return Part(
            vertices=rest,
            triangles=np.concatenate(triangles),
            texture=np.concatenate(texture),
            page="skin",
            labels=np.concatenate(labels),
            gloss=0.16,
            sharpness=14.0,
        )

    @property
    def pouch_vertices(self) -> int:
        """How many of the last vertices belong to the mouth's pouch."""
        return len(POUCH) * len(self._mouth)

    def _borders(self):
        yield self._rim, SKULL_RINGS, Label.FACE
        for rim in self._lids:
            yield rim, 2, Label.FACE
        yield self._mouth, len(POUCH), Label.MOUTH

    def _skull_rings(self, rim: Float[np.ndarray, "rim 3"]):
        """Rings from the rim of the face to the back pole, and how far each follows the rim."""
        scaled = (rim - SKULL_CENTER) / SKULL_AXES
        radius = np.linalg.norm(scaled, axis=1, keepdims=True)
        direction = scaled / radius
        shares = (np.arange(1, SKULL_RINGS + 1) / SKULL_RINGS) ** 1.25
        rings = []
        for share in shares:
            near = np.exp(-((share / 0.28) ** 2))
            reach = 1 + (radius - 1) * near
            turned = _turned_towards(direction, BACK_POLE, min(share, 0.999))
            rings.append(SKULL_CENTER + SKULL_AXES * turned * reach)
        return np.array(rings), np.exp(-((shares / 0.22) ** 2))

    @staticmethod
    def _lid_rings(rim: Float[np.ndarray, "rim 3"], center: Float[np.ndarray, "3"]):
        """The edge of the lids, and a funnel from it into the eyeball."""
        arm = rim - center
        direction = arm / np.linalg.norm(arm, axis=1, keepdims=True)
        inner = center + direction * (0.93 * EYE_RADIUS)
        return np.stack([0.7 * rim + 0.3 * inner, inner])

    @staticmethod
    def _pouch_rings(rim: Float[np.ndarray, "rim 3"]):
        """Rings from the lips' inner rim into the dark; seen from the front only their inside shows."""
        middle = rim.mean(0)
        corner = np.abs(rim[:, 0]).max()
        upward = np.sign(rim[:, 1] - np.interp(rim[:, 0], *_middle_line(rim)))
        spread = np.sqrt(np.clip(1 - (rim[:, 0] / corner) ** 2, 0, 1))
        rings = []
        for back, apart, width in POUCH:
            ring = rim.copy()
            ring[:, 0] *= width
            ring[:, 1] = middle[1] + (rim[:, 1] - middle[1]) * min(1.0, 2 * width) + apart * upward * spread
            ring[:, 2] -= back
            rings.append(ring)
        return np.array(rings)

    def _pouch_texture(self) -> Float[np.ndarray, "N 2"]:
        """The pouch is painted in the lowest strip of the skin's page: u around, v from the lips to the dark."""
        around = np.arange(len(self._mouth)) / len(self._mouth)
        depth = 0.975 + 0.022 * np.arange(len(POUCH)) / (len(POUCH) - 1)
        return np.stack(np.meshgrid(around, depth), -1).reshape(-1, 2)


def _middle_line(rim: Float[np.ndarray, "rim 3"]) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the line between the lips: straight from corner to corner, bent to their mean height."""
    right, left = rim[rim[:, 0].argmin()], rim[rim[:, 0].argmax()]
    return np.array([right[0], 0, left[0]]), np.array([right[1], rim[:, 1].mean(), left[1]])


def bordered_grid(rim: Int[np.ndarray, " rim"], rings: int, first: int) -> Int[np.ndarray, "M 3"]:
    """Triangles of closed rings that begin at the vertices ``rim``; the rings' own vertices start at ``first``."""
    grid = grid_triangles(rings + 1, len(rim), closed=True)
    return np.where(grid < len(rim), rim[np.minimum(grid, len(rim) - 1)], grid - len(rim) + first)
