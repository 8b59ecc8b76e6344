"""Smooth random pictures that tile, from which surfaces are painted."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, wavelength_y: float | int, wavelength_x: float | int
) -> Float[np.ndarray, "H W"]:
    """Gaussian noise of unit variance without details finer than the wavelengths (in pixels); it tiles."""
    spectrum = np.fft.rfft2(rng.standard_normal((height, width)))
    y, x = np.fft.fftfreq(height)[:, None] * wavelength_y, np.fft.rfftfreq(width)[None] * wavelength_x
    field = np.fft.irfft2(spectrum * np.exp(-(x**2 + y**2)), s=(height, width))
    return (field - field.mean()) / field.std()


def blend(
    picture: Float[np.ndarray, "H W 3"], color: tuple[float, float, float], share: Float[np.ndarray, "H W"]
) -> Float[np.ndarray, "H W 3"]:
    """The picture painted over with ``color`` where ``share`` is 1."""
    return picture + np.clip(share, 0, 1)[..., None] * (np.array(color) - picture)


def linear_light(srgb: Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
