"""Between sound and picture: how late the lips are, and whether they say what is heard at all.

A prior tells what lips do to this speech. Recorded articulation is slid along it: the lag at which the two agree best
is the offset, and how well they agree there tells a speaker's own sound from a foreign one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from talksplat.metrics.sync import REACH, correlation
from talksplat.speech.prior import MEASURES, ArticulationPrior

WEIGHTS = (0.4, 0.2, 0.4)
"""What each of :data:`MEASURES` counts for; width follows speech least."""
FOREIGN = 0.3
"""Agreement below which a sound is not of these lips: on real clips foreign sounds reached 0.25 at most, own ones 0.54
at least (benchmarks/offsets.py)."""
PEAK = 2
"""Frames about the best lag that belong to its peak."""
CERTAIN = 0.08
"""A peak that stands out by less than this could be another one."""


@dataclass(frozen=True)
class AvOffset:
    """How the lips of a recording lie against its sound."""

    lips_late_frames: float
    """Lips of frame n belong to the sound of frame n - this; to a fraction of a frame."""
    agreement: float
    """Mean correlation of the mouth measures with what the prior tells, at that offset."""
    as_recorded: float
    """The same at offset 0."""
    prominence: float
    """Agreement less the best one away from the peak."""

    @property
    def is_certain(self) -> bool:
        """Whether the lips say what is heard, and one offset stands out."""
        return not self.is_foreign and self.prominence >= CERTAIN

    @property
    def is_foreign(self) -> bool:
        """Whether this sound does not belong to these lips: dubbed, music, or no speech."""
        return not self.agreement >= FOREIGN


def av_offset(
    features: Float[np.ndarray, "steps channels"], mouth: Float[np.ndarray, "T 3"], prior: ArticulationPrior
) -> AvOffset:
    """Slide ``mouth`` (NaN where it was not seen) along what ``prior`` tells from ``features``.

    Searches offsets up to :data:`REACH` frames; the fraction is that of the parabola through the peak.
    """
    told = prior.tell(features)[:, : len(MEASURES)]
    lags = np.arange(-REACH, REACH + 1)
    agreement = np.array([_agreement(told, mouth, int(lag)) for lag in lags])
    if not np.isfinite(agreement).any():
        return AvOffset(0.0, float("nan"), float("nan"), float("nan"))
    best = int(np.nanargmax(agreement))
    away = np.where(abs(lags - lags[best]) > PEAK, agreement, np.nan)
    return AvOffset(
        lips_late_frames=float(lags[best]) + _vertex(agreement, best),
        agreement=float(agreement[best]),
        as_recorded=float(agreement[REACH]),
        prominence=float(agreement[best] - np.nanmax(away)),
    )


def lagged(count: int, lag: int) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Frames of lips, and the frames of sound ``lag`` earlier, of a recording of ``count`` frames."""
    lips = np.arange(max(0, lag), min(count, count + lag))
    return lips, lips - lag


def _agreement(told: Float[np.ndarray, "T 3"], mouth: Float[np.ndarray, "T 3"], lag: int) -> float:
    lips, sound = lagged(len(mouth), lag)
    found = np.array([correlation(told[sound, column], mouth[lips, column]) for column in range(len(MEASURES))])
    known = np.isfinite(found)  # What never moves, or is hardly seen, says nothing.
    return float(np.average(found[known], weights=np.array(WEIGHTS)[known])) if known.any() else float("nan")


def _vertex(values: Float[np.ndarray, " lags"], best: int) -> float:
    """How far the parabola through the best value and its neighbours has its vertex from the best, -0.5 to 0.5."""
    if not 0 < best < len(values) - 1:
        return 0.0
    before, at, after = values[best - 1 : best + 2]
    bend = before - 2 * at + after
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else 0.0
