"""Light on the synthetic person: a warm key with a shadow, a cool fill, a rim light, and sky dimmed in hollows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from talksplat.synthetic.renderer import rasterize

FAR_CM = 1000.0
"""Distance of the lights' orthographic cameras; so far that 1/depth is as good as linear."""
KEY, FILL, RIM = (
    np.array(v) / np.linalg.norm(v) for v in ((-0.62, 0.62, 0.68), (0.85, 0.12, 0.52), (0.62, 0.45, -0.64))
)
KEY_COLOR, FILL_COLOR = np.array([1.34, 1.24, 1.13]), np.array([0.34, 0.40, 0.50])
RIM_COLOR, SKY_COLOR, FLOOR_COLOR = (
    np.array([0.62, 0.66, 0.74]),
    np.array([0.52, 0.53, 0.56]),
    np.array([0.30, 0.25, 0.22]),
)


@dataclass(frozen=True)
class Surface:
    """How every vertex answers to light."""

    wrap: Float[np.ndarray, "N 3"]
    """How far light creeps beyond the terminator, for red, green, blue: skin glows red there."""
    gloss: Float[np.ndarray, " N"]
    sharpness: Float[np.ndarray, " N"]
    sheen: Float[np.ndarray, " N"]
    """Strength of the highlight across strands."""
    occlusion: Float[np.ndarray, " N"]
    """Share of the sky that is seen."""


class ShadowMap:
    """Depths seen from a distant light over a square around the person."""

    def __init__(self, direction: Float[np.ndarray, "3"], size: int, half_width_cm: float = 27.0) -> None:
        z = direction / np.linalg.norm(direction)
        x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.95 else [0.0, 0.0, 1.0], z)
        x /= np.linalg.norm(x)
        self._axes = np.stack([x, np.cross(z, x), z]).astype(np.float32)
        self._scale = size / (2 * half_width_cm)
        self._depth = np.full((size, size), 2 * FAR_CM, np.float32)

    def draw(self, vertices: Float[np.ndarray, "N 3"], triangles: Int[np.ndarray, "M 3"]) -> None:
        """Let triangles (centimetres, y up, z to the viewer) cast shadows."""
        screen, depth = self._project(vertices)
        seen = rasterize(screen, depth, triangles, len(self._depth))
        flat = self._depth.reshape(-1)
        flat[seen.pixels] = np.minimum(flat[seen.pixels], 1 / seen.inverse_depth)

    def lit(self, vertices: Float[np.ndarray, "N 3"], bias: float, spread: int = 1) -> Float[np.ndarray, " N"]:
        """Share of the light that reaches each point, smooth over ``spread`` texels around."""
        screen, depth = self._project(vertices)
        size = len(self._depth)
        corner = np.floor(screen - 0.5).astype(np.int32)
        part = (screen - 0.5 - corner).astype(np.float32)
        steps = range(-spread, spread + 2)
        total = np.zeros(len(vertices), np.float32)
        for dy in steps:
            row = np.clip(corner[:, 1] + dy, 0, size - 1) * size
            weight_y = _tap_weight(dy, part[:, 1], spread)
            for dx in steps:
                column = np.clip(corner[:, 0] + dx, 0, size - 1)
                free = self._depth.reshape(-1)[row + column] > depth - bias
                total += free * (weight_y * _tap_weight(dx, part[:, 0], spread))
        return total

    def _project(self, vertices):
        turned = vertices @ self._axes.T
        half = len(self._depth) / 2
        # Rows run down, so that what faces the light runs counter-clockwise as the renderer expects.
        screen = np.stack([half + turned[:, 0] * self._scale, half - (turned[:, 1] + 5.0) * self._scale], -1)
        return screen, FAR_CM - turned[:, 2]


def _tap_weight(step: int, part: Float[np.ndarray, " N"], spread: int) -> Float[np.ndarray, " N"]:
    """Weights of a box filter of 2 spread + 1 texels at a fractional place; they sum to 1 over all steps."""
    full = 1 / (2 * spread + 1)
    if step == -spread:
        return (1 - part) * full
    if step == spread + 1:
        return part * full
    return np.full_like(part, full)


def sky_seen(
    vertices: Float[np.ndarray, "N 3"], normals: Float[np.ndarray, "N 3"], triangles: Int[np.ndarray, "M 3"]
) -> Float[np.ndarray, " N"]:
    """Cosine-weighted share of all directions that is free, from shadow maps of 28 directions."""
    count = 28
    height = 1 - 2 * (np.arange(count) + 0.5) / count
    around = np.arange(count) * np.pi * (3 - 5**0.5)
    ring = np.sqrt(1 - height**2)
    directions = np.stack([ring * np.cos(around), height, ring * np.sin(around)], -1)
    free, total = np.zeros(len(vertices)), np.full(len(vertices), 1e-6)
    for direction in directions:
        cosine = np.clip(normals @ direction, 0, 1)
        shadow = ShadowMap(direction, 170)
        shadow.draw(vertices, triangles)
        free += cosine * shadow.lit(vertices + 0.2 * normals, bias=0.35)
        total += cosine
    return (free / total).astype(np.float32)


def _dot(a: Float[np.ndarray, "N 3"], b: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, " N"]:
    return a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2]


def shade(
    vertices: Float[np.ndarray, "N 3"],
    normals: Float[np.ndarray, "N 3"],
    viewer: Float[np.ndarray, "3"],
    key_lit: Float[np.ndarray, " N"],
    surface: Surface,
    strands: Float[np.ndarray, "N 3"],
) -> Float[np.ndarray, "N 4"]:
    """Light received (linear red, green, blue) and highlight, for every vertex.

    All vectors in the axes of the room: x right, y up, z to the camera. ``strands`` are unit vectors along hair,
    zero elsewhere.
    """
    to_viewer = viewer - vertices
    to_viewer /= np.sqrt(_dot(to_viewer, to_viewer))[:, None]
    wrap, hollow = surface.wrap, surface.occlusion[:, None]

    def diffuse(direction):
        return np.clip(((normals @ direction.astype(np.float32))[:, None] + wrap) / (1 + wrap) ** 1.5, 0, None)

    up = 0.5 + 0.5 * normals[:, 1:2]
    light = KEY_COLOR * diffuse(KEY) * (key_lit * (0.5 + 0.5 * surface.occlusion))[:, None]
    light += hollow * FILL_COLOR * diffuse(FILL)
    light += hollow * (up * SKY_COLOR + (1 - up) * FLOOR_COLOR)
    facing = np.clip(_dot(normals, to_viewer), 0, 1)
    edge = (1 - facing) ** 2 * np.clip(normals @ RIM + 0.25, 0, 1)
    light += hollow * RIM_COLOR * edge[:, None]
    highlight = np.zeros(len(vertices), np.float32)
    for direction, strength in ((KEY, key_lit), (FILL, 0.3 * surface.occlusion)):
        half = to_viewer + direction.astype(np.float32)
        half /= np.sqrt(_dot(half, half))[:, None]
        cosine = np.clip(_dot(normals, half), 0, 1)
        highlight += strength * surface.gloss * cosine**surface.sharpness
        along = _dot(strands, half)
        across = np.sqrt(np.clip(1 - along**2, 0, 1))
        highlight += strength * surface.sheen * across**45 * np.clip(normals @ direction + 0.2, 0, 1)
    highlight += 0.25 * surface.gloss * surface.occlusion * (1 - facing) ** 4
    return np.concatenate([light, highlight[:, None]], 1).astype(np.float32)
