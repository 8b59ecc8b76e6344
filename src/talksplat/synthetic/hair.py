"""Short hair: two shells of locks that run from the whorl at the crown outward, cut along a hairline."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from talksplat.frame import Label
from talksplat.synthetic.head import SKULL_AXES, SKULL_CENTER
from talksplat.synthetic.mesh import Part, grid_triangles

STRANDS = 420
ROWS = 30
WHORL = np.array([-0.12, 0.80, -0.59])
"""Direction of the crown's whorl from the middle of the skull (in its scaled axes)."""
# Hairline around the vertical axis: azimuth (0 front, 180 back, degrees) and angle down from the top.
HAIRLINE = np.array(
    [
        *((0, 56), (18, 56), (34, 57), (48, 62), (58, 76), (65, 95), (70, 107), (76, 107)),
        *((81, 92), (88, 82), (100, 82), (112, 98), (124, 120), (140, 137), (160, 142), (180, 143)),
    ],
    dtype=float,
)


def _hairline(azimuth: Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
    """Angle from the top, radians, at which the hair ends."""
    return np.radians(np.interp(np.degrees(np.abs(azimuth)), HAIRLINE[:, 0], HAIRLINE[:, 1]))


def _frame() -> Float[np.ndarray, "3 3"]:
    """Axes of the whorl's polar coordinates: the front, the side, the pole."""
    pole = WHORL / np.linalg.norm(WHORL)
    front = np.array([0.0, 0.0, 1.0]) - pole * pole[2]
    front /= np.linalg.norm(front)
    return np.stack([front, np.cross(pole, front), pole])


def _directions(around: Float[np.ndarray, "*S"], polar: Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S 3"]:
    local = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1)
    return local @ _frame()


def _reach(around: Float[np.ndarray, " S"]) -> Float[np.ndarray, " S"]:
    """Angle from the whorl at which strands leaving it in direction ``around`` meet the hairline."""
    polar = np.linspace(0.3, 2.6, 400)
    direction = _directions(*np.broadcast_arrays(around[:, None], polar[None]))
    azimuth = np.arctan2(direction[..., 0], direction[..., 2])
    beyond = np.arccos(np.clip(direction[..., 1], -1, 1)) > _hairline(azimuth)
    return polar[np.where(beyond.any(1), beyond.argmax(1), -1)]


def _locks(rng: np.random.Generator, number: int) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"]]:
    """For every strand its place across its lock (-1 to 1), and a random value shared by the lock."""
    widths = rng.uniform(0.55, 1.6, number)
    edges = np.concatenate([[0], np.cumsum(widths)]) / widths.sum()
    place = (np.arange(STRANDS) + 0.5) / STRANDS
    lock = np.searchsorted(edges, place, side="right") - 1
    across = 2 * (place - edges[lock]) / (edges[lock + 1] - edges[lock]) - 1
    return across, rng.uniform(-1, 1, number)[lock]


def _smooth_around(values: Float[np.ndarray, " S"], width: int) -> Float[np.ndarray, " S"]:
    kernel = np.hanning(width + 2)[1:-1]
    return np.convolve(np.pad(values, width // 2, mode="wrap"), kernel / kernel.sum(), mode="same")[
        width // 2 : width // 2 + len(values)
    ]


def hair(layer: int, seed: int) -> Part:
    """The under (0) or upper (1) layer. v runs from the whorl to the tips, u around it."""
    rng = np.random.default_rng((seed, layer, 11))
    around = 2 * np.pi * (np.arange(STRANDS) + 0.5) / STRANDS - np.pi
    across, shade = _locks(rng, (56, 34)[layer])
    ahead = np.clip(np.cos(around), 0, 1) ** 1.3  # strands that end over the forehead
    reach = _smooth_around(_reach(around), 9)
    pointed = 1 - np.abs(across) ** 1.8
    length = (1.0, 0.95)[layer] * reach + (0.06, 0.11)[layer] * (pointed - 0.55) + (0.03, 0.05)[layer] * shade
    # A parted fringe: long where it is swept to, short at the parting.
    length += ahead * (0.05 + 0.06 * pointed + 0.12 * np.sin(around - 0.25))
    t = (np.linspace(0, 1, ROWS) ** 0.9)[:, None]
    polar = np.maximum(t * length, 1e-3)
    sweep = 0.62 * ahead * t**2.0 + 0.06 * shade * t**2
    direction = _directions(around + sweep, polar)
    thickness = _thickness(direction, layer) * (0.35 + 0.65 * np.clip(t / 0.22, 0, 1))
    thickness += (0.16, 0.34)[layer] * pointed * np.clip(t * 2.0, 0, 1) + (0.10, 0.15)[layer] * shade * t
    thickness += (0.25 + 0.35 * layer) * ahead * np.exp(-(((t - 0.72) / 0.2) ** 2))
    root, tip = np.clip((1 - t) / (0.10, 0.16)[layer], 0, 1) ** 0.7, (0.12, 0.10)[layer]
    thickness = thickness * (tip + (1 - tip) * root) - 0.10 * (1 - root)
    triangles = grid_triangles(ROWS, STRANDS, closed=True)
    texture = np.stack(np.broadcast_arrays((np.arange(STRANDS) + 0.5) / STRANDS, t), -1)
    return Part(
        vertices=(SKULL_CENTER + direction * (SKULL_AXES + thickness[..., None])).reshape(-1, 3),
        triangles=triangles,
        texture=texture.reshape(-1, 2),
        page=("under_hair", "hair")[layer],
        labels=Part.uniform(triangles, Label.HAIR),
    )


def _thickness(direction: Float[np.ndarray, "*S 3"], layer: int) -> Float[np.ndarray, "*S"]:
    """How far the hair stands off the skull, centimetres: full above, short at the sides and the nape."""
    up, front = direction[..., 1], direction[..., 2]
    full = 1.7 * np.clip(up + 0.2, 0, 1.2) ** 1.3 + 0.7 * np.clip(front, 0, 1) * np.clip(up, 0, 1)
    return 0.40 + full + 0.22 * layer


def strand_directions(vertices: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """Unit vectors along the strands, for their sheen."""
    grid = vertices.reshape(ROWS, STRANDS, 3)
    along = np.asarray(np.gradient(grid, axis=0)).reshape(-1, 3)
    return along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
