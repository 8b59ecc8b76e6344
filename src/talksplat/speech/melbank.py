"""Slaney's mel filter bank (Auditory Toolbox, 1998): linear below 1 kHz, logarithmic above, areas normalised."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

LINEAR_STEP = 200 / 3
"""Hertz per mel below the break."""
BREAK_HERTZ = 1000.0
LOG_STEP = np.log(6.4) / 27
"""Natural logarithm of the frequency ratio per mel above the break."""


def hertz_to_mel(hertz: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Slaney's mels."""
    above = BREAK_HERTZ / LINEAR_STEP + np.log(np.maximum(hertz, BREAK_HERTZ) / BREAK_HERTZ) / LOG_STEP
    return np.where(hertz < BREAK_HERTZ, hertz / LINEAR_STEP, above)


def mel_to_hertz(mel: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Inverse of :func:`hertz_to_mel`."""
    break_mel = BREAK_HERTZ / LINEAR_STEP
    above = BREAK_HERTZ * np.exp(LOG_STEP * (np.maximum(mel, break_mel) - break_mel))
    return np.where(mel < break_mel, mel * LINEAR_STEP, above)


def slaney_filterbank(bands: int, transform: int, rate: int) -> Float[np.ndarray, "bands bins"]:
    """Triangles over the ``transform // 2 + 1`` bins of a spectrum, from 0 to half the rate; each has area 1 / Hz."""
    bins = np.linspace(0, rate / 2, transform // 2 + 1)
    corners = mel_to_hertz(np.linspace(0, hertz_to_mel(np.array(rate / 2)), bands + 2))
    left, middle, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising = (bins - left) / (middle - left)
    falling = (right - bins) / (right - middle)
    return np.maximum(0.0, np.minimum(rising, falling)) * 2 / (right - left)
