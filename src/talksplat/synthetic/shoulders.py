"""Neck, shoulders and a knitted sweater: one lofted body, and the cloth over it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from talksplat.frame import Label
from talksplat.synthetic.mesh import Part, grid_triangles

# Height, half width, half depth, middle's depth, squareness of the cross-section; centimetres from the neck down.
PROFILE = np.array(
    [
        (-5.0, 4.6, 4.2, -5.6, 2.0),
        (-7.5, 5.3, 5.1, -5.0, 2.0),
        (-9.4, 5.5, 5.5, -4.9, 2.0),
        (-11.0, 5.9, 5.8, -5.2, 2.0),
        (-12.2, 7.4, 6.3, -5.7, 2.0),
        (-13.4, 10.8, 6.9, -6.0, 2.1),
        (-14.8, 14.6, 7.6, -6.2, 2.2),
        (-16.4, 17.4, 8.3, -6.3, 2.35),
        (-18.4, 19.4, 8.9, -6.3, 2.5),
        (-21.5, 20.6, 9.6, -6.2, 2.6),
        (-26.0, 21.0, 10.5, -6.0, 2.7),
        (-34.0, 20.6, 11.0, -6.0, 2.7),
        (-46.0, 19.5, 11.0, -6.0, 2.7),
    ]
)
COLUMNS = 160
COLLAR_ROWS = 7


def _profile(level: Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S 5"]:
    """The profile at fractional rows, smooth."""
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(np.arange(len(PROFILE)), PROFILE)(level)


def _body(level: Float[np.ndarray, "*S"], angle: Float[np.ndarray, "*S"], off: Float[np.ndarray, "*S"]):
    """Points of the body at rows ``level`` and ``angle`` (0 left, 90 degrees front), ``off`` outside of the skin."""
    height, half_width, half_depth, middle, square = np.moveaxis(_profile(level), -1, 0)
    cos, sin = np.cos(angle), np.sin(angle)
    power = 2 / square
    x = (half_width + off) * np.sign(cos) * np.abs(cos) ** power
    z = middle + (half_depth + off) * np.sign(sin) * np.abs(sin) ** power
    chest = np.clip((level - 4.5) / 4, 0, 1) * np.clip(sin, 0, 1)
    y = height + off * 0.6 * np.clip((level - 3) / 2, 0, 1) - 1.6 * np.clip((level - 3) / 3, 0, 1) * np.clip(sin, 0, 1)
    return np.stack([x, y, z + 1.0 * chest], -1)


def _neck_relief(level, angle) -> Float[np.ndarray, "*S"]:
    """Muscles from behind the ears to the collar bones, and the larynx."""
    from_front = np.degrees(np.abs(np.arcsin(np.cos(angle)))) + 180 * (np.sin(angle) < 0)
    muscle = 0.34 * np.exp(-(((from_front - (52 - 9.5 * level)) / 9) ** 2)) * np.clip(level / 2, 0, 1)
    larynx = 0.42 * np.exp(-((from_front / 9) ** 2)) * np.exp(-(((level - 2.3) / 0.6) ** 2))
    notch = -0.5 * np.exp(-((from_front / 7) ** 2)) * np.exp(-(((level - 4.3) / 0.5) ** 2))
    return (muscle + larynx + notch) * (np.sin(angle) > -0.2)


def _angles() -> Float[np.ndarray, " columns"]:
    return 2 * np.pi * np.arange(COLUMNS) / COLUMNS


def neck() -> Part:
    """The skin from under the head to below the collar."""
    level, angle = np.meshgrid(np.linspace(0, 6.5, 48), _angles(), indexing="ij")
    vertices = _body(level, angle, _neck_relief(level, angle))
    triangles = grid_triangles(48, COLUMNS, closed=True)[:, ::-1]
    texture = np.stack([angle / (2 * np.pi), level / 6.5], -1).reshape(-1, 2)
    return Part(
        vertices=vertices.reshape(-1, 3),
        triangles=triangles,
        texture=texture,
        page="neck",
        labels=Part.uniform(triangles, Label.NECK),
        gloss=0.08,
        sharpness=12.0,
    )


def sweater(seed: int) -> Part:
    """The cloth from a ribbed collar down; soft folds run from the neck and the armpits."""
    rng = np.random.default_rng((seed, 23))
    angle = _angles()
    top = 4.15 + 0.45 * np.clip(np.sin(angle), 0, 1) ** 2
    collar = np.array([(0.25, 0.12), (0.02, 0.30), (0.0, 0.52), (0.14, 0.70), (0.34, 0.72), (0.5, 0.60), (0.58, 0.42)])
    share = np.linspace(0, 1, 60) ** 1.15
    down = np.concatenate([collar[:, 0], np.zeros(60)])[:, None]
    level = np.where(np.arange(67)[:, None] < COLLAR_ROWS, top + down, 0)
    level[COLLAR_ROWS:] = (top + 0.62) + share[:, None] * (12.0 - top - 0.62)
    off = np.concatenate([collar[:, 1], 0.42 + 0.55 * np.clip(share * 3, 0, 1)])[:, None]
    folds = _folds(rng, level, angle[None]) * np.clip((np.arange(67)[:, None] - COLLAR_ROWS) / 12, 0, 1)
    vertices = _body(level, np.broadcast_to(angle, level.shape), off + folds)
    triangles = grid_triangles(67, COLUMNS, closed=True)[:, ::-1]
    rows = np.concatenate([np.linspace(0, 0.1, COLLAR_ROWS), 0.12 + 0.88 * share])
    texture = np.stack(np.broadcast_arrays(angle / (2 * np.pi), rows[:, None]), -1).reshape(-1, 2)
    return Part(
        vertices=vertices.reshape(-1, 3),
        triangles=triangles,
        texture=texture,
        page="sweater",
        labels=Part.uniform(triangles, Label.TORSO),
        gloss=0.02,
        sharpness=8.0,
    )


def _folds(rng: np.random.Generator, level, angle) -> Float[np.ndarray, "*S"]:
    total = np.zeros(np.broadcast_shapes(level.shape, angle.shape))
    for _ in range(9):
        turns, slope, phase = rng.integers(3, 9), rng.uniform(-1.2, 1.2), rng.uniform(0, 2 * np.pi)
        wave = np.sin(turns * angle + slope * level + phase)
        total += rng.uniform(0.05, 0.16) * wave * np.abs(wave)
    return total


def follow_head(vertices: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, " N"]:
    """How much the points of the neck follow the head (1) rather than the trunk (0)."""
    share = np.clip((vertices[:, 1] + 13.0) / 7.0, 0, 1)
    return share * share * (3 - 2 * share)
