"""Pictures that paint everything but the face: eyes, teeth, tongue, ears, neck, hair and cloth."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from talksplat.synthetic.mouth import TOOTH_ROWS, TOOTH_WIDTHS
from talksplat.synthetic.noise import blend, smooth_noise
from talksplat.synthetic.palette import Palette

Page = Float[np.ndarray, "H W 3"]
PUPIL, IRIS = 0.23, 0.49
"""Radii, radians from the axis of sight."""


def eye_page(seed: int, palette: Palette) -> Page:
    """Pupil, fibrous iris with a dark rim, and the white; the axis of sight is in the middle, 4 radians across."""
    rng = np.random.default_rng((seed, 51))
    size = 640
    axis = (np.arange(size) + 0.5) / size * 4 - 2
    x, y = np.meshgrid(axis, axis)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    fibers = smooth_noise(rng, 64, 720, 30, 5)
    row = np.clip((radius / IRIS * 63).astype(int), 0, 63)
    fiber = fibers[row, ((angle / (2 * np.pi) + 0.5) * 719).astype(int)]
    white = np.array([0.90, 0.885, 0.87]) * (1 - 0.10 * np.clip(radius - 0.5, 0, 1))[..., None]
    picture = blend(white, (0.80, 0.58, 0.54), np.clip((radius - 0.72) / 0.5, 0, 1))
    glow = np.exp(-(((radius - 0.265) / 0.09) ** 2))[..., None] * (0.16, 0.10, 0.02)
    iris = np.array(palette.iris) * (1 + 0.22 * fiber)[..., None] * (0.75 + 0.6 * radius / IRIS)[..., None] + glow
    iris *= (1 - 0.75 * np.clip((radius - 0.41) / 0.08, 0, 1))[..., None]
    soft = 0.012
    inside = 1 / (1 + np.exp((radius - IRIS) / soft))
    picture = picture + inside[..., None] * (iris - picture)
    return np.clip(blend(picture, (0.02, 0.02, 0.025), 1 / (1 + np.exp((radius - PUPIL) / 0.008))), 0, 1)


def teeth_page(seed: int, palette: Palette) -> Page:
    """Ivory with dark gaps between teeth, under pink gum; v from the gum to the biting edge and round it."""
    rng = np.random.default_rng((seed, 52))
    height, per_tooth = 128, 64
    teeth = 2 * len(TOOTH_WIDTHS)
    across = np.tile((np.arange(per_tooth) + 0.5) / per_tooth * 2 - 1, teeth)[None]
    v = ((np.arange(height) + 0.5) / height)[:, None] * (len(TOOTH_ROWS) - 1)
    color = np.array([0.90, 0.865, 0.79]) * np.ones((height, across.shape[1], 1))
    color = blend(color, (0.83, 0.74, 0.60), 0.5 * np.clip((3.6 - v) / 1.6, 0, 1) * np.ones_like(across))
    color = blend(
        color, (0.42, 0.27, 0.22), 0.75 * np.clip((np.abs(across) - 0.86) / 0.14, 0, 1) ** 1.3 * np.ones_like(v)
    )
    gum = 1 / (1 + np.exp((v - 2.1 + 0.25 * across**2) / 0.06))
    color = blend(color, (0.70, 0.36, 0.36), gum)
    color = blend(color, (0.24, 0.12, 0.10), np.clip(v - 7.2, 0, 0.8) * np.ones_like(across))
    shade = np.repeat(rng.uniform(0.95, 1.02, teeth), per_tooth)
    return np.clip(
        color * shade[None, :, None] * (1 + 0.02 * smooth_noise(rng, height, color.shape[1], 9, 9))[..., None], 0, 1
    )


def tongue_page(seed: int, palette: Palette) -> Page:
    """Pink, rough, with a darker groove."""
    rng = np.random.default_rng((seed, 53))
    rough = smooth_noise(rng, 128, 128, 3, 3)
    color = np.array([0.66, 0.31, 0.31]) * (1 + 0.06 * rough)[..., None]
    groove = np.exp(-(((np.arange(128) / 127 - 0.5) / 0.04) ** 2))[None] * np.ones((128, 1))
    return np.clip(blend(color, (0.45, 0.18, 0.19), 0.5 * groove), 0, 1)


def ear_page(seed: int, palette: Palette) -> Page:
    """Skin that is redder towards the rim and the lobe."""
    rng = np.random.default_rng((seed, 54))
    axis = np.linspace(-4, 4, 128)
    radius = np.hypot(*np.meshgrid(axis, axis))
    skin = np.array(palette.skin)
    color = blend(np.tile(skin, (128, 128, 1)), tuple(skin * (0.98, 0.80, 0.76)), 0.25 + 0.2 * radius)
    return np.clip(color * (1 + 0.02 * smooth_noise(rng, 128, 128, 6, 6))[..., None], 0, 1)


def neck_page(seed: int, palette: Palette) -> Page:
    """Skin, a little darker in front under the chin, with faint creases."""
    rng = np.random.default_rng((seed, 55))
    skin = np.array(palette.skin) * (0.97, 0.93, 0.91)
    color = np.tile(skin, (256, 512, 1)) * (1 + 0.02 * smooth_noise(rng, 256, 512, 8, 8))[..., None]
    color *= (1 + 0.015 * smooth_noise(rng, 256, 512, 4, 90))[..., None]
    return np.clip(color, 0, 1)


def hair_page(seed: int, palette: Palette) -> Page:
    """Strands of many widths; u around the whorl, v from the roots to the tips."""
    return _strands(seed, palette, dim=1.0)


def under_hair_page(seed: int, palette: Palette) -> Page:
    """The same, darker, for the layer below."""
    return _strands(seed + 1, palette, dim=0.72)


def _strands(seed: int, palette: Palette, dim: float) -> Page:
    rng = np.random.default_rng((seed, 56))
    height, width = 192, 2048
    strands = sum(
        weight * smooth_noise(rng, height, width, 160, wavelength)
        for weight, wavelength in ((0.16, 60), (0.16, 18), (0.17, 7), (0.12, 3.5))
    )
    v = np.linspace(0, 1, height)[:, None]
    tone = np.exp(0.85 * strands) * (0.78 + 0.45 * v)
    color = np.array(palette.hair) * tone[..., None]
    warm = np.clip(strands, 0, 1)[..., None] * (0.05, 0.02, 0.0)
    return np.clip(dim * (color + warm), 0, 1)


def sweater_page(seed: int, palette: Palette) -> Page:
    """Knitted rows with a heather of lighter and darker yarn, ribs at the collar, two fine stripes on the chest."""
    rng = np.random.default_rng((seed, 57))
    height, width = 1024, 1536
    u, v = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    heather = 0.05 * smooth_noise(rng, height, width, 3, 9) + 0.045 * smooth_noise(rng, height, width, 40, 60)
    rows = 0.035 * np.sin(2 * np.pi * v * 150) + 0.03 * np.sin(2 * np.pi * (u * 240 + 0.5 * np.sin(2 * np.pi * v * 75)))
    ribs = 0.12 * np.sin(2 * np.pi * u * 110)
    color = np.array(palette.sweater) * (1 + heather + np.where(v < 0.115, ribs, rows))[..., None]
    cream = (0.86, 0.82, 0.74)
    for middle, half in ((0.37, 0.012), (0.41, 0.005)):
        color = blend(color, cream, 0.85 * (1 / (1 + np.exp((np.abs(v - middle) - half) / 0.0012))) * (1 + heather * 3))
    return np.clip(color, 0, 1)
