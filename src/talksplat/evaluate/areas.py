"""The parts of a picture that are judged by themselves: squares around face and mouth, of one size a clip."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from talksplat.landmarks import LIPS
from talksplat.report.figures import AREAS
from talksplat.report.gallery import Square

GRID = 32
"""Edges are multiples of this, the stride of the perceptual network."""
LEAST_EDGE = 64
FACE_MARGIN = 1.25
MOUTH_MARGIN = 1.6


def squares(landmarks: Float[np.ndarray, "T 478 2"], size: int) -> list[dict[str, Square]]:
    """For every frame the judged squares by area, from the landmarks of the recording (never of a rendering).

    The same square is cut from the truth and from every candidate. Edges are those of the median frame.
    """
    mouth = _around(landmarks[:, LIPS], MOUTH_MARGIN, size)
    face = _around(landmarks, FACE_MARGIN, size)
    whole = (0, 0, size)
    return [dict(zip(AREAS, (whole, *parts), strict=True)) for parts in zip(face, mouth, strict=True)]


def _around(points: Float[np.ndarray, "T N 2"], margin: float, size: int) -> list[Square]:
    low, high = points.min(1), points.max(1)
    extent = float(np.median((high - low).max(-1))) * margin
    edge = int(min(max(np.ceil(extent / GRID) * GRID, LEAST_EDGE), size))
    corners = np.round((low + high - edge) / 2).clip(0, size - edge).astype(int)
    return [(int(top), int(left), edge) for left, top in corners]
