"""Teeth and tongue."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from talksplat.frame import Label
from talksplat.synthetic.expression import FULL_JAW, Expression, turned_about_jaw
from talksplat.synthetic.mesh import Part, grid_triangles

TOOTH_WIDTHS = (0.84, 0.66, 0.76, 0.70, 0.70, 0.95)
"""Of one side from the middle, centimetres."""
COLUMNS_PER_TOOTH = 8
# Rows of a tooth from the gum to the biting edge and round it: height (0 edge, 1 gum line), how far out.
TOOTH_ROWS = np.array(
    [
        (1.75, -0.16),
        (1.3, -0.02),
        (1.02, 0.02),
        (0.98, 0.06),
        (0.7, 0.10),
        (0.35, 0.10),
        (0.1, 0.06),
        (0.0, -0.02),
        (0.0, -0.3),
    ]
)
GUM_ROWS = 3


def _arch(along: Float[np.ndarray, " N"], half_width: float, front: float):
    """Points (x, z) of a dental arch at the given lengths from its middle, and the directions outward."""
    t = np.linspace(-1.57, 1.57, 801)
    x, z = half_width * np.sin(t), front - 1.45 * half_width * (1 - np.cos(t))
    length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(z)))])
    length -= length[len(t) // 2]
    point = np.stack([np.interp(along, length, x), np.interp(along, length, z)], -1)
    step = np.stack([np.interp(along + s, length, c) for s in (-0.02, 0.02) for c in (x, z)], -1)
    tangent = step[:, 2:] - step[:, :2]
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    return point, np.stack([-tangent[:, 1], tangent[:, 0]], -1)


def teeth(*, upper: bool) -> Part:
    """One row of teeth at rest, with its gum."""
    scale = 1.0 if upper else 0.9
    widths = np.array(TOOTH_WIDTHS) * (scale if upper else 0.72 + 0.28 * (np.arange(6) > 1)) * scale
    widths = np.concatenate([widths[::-1], widths])
    within = (np.arange(COLUMNS_PER_TOOTH) + 0.5) / COLUMNS_PER_TOOTH
    starts = np.concatenate([[0], np.cumsum(widths)])[:-1] - widths.sum() / 2
    along = (starts[:, None] + widths[:, None] * within).reshape(-1)
    across = np.tile(2 * within - 1, len(widths))  # -1 to 1 over one tooth
    height = np.repeat(np.array([0.86, 0.95, 0.9, 0.98, 0.84, 0.98])[[5, 4, 3, 2, 1, 0, 0, 1, 2, 3, 4, 5]], 8)
    point, outward = _arch(along, 2.55 * scale, 4.72 if upper else 4.36)
    edge, direction = (-4.47, 1) if upper else (-4.50, -1)
    rows = []
    for level, out in TOOTH_ROWS:
        bulge = (out + (0.05 if level < 1 else 0) - 0.12 * across**4 * (level < 1.2))[:, None]
        y = edge + direction * height * (level + 0.10 * across**4 * (level < 0.5) - 0.16 * across**2 * (level > 0.9))
        place = point + outward * bulge
        rows.append(np.stack([place[:, 0], y, place[:, 1]], -1))
    columns = len(along)
    triangles = grid_triangles(len(rows), columns)
    if not upper:
        triangles = triangles[:, ::-1]
    cell_row = np.tile(np.repeat(np.arange(len(rows) - 1), columns - 1), 2)
    texture = np.stack(np.meshgrid((np.arange(columns) + 0.5) / columns, np.arange(len(rows)) / (len(rows) - 1)), -1)
    return Part(
        vertices=np.concatenate(rows),
        triangles=triangles,
        texture=texture.reshape(-1, 2),
        page="teeth",
        labels=np.where(cell_row < GUM_ROWS - 1, int(Label.MOUTH), int(Label.TEETH)),
        gloss=0.35,
        sharpness=40.0,
    )


def tongue() -> Part:
    """The tongue at rest: a flattened, grooved half ellipsoid behind the lower teeth."""
    rows, columns = 14, 24
    polar, around = np.meshgrid(
        np.linspace(0.02, np.pi / 2, rows), np.linspace(0, 2 * np.pi, columns, False), indexing="ij"
    )
    x = 1.75 * np.sin(polar) * np.cos(around)
    z = 1.0 - 2.9 * np.sin(polar) * np.sin(around)
    y = -5.75 + 0.75 * np.cos(polar) ** 0.8 - 0.12 * np.exp(-((x / 0.25) ** 2))
    texture = np.stack([0.5 + x / 4, 0.5 + (z - 1) / 7], -1).reshape(-1, 2)
    triangles = grid_triangles(rows, columns, closed=True)
    return Part(
        vertices=np.stack([x, y, z], -1).reshape(-1, 3),
        triangles=triangles,
        texture=texture,
        page="tongue",
        labels=Part.uniform(triangles, Label.MOUTH),
        gloss=0.3,
        sharpness=25.0,
    )


def with_jaw(vertices: Float[np.ndarray, "N 3"], expression: Expression) -> Float[np.ndarray, "N 3"]:
    """Points fixed to the lower jaw."""
    return turned_about_jaw(vertices, np.full(len(vertices), FULL_JAW * expression.jaw))


def tongue_shape(rest: Float[np.ndarray, "N 3"], expression: Expression) -> Float[np.ndarray, "N 3"]:
    """The tongue follows the jaw; its tip rises."""
    lifted = rest.copy()
    tip = np.clip((rest[:, 2] - 0.0) / 3.5, 0, 1) ** 1.5
    lifted[:, 1] += expression.tongue * 1.15 * tip
    lifted[:, 2] += expression.tongue * 0.35 * tip
    return with_jaw(lifted, expression)
