"""The room behind the person: a wall with light from a window, a framed picture, a shelf with books and a plant."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from talksplat.synthetic.noise import blend, smooth_noise
from talksplat.synthetic.palette import Palette

Picture = Float[np.ndarray, "size size 3"]


class _Canvas:
    """A square picture in unit coordinates, x right and y down, whose edges are softened as if out of focus."""

    def __init__(self, size: int, color: tuple[float, float, float]) -> None:
        axis = (np.arange(size) + 0.5) / size
        self.x, self.y = np.meshgrid(axis, axis)
        self.picture = np.broadcast_to(np.array(color), (size, size, 3)).copy()

    def box(self, x0: float, y0: float, x1: float, y1: float, soft: float = 0.004) -> Float[np.ndarray, "size size"]:
        """Share of every pixel that lies in a box."""
        inside = [np.clip(0.5 + d / soft, 0, 1) for d in (self.x - x0, x1 - self.x, self.y - y0, y1 - self.y)]
        return np.prod(inside, axis=0)

    def paint(self, color: tuple[float, float, float], share: Float[np.ndarray, "size size"]) -> None:
        """Cover with ``color``."""
        self.picture = blend(self.picture, color, share)


def background(size: int, seed: int, palette: Palette) -> Picture:
    """The clean picture of the room, sRGB in [0, 1]."""
    rng = np.random.default_rng((seed, 61))
    canvas = _Canvas(size, palette.wall)
    light = 1.10 - 0.42 * canvas.x - 0.18 * canvas.y
    slant = canvas.x + 0.35 * canvas.y
    light += 0.10 / (1 + np.exp((np.abs(slant - 0.33) - 0.10) / 0.02))
    canvas.picture *= light[..., None]
    _hang_picture(canvas)
    _put_up_shelf(canvas, rng)
    noise = smooth_noise(np.random.default_rng((seed, 62)), 512, 512, 5, 5)
    step = (np.arange(size) * 512) // size
    canvas.picture *= 1 + 0.010 * noise[np.ix_(step, step)][..., None]
    return np.clip(canvas.picture, 0, 1)


def _hang_picture(canvas: _Canvas) -> None:
    """A framed landscape at the upper left."""
    canvas.paint((0.25, 0.22, 0.2), 0.35 * canvas.box(0.058, 0.128, 0.272, 0.392, soft=0.03))
    canvas.paint((0.30, 0.20, 0.13), canvas.box(0.05, 0.11, 0.26, 0.37))
    canvas.paint((0.93, 0.91, 0.86), canvas.box(0.063, 0.123, 0.247, 0.357))
    inner = canvas.box(0.085, 0.15, 0.225, 0.33)
    canvas.paint((0.62, 0.74, 0.80), inner)
    hill = 0.265 + 0.022 * np.sin(34 * canvas.x) + 0.012 * np.sin(71 * canvas.x + 1)
    canvas.paint((0.36, 0.47, 0.42), inner * np.clip(0.5 + (canvas.y - hill) / 0.004, 0, 1))
    near = 0.298 + 0.012 * np.sin(48 * canvas.x + 2)
    canvas.paint((0.22, 0.33, 0.24), inner * np.clip(0.5 + (canvas.y - near) / 0.004, 0, 1))
    sun = np.hypot(canvas.x - 0.185, canvas.y - 0.195)
    canvas.paint((0.97, 0.88, 0.62), inner * np.clip(0.5 + (0.016 - sun) / 0.004, 0, 1))


def _put_up_shelf(canvas: _Canvas, rng: np.random.Generator) -> None:
    """A board at the right with books standing on it, and a plant in a pot."""
    board = 0.335
    canvas.paint((0.2, 0.17, 0.15), 0.4 * canvas.box(0.735, board, 1.05, board + 0.065, soft=0.04))
    left = 0.755
    colors = (
        (0.62, 0.25, 0.20),
        (0.80, 0.70, 0.48),
        (0.20, 0.32, 0.42),
        (0.36, 0.42, 0.30),
        (0.72, 0.46, 0.26),
        (0.5, 0.5, 0.52),
    )
    for number in range(6):
        width, height = rng.uniform(0.015, 0.027), rng.uniform(0.105, 0.16)
        share = canvas.box(left, board - height, left + width, board, soft=0.003)
        canvas.paint(colors[(number * 5 + 1) % 6], share)
        canvas.paint(
            (0.92, 0.88, 0.78),
            0.6 * canvas.box(left + 0.004, board - 0.8 * height, left + width - 0.004, board - 0.72 * height),
        )
        canvas.paint((0.1, 0.08, 0.07), 0.35 * canvas.box(left + width - 0.003, board - height, left + width, board))
        left += width + 0.001
    canvas.paint((0.82, 0.78, 0.72), canvas.box(0.925, board - 0.055, 0.985, board))
    for angle in np.linspace(-1.0, 1.0, 9):
        for share in np.linspace(0.1, 1, 14):
            x = 0.955 + 0.085 * share * np.sin(angle)
            y = board - 0.055 - 0.125 * share * np.cos(angle) + 0.05 * share**2 * abs(angle)
            leaf = np.hypot(canvas.x - x, canvas.y - y) - 0.011 * np.sin(np.pi * min(share, 0.97)) - 0.001
            canvas.paint((0.20 + 0.1 * share, 0.36 + 0.08 * abs(angle), 0.18), np.clip(0.5 - leaf / 0.004, 0, 1))
    canvas.paint((0.47, 0.33, 0.22), canvas.box(0.725, board, 1.05, board + 0.018))
    canvas.paint((0.33, 0.22, 0.14), canvas.box(0.725, board + 0.014, 1.05, board + 0.020))
