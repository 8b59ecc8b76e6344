"""Ears: a bowl with a rolled rim, modeled as a height over an oval plate."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from talksplat.frame import Label
from talksplat.synthetic.mesh import Part, grid_triangles

RINGS, SPOKES = 22, 56
PLACE = np.array([7.35, 0.55, -3.7])
"""Where the left ear's middle meets the head."""
FLARE, LEAN = 0.50, 0.18
"""Radians that the ear stands off the head, and leans back."""


def _outline(angle: Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S 2"]:
    """The rim in the ear's plate (towards the back, up): broad above, a lobe below."""
    up, back = np.sin(angle), np.cos(angle)
    breadth = 1.62 + 0.42 * np.clip(up, 0, 1) - 0.28 * np.clip(-up, 0, 1) ** 2
    breadth = np.where(back < 0, 0.72 * breadth, breadth)
    height = np.where(up > 0, 2.95, 2.95 - 0.25 * np.abs(back))
    return np.stack([breadth * back, height * up], -1)


def _relief(share: Float[np.ndarray, "*S"], angle: Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
    """Height over the plate: rolled rim, groove, inner fold, bowl; the lobe is plain, the front has a small flap."""

    def bump(center: float, width: float) -> Float[np.ndarray, "*S"]:
        return np.exp(-(((share - center) / width) ** 2))

    up, back = np.sin(angle), np.cos(angle)
    rim = 0.5 + 0.5 * np.tanh(3.0 * (up + 0.55) + 0.6 * np.maximum(back, 0))
    inner = np.clip(0.4 + 0.7 * back + 0.25 * up, 0, 1)
    flap = np.exp(-((np.angle(np.exp(1j * (angle - np.pi - 0.15))) / 0.45) ** 2))
    relief = 0.34 * rim * bump(0.9, 0.10) + 0.30 * inner * bump(0.58, 0.12) + 0.34 * flap * bump(0.62, 0.2)
    lobe = 0.16 * np.clip(-up - 0.55, 0, 1) / 0.45 * bump(0.75, 0.35)
    return relief + lobe + 0.25 * share**2 - 0.34 * bump(0.0, 0.36) * (1 - 0.3 * flap)


def ear(side: int) -> Part:
    """The right (0) or left (1) ear: front from the bowl to the rim, then its back to the head."""
    share = np.concatenate([np.linspace(0.02, 1, RINGS), np.linspace(0.97, 0.55, 6)])
    grid, angle = np.meshgrid(share, np.linspace(0, 2 * np.pi, SPOKES, False), indexing="ij")
    plate = _outline(angle) * grid[..., None]
    height = _relief(grid, angle)
    behind = np.arange(len(share))[:, None] >= RINGS
    height = np.where(behind, height[RINGS - 1] - 0.35 - 1.4 * (1 - grid), height)
    back, up = plate[..., 0] + LEAN * plate[..., 1], plate[..., 1]
    outward = np.cos(FLARE) * height + np.sin(FLARE) * (back + 1.3)
    backward = np.cos(FLARE) * back - np.sin(FLARE) * height
    vertices = np.stack([outward, up, -backward], -1) + PLACE
    triangles = grid_triangles(len(share), SPOKES, closed=True)
    if side == 0:
        vertices = vertices * (-1, 1, 1)
        triangles = triangles[:, ::-1]
    return Part(
        vertices=vertices.reshape(-1, 3),
        triangles=triangles,
        texture=np.stack([0.5 + plate[..., 0] / 8, 0.5 - plate[..., 1] / 8], -1).reshape(-1, 2),
        page="ear",
        labels=Part.uniform(triangles, Label.FACE),
        gloss=0.12,
        sharpness=12.0,
    )
