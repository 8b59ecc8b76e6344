"""Smooth tracks out of noisy measurements, without lag and without rounding off quick turns."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

PASSES = 6
TAIL = 2.0
"""Degrees of freedom of Student's distribution of the second differences: heads rest and then move at once."""


def smooth(
    measured: Float[np.ndarray, " T"], trust: Float[np.ndarray, " T"], noise: float, motion: float
) -> Float[np.ndarray, " T"]:
    """The most likely track behind ``measured``: a Kalman smoother over a random walk of the track's velocity.

    ``noise`` is the deviation of a measurement, ``motion`` the scale of the track's second differences (per frame^2),
    both in the units of the track. ``trust`` multiplies the certainty of each measurement: 1 for an ordinary one, near
    0 where another cause is known to have moved it. Looking forth and back it has no lag; the heavy tail of the second
    differences (reweighted ``PASSES`` times) makes it follow sudden motion and smooth what rests.
    """
    if len(measured) < 3:
        return measured.copy()
    freedom = np.ones(len(measured) - 2)
    track = measured
    for _ in range(PASSES):
        track = _least_squares(measured, trust / noise**2, freedom / motion**2)
        freedom = (TAIL + 1) / (TAIL + (np.diff(track, 2) / motion) ** 2)
    return track


def _least_squares(measured: np.ndarray, certainty: np.ndarray, stiffness: np.ndarray) -> np.ndarray:
    """Minimum over x of sum certainty (x - measured)^2 + sum stiffness (second difference of x)^2."""
    from scipy.linalg import solveh_banded

    band = np.zeros((3, len(measured)))
    band[2] = certainty
    band[2, :-2] += stiffness
    band[2, 1:-1] += 4 * stiffness
    band[2, 2:] += stiffness
    band[1, 1:-1] -= 2 * stiffness
    band[1, 2:] -= 2 * stiffness
    band[0, 2:] = stiffness
    return solveh_banded(band, certainty * measured)
