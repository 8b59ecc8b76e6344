"""The drawn outlines of a face's landmarks, and the frame of coordinates that moves with the head in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from talksplat.landmarks import EYE_CORNERS, EYELIDS, OUTER_LIPS

OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""MediaPipe's face oval, from the hairline clockwise."""
JAW = OVAL[8:29]
"""The part of the oval from one ear over the chin to the other."""
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
CORE = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 263, 347, 425, 434, 378, 152, 149, 214, 205, 118, 33)
"""Brows, cheeks and chin: what hair never covers but in strands."""
FEATURES = (OUTER_LIPS, *EYELIDS, RIGHT_BROW, LEFT_BROW)
"""What is not skin."""
BEARD = ((17, 84, 181, 149, 152, 378, 405, 314), (91, 181, 149, 150, 136, 214), (321, 405, 378, 379, 365, 434))
"""Chin and lower cheeks, where a beard grows."""
HAIRLINE, CHIN, NOSE = 10, 152, 2
TEMPLES = (127, 356)
EAR_LOBES = (132, 361)
EAR = 0.2
"""How far the ears hang below the landmarks :data:`EAR_LOBES` when the head is raised, by the eye corners' distance."""
SUB_PIXEL = 4
"""Binary digits behind the point of drawn coordinates."""


def filled(points: Float[np.ndarray, "N 2"], size: int) -> Bool[np.ndarray, "size size"]:
    """The inside of a polygon, pixels; a pixel belongs to it when its center does, border included."""
    import cv2

    drawn = np.zeros((size, size), np.uint8)
    # OpenCV puts whole numbers on pixel centers.
    corners = np.round((points - 0.5) * (1 << SUB_PIXEL)).astype(np.int32)
    cv2.fillPoly(drawn, [corners], 1, shift=SUB_PIXEL)
    return drawn.astype(bool)


def hull(points: Float[np.ndarray, "N 2"]) -> Float32[np.ndarray, "M 2"]:
    """Corners of the convex hull."""
    import cv2

    return cv2.convexHull(np.ascontiguousarray(points, np.float32))[:, 0]  # type: ignore[return-value]


@dataclass(frozen=True)
class HeadFrame:
    """Coordinates that stay put on the head when it moves: u along the eyes, v down, unit the eye corners' distance.

    The origin lies between the temples, well inside the skull, so that turning the head hardly moves its outline.
    The unit is measured in three dimensions for the same reason.
    """

    origin: Float32[np.ndarray, "2"]
    unit: float
    """Distance of the outer eye corners in space, pixels."""
    roll: float
    """Angle of the eyes' line against the horizontal, radians."""

    @staticmethod
    def of(landmarks: Float[np.ndarray, "478 3"]) -> HeadFrame:
        """The frame of one face, in the landmarks' pixels."""
        right, left = (landmarks[corner] for corner in EYE_CORNERS)
        across = left - right
        origin = landmarks[list(TEMPLES), :2].mean(0).astype(np.float32)
        return HeadFrame(origin, float(np.linalg.norm(across)), float(np.arctan2(across[1], across[0])))

    def to_head(self, points: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Pixels to (u, v)."""
        return (points - self.origin) @ self._rotation / self.unit

    def from_head(self, points: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """(u, v) to pixels."""
        return (points * self.unit) @ self._rotation.T + self.origin

    def grid(self, size: int) -> Float32[np.ndarray, "size size 2"]:
        """(u, v) of the pixels of a picture."""
        line = np.arange(size, dtype=np.float32) + 0.5
        return self.to_head(np.stack(np.meshgrid(line, line), -1)).astype(np.float32)

    @property
    def _rotation(self) -> np.ndarray:
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        return np.array([[cos, -sin], [sin, cos]], np.float32)


def below_jaw(
    frame: HeadFrame, landmarks: Float[np.ndarray, "478 3"], places: Float32[np.ndarray, "H W 2"]
) -> Float32[np.ndarray, "H W"]:
    """How far pixels lie below the jaw line, in units of ``frame``; negative above it.

    ``places`` are (u, v) of the pixels. Beside the face the line goes on level, a little under the ear lobes.
    """
    jaw = frame.to_head(landmarks[list(JAW), :2])
    right, left = (frame.to_head(landmarks[lobe, :2]) for lobe in EAR_LOBES)
    inner = jaw[(jaw[:, 0] > right[0]) & (jaw[:, 0] < left[0])]
    beside = [[right[0] - 0.01, right[1] + EAR], right, left, [left[0] + 0.01, left[1] + EAR]]
    line = np.concatenate([inner, np.array(beside, inner.dtype)])
    line = line[np.argsort(line[:, 0])]
    level = np.interp(places[..., 0], line[:, 0], line[:, 1])
    return (places[..., 1] - level).astype(np.float32)
