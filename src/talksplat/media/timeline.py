"""When the pictures of a video are shown, and which of them stands for each 25th of a second.

Tick k lies k/25 s after the first picture, whatever the stamps of the container start with. A tick shows the
picture whose stamp is nearest, the earlier one of two equally near. All of it is whole-number arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from jaxtyping import Int64

from talksplat.clock import FRAME_RATE


@dataclass(frozen=True)
class Timeline:
    """Stamps of all shown pictures of one stream."""

    stamps: Int64[np.ndarray, " pictures"]
    """Ascending, in units of ``time_base``."""
    end: int
    """When the last picture goes, in units of ``time_base``."""
    time_base: Fraction
    stamped: bool = True
    """False where the container holds no stamps (raw streams): pictures are then counted."""

    @property
    def start(self) -> Fraction:
        """Time of the first picture on the container's clock, seconds."""
        return int(self.stamps[0]) * self.time_base

    @property
    def duration(self) -> Fraction:
        """From the first picture to the end of the last, seconds."""
        return (self.end - int(self.stamps[0])) * self.time_base

    @property
    def frames(self) -> int:
        """Number of ticks: the duration in frames, rounded, at least one."""
        return max(1, int(self.duration * FRAME_RATE + Fraction(1, 2)))

    @property
    def source_rate(self) -> Fraction:
        """Mean number of pictures a second."""
        return len(self.stamps) / self.duration if self.duration > 0 else Fraction(FRAME_RATE)

    @property
    def is_variable(self) -> bool:
        """Whether the distance between pictures varies by more than the rounding of stamps explains."""
        gaps = np.diff(self.stamps)
        return len(gaps) > 1 and int(gaps.max() - gaps.min()) * self.time_base > Fraction(1, 200)

    def lateness(self, stamp: int, tick: int) -> int:
        """How long after ``tick`` the stamp lies, in a unit in which both are whole (1/25 of the time base's)."""
        base = self.time_base
        return FRAME_RATE * base.numerator * (stamp - int(self.stamps[0])) - tick * base.denominator

    def shown(self) -> Int64[np.ndarray, " frames"]:
        """Index of the picture that each tick shows."""
        base = self.time_base
        pictures = FRAME_RATE * base.numerator * (self.stamps - self.stamps[0])
        ticks = np.arange(self.frames, dtype=np.int64) * base.denominator
        later = np.clip(np.searchsorted(pictures, ticks), 1, max(1, len(pictures) - 1))
        if len(pictures) == 1:
            return np.zeros(self.frames, dtype=np.int64)
        return later - (ticks - pictures[later - 1] <= pictures[later] - ticks)

    def stamp_before(self, tick: int) -> int:
        """The latest stamp that is not after ``tick``; decoding for this tick can start there."""
        base = self.time_base
        pictures = FRAME_RATE * base.numerator * (self.stamps - self.stamps[0])
        at = int(np.searchsorted(pictures, tick * base.denominator, side="right")) - 1
        return int(self.stamps[max(at, 0)])


def timeline_of(pictures: list[tuple[int | None, int]], time_base: Fraction, guessed_rate: Fraction | None) -> Timeline:
    """The timeline of (stamp, duration) pairs in any order.

    The last picture lasts as long as the others where these are evenly spaced, since muxers often write a nominal
    duration instead; in a video of variable rate it lasts as long as the file says, or as most others.
    Streams that lack a stamp anywhere are counted off at ``guessed_rate`` (25 when unknown).
    """
    stamps = sorted({stamp for stamp, _ in pictures if stamp is not None})
    if any(stamp is None for stamp, _ in pictures):
        rate = guessed_rate or Fraction(FRAME_RATE)
        return Timeline(
            stamps=np.arange(len(pictures), dtype=np.int64), end=len(pictures), time_base=1 / rate, stamped=False
        )
    lasting = dict(pictures)[stamps[-1]]
    timeline = Timeline(stamps=np.array(stamps, dtype=np.int64), end=stamps[-1] + lasting, time_base=time_base)
    if lasting > 0 and (timeline.is_variable or len(stamps) == 1):
        return timeline
    return replace(timeline, end=stamps[-1] + _typical_gap(stamps, time_base))


def _typical_gap(stamps: list[int], time_base: Fraction) -> int:
    if len(stamps) < 2:
        return round(1 / (FRAME_RATE * time_base))
    return round(float(np.median(np.diff(stamps))))
