"""Eyeballs that turn with the gaze."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from talksplat.frame import Label
from talksplat.synthetic.face import EYE_CENTERS, EYE_RADIUS
from talksplat.synthetic.mesh import Part, grid_triangles

ROWS, COLUMNS = 34, 40
WIDEST = 1.75
"""Angle from the axis of sight up to which the ball is drawn, radians."""


def eyeball(eye: int) -> Part:
    """The right (0) or left (1) eyeball looking straight on; v runs from the pupil outward, u around."""
    polar, around = np.meshgrid(
        WIDEST * np.linspace(0.004, 1, ROWS) ** 1.1, np.linspace(0, 2 * np.pi, COLUMNS, False), indexing="ij"
    )
    ball = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1)
    cornea = 1 + 0.025 * np.exp(-((polar / 0.36) ** 4))
    triangles = grid_triangles(ROWS, COLUMNS, closed=True)
    return Part(
        vertices=(EYE_CENTERS[eye] + EYE_RADIUS * ball * cornea[..., None]).reshape(-1, 3),
        triangles=triangles,
        texture=np.stack([0.5 + polar / 4 * np.cos(around), 0.5 - polar / 4 * np.sin(around)], -1).reshape(-1, 2),
        page="eye",
        labels=Part.uniform(triangles, Label.FACE),
        gloss=4.0,
        sharpness=150.0,
    )


def turned(rest: Float[np.ndarray, "N 3"], eye: int, gaze: Float[np.ndarray, "2"]) -> Float[np.ndarray, "N 3"]:
    """The eyeball looking ``gaze`` = (left of the person, up), radians."""
    (cos_x, cos_y), (sin_x, sin_y) = np.cos(gaze), np.sin(gaze)
    about_y = np.array([[cos_x, 0, sin_x], [0, 1, 0], [-sin_x, 0, cos_x]])
    about_x = np.array([[1, 0, 0], [0, cos_y, sin_y], [0, -sin_y, cos_y]])
    return (rest - EYE_CENTERS[eye]) @ (about_y @ about_x).T + EYE_CENTERS[eye]
