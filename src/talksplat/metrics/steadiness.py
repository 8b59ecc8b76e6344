"""Does the head wobble, does it pulse in size: two figures of the rigid landmarks over time.

Both are blind to where the head goes and sensitive to how it trembles on the way. Landmarks trackers tremble
themselves, so the figures mean something only beside those of the true pictures, read by the same tracker.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from talksplat.landmarks import RIGID
from talksplat.metrics.face import Landmarks

PULSE_WINDOW = 25
"""Frames of the running mean against which size pulses; a blink lasts five, a nod fifty."""


@dataclass(frozen=True)
class Steadiness:
    """How a head trembles."""

    jitter: float
    """Mean length of the second difference of the rigid landmarks, pixels."""
    pulse: float
    """Standard deviation of the rigid landmarks' size about its running mean, percent."""


def steadiness(landmarks: Landmarks) -> Steadiness:
    """Jitter and size pulse of one film; frames without a face are NaN and left out."""
    points = landmarks[:, RIGID, :2]
    return Steadiness(jitter=_jitter(points), pulse=_pulse(_size(points)))


def relative_steadiness(rendered: Landmarks, true: Landmarks) -> Steadiness:
    """The tremble of one against the other: jitter of the rigid landmarks' error, pulse of the ratio of sizes.

    The tracker's own tremble is in it twice; only what exceeds that of two true films is the rendering's.
    """
    drawn, recorded = rendered[:, RIGID, :2], true[:, RIGID, :2]
    return Steadiness(jitter=_jitter(drawn - recorded), pulse=_pulse(_size(drawn) / _size(recorded)))


def _jitter(points: Float[np.ndarray, "T N 2"]) -> float:
    bends = points[2:] - 2 * points[1:-1] + points[:-2]
    lengths = np.linalg.norm(bends, axis=-1)
    return float(np.nanmean(lengths)) if np.isfinite(lengths).any() else float("nan")


def _size(points: Float[np.ndarray, "T N 2"]) -> Float[np.ndarray, " T"]:
    """Root mean square distance from the landmarks' mean."""
    centered = points - points.mean(1, keepdims=True)
    return np.sqrt((centered**2).sum(-1).mean(-1))


def _pulse(size: Float[np.ndarray, " T"]) -> float:
    """Percent standard deviation about a running mean; at the ends of the film the window is cut, not padded."""
    known = np.isfinite(size)
    if known.sum() < 3:
        return float("nan")
    window = np.ones(min(PULSE_WINDOW, len(size)))
    total = np.convolve(np.where(known, size, 0), window, mode="same")
    mean = total / np.maximum(np.convolve(known, window, mode="same"), 1)
    return float(100 * np.std((size / mean - 1)[known]))
