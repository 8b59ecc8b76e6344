from fractions import Fraction

import pytest

from talksplat import clock


def test_frames_share_out_all_samples_without_gap_or_overlap() -> None:
    owned = [sample for frame in range(50) for sample in clock.samples_of(frame)]
    assert owned == list(range(50 * 640))


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (640, 1), (641, 2), (16_000, 25), (16_001, 26)])
def test_the_last_frame_may_be_part_silence(samples: int, frames: int) -> None:
    assert clock.frames_covering(samples) == frames


def test_rates_divide_each_other() -> None:
    assert clock.SAMPLES_PER_FRAME * clock.FRAME_RATE == clock.SAMPLE_RATE
    assert clock.SAMPLES_PER_STEP * clock.STEP_RATE == clock.SAMPLE_RATE
    assert clock.STEPS_PER_FRAME * clock.SAMPLES_PER_STEP == clock.SAMPLES_PER_FRAME


def test_durations_are_exact() -> None:
    assert clock.seconds_of(1) == Fraction(1, 25)
    assert clock.seconds_of(90_001) == Fraction(90_001, 25)
