"""Frames and samples on one clock, in whole numbers: 25 frames and 16,000 samples a second.

Frame n owns samples [640 n, 640 (n+1)) and steps [2 n, 2 n + 2) of the 50 Hz feature grid.
"""

from __future__ import annotations

from fractions import Fraction

FRAME_RATE = 25
SAMPLE_RATE = 16_000
STEP_RATE = 50
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE
STEPS_PER_FRAME = STEP_RATE // FRAME_RATE
SAMPLES_PER_STEP = SAMPLE_RATE // STEP_RATE


def samples_of(frame: int) -> range:
    """The samples that frame ``frame`` owns."""
    return range(frame * SAMPLES_PER_FRAME, (frame + 1) * SAMPLES_PER_FRAME)


def frames_covering(samples: int) -> int:
    """The number of frames whose span covers ``samples`` samples (the last one may be part silence)."""
    return -(-samples // SAMPLES_PER_FRAME)


def seconds_of(frames: int) -> Fraction:
    """The exact duration of ``frames`` frames."""
    return Fraction(frames, FRAME_RATE)
