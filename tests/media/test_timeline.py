"""Which picture stands for each 25th of a second, against exact brute force."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talksplat.media.timeline import Timeline, timeline_of


def brute_force(timeline: Timeline) -> list[int]:
    times = [(int(stamp) - int(timeline.stamps[0])) * timeline.time_base for stamp in timeline.stamps]
    return [
        min(range(len(times)), key=lambda i: (abs(times[i] - Fraction(tick, 25)), i)) for tick in range(timeline.frames)
    ]


@settings(deadline=None, max_examples=50)
@given(
    gaps=st.lists(st.fractions(0, Fraction(1, 5)), min_size=1, max_size=12),
    start=st.integers(-100_000, 100_000),
    base=st.sampled_from([Fraction(1, 90_000), Fraction(1, 1000), Fraction(1001, 30_000), Fraction(1, 25)]),
)
def test_every_tick_shows_the_nearest_picture_the_earlier_of_two(gaps, start, base):
    stamps = np.cumsum([start, *(1 + round(gap / base) for gap in gaps)])
    timeline = timeline_of([(int(s), 0) for s in stamps], base, None)
    assert timeline.shown().tolist() == brute_force(timeline)


@settings(deadline=None, max_examples=50)
@given(gaps=st.lists(st.integers(1, 9000), min_size=1, max_size=40), tick=st.integers(0, 50))
def test_decoding_for_a_tick_can_start_at_the_stamp_before_it(gaps, tick):
    timeline = timeline_of([(int(s), 3600) for s in np.cumsum([7, *gaps])], Fraction(1, 90_000), None)
    stamp = timeline.stamp_before(tick)
    assert timeline.lateness(stamp, tick) <= 0
    later = timeline.stamps[timeline.stamps > stamp]
    assert len(later) == 0 or timeline.lateness(int(later[0]), tick) > 0


@pytest.mark.parametrize(
    ("count", "rate", "frames"),
    [(48, Fraction(24), 50), (60, Fraction(30_000, 1001), 50), (60, Fraction(30), 50), (120, Fraction(60), 50)],
)
def test_length_in_frames_is_the_rounded_duration(count, rate, frames):
    base = 1 / rate
    timeline = timeline_of([(i, 1) for i in range(count)], base, None)
    assert timeline.frames == frames
    assert timeline.source_rate == rate
    assert not timeline.is_variable


def test_order_and_doubled_stamps_do_not_matter():
    timeline = timeline_of([(2, 1), (0, 1), (1, 1), (1, 1)], Fraction(1, 25), None)
    assert timeline.stamps.tolist() == [0, 1, 2]
    assert timeline.frames == 3


def test_streams_without_stamps_are_counted_off():
    timeline = timeline_of([(None, 0)] * 50, Fraction(1, 1_200_000), Fraction(50))
    assert timeline.frames == 25
    assert not timeline.stamped
    assert timeline.shown().tolist() == list(range(0, 50, 2))


def test_variable_rate_is_told_from_rounded_stamps():
    rounded = [(round(i * 1000 / 30), 33) for i in range(30)]
    assert not timeline_of(rounded, Fraction(1, 1000), None).is_variable
    assert timeline_of([(0, 40), (40, 80), (120, 40)], Fraction(1, 1000), None).is_variable
