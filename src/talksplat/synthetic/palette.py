"""Colors of one synthetic person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Color = tuple[float, float, float]
"""sRGB in [0, 1]."""


@dataclass(frozen=True)
class Palette:
    """What colors a person and the room have."""

    skin: Color
    lips: Color
    hair: Color
    iris: Color
    sweater: Color
    wall: Color


PALETTES = (
    Palette(
        skin=(0.83, 0.645, 0.545),
        lips=(0.72, 0.41, 0.39),
        hair=(0.235, 0.145, 0.095),
        iris=(0.25, 0.36, 0.35),
        sweater=(0.17, 0.34, 0.37),
        wall=(0.72, 0.68, 0.62),
    ),
    Palette(
        skin=(0.60, 0.42, 0.32),
        lips=(0.52, 0.29, 0.27),
        hair=(0.085, 0.065, 0.06),
        iris=(0.24, 0.15, 0.09),
        sweater=(0.62, 0.33, 0.20),
        wall=(0.58, 0.64, 0.66),
    ),
    Palette(
        skin=(0.87, 0.70, 0.61),
        lips=(0.76, 0.44, 0.42),
        hair=(0.42, 0.27, 0.14),
        iris=(0.30, 0.45, 0.60),
        sweater=(0.42, 0.20, 0.26),
        wall=(0.62, 0.66, 0.60),
    ),
    Palette(
        skin=(0.76, 0.56, 0.44),
        lips=(0.64, 0.36, 0.33),
        hair=(0.12, 0.085, 0.07),
        iris=(0.32, 0.21, 0.12),
        sweater=(0.24, 0.27, 0.42),
        wall=(0.74, 0.66, 0.58),
    ),
)


def palette_of(seed: int) -> Palette:
    """The palette of person ``seed``; the first four persons have one each, later ones a mixture of two."""
    if seed < len(PALETTES):
        return PALETTES[seed]
    rng = np.random.default_rng((seed, 3))
    first, second = (PALETTES[i] for i in rng.choice(len(PALETTES), 2, replace=False))
    share = rng.uniform(0.2, 0.8)

    def mixed(name: str) -> Color:
        a, b = np.array(getattr(first, name)), np.array(getattr(second, name))
        red, green, blue = (float(c) for c in share * a + (1 - share) * b)
        return red, green, blue

    return Palette(**{name: mixed(name) for name in vars(first)})
