"""Lip correlation: known lags come back, intervals cover, closures are counted in frames."""

import numpy as np
import pytest

from talksplat.metrics.sync import (
    block_bootstrap,
    closed_threshold,
    closure_errors,
    correlation,
    correlation_interval,
    difference_interval,
    lagged_correlation,
    mean_difference_interval,
    mean_interval,
)


def lips(frames: int, seed: int, memory: float = 0.7) -> np.ndarray:
    """A first-order process: neighbouring frames alike, as lip openings are."""
    noise = np.random.default_rng(seed).normal(size=frames)
    series = np.zeros(frames)
    for frame in range(1, frames):
        series[frame] = memory * series[frame - 1] + noise[frame]
    return series


def test_correlation_agrees_with_numpy_and_ignores_scale():
    a, b = lips(100, 0), lips(100, 1) + lips(100, 0)
    assert correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert correlation(3 * a - 7, b) == pytest.approx(correlation(a, b))
    assert correlation(-a, a) == pytest.approx(-1)


@pytest.mark.parametrize("lag", [-8, -3, 0, 1, 5, 8])
def test_a_known_lag_is_recovered_exactly(lag):
    true = lips(120, 2)
    rendered = np.full(120, np.nan)
    if lag >= 0:
        rendered[lag:] = true[: 120 - lag]
    else:
        rendered[:lag] = true[-lag:]
    found = lagged_correlation(rendered, true)
    assert found.lag == lag
    assert found.best == pytest.approx(1)
    assert found.correlation == pytest.approx(correlation(rendered, true))


def test_missing_frames_are_left_out_and_too_few_give_nan():
    true = lips(60, 3)
    holed = true.copy()
    holed[::3] = np.nan
    assert correlation(holed, true) == pytest.approx(1)
    assert np.isnan(correlation(true[:9], true[:9]))
    for still in (np.zeros(60), 0.1 + 1e-8 * true):
        assert np.isnan(correlation(still, true))
        assert np.isnan(correlation_interval([still], [true]).value)
    assert np.isnan(lagged_correlation(np.full(60, np.nan), true).correlation)


def test_intervals_repeat_with_the_same_seed_and_hold_their_value():
    true = lips(80, 4)
    predicted = true + lips(80, 5)
    first, again = (correlation_interval([predicted], [true], seed=7) for _ in range(2))
    assert first == again
    assert first.low < first.value < first.high
    assert first.value == pytest.approx(correlation(predicted, true))


def test_pooling_standardises_every_clip_by_itself():
    a, b = lips(90, 6), lips(60, 7)
    near, far = a + lips(90, 8), b + lips(60, 9)
    pooled = correlation_interval([near * 100 + 5, far], [a, b * 0.01]).value
    assert pooled == pytest.approx((90 * correlation(near, a) + 60 * correlation(far, b)) / 150)


def test_blocks_widen_the_interval_of_series_that_remember():
    series = lips(400, 10, memory=0.9)
    frames, blocks = (mean_interval(series, block=block) for block in (1, 12))
    assert blocks.high - blocks.low > 1.5 * (frames.high - frames.low)


def test_the_interval_of_a_mean_covers_the_truth_about_as_often_as_it_says():
    hits = 0
    for trial in range(200):
        series = lips(240, 100 + trial, memory=0.5)
        interval = block_bootstrap(
            [series[None]], lambda clips: clips[0][:, 0].mean(1), draws=200, level=0.9, seed=trial
        )
        hits += interval.low <= 0 <= interval.high
    assert 0.78 <= hits / 200 <= 0.97


def test_the_difference_is_paired():
    true = [lips(100, 11), lips(70, 12)]
    good = [series + 0.3 * lips(len(series), 13) for series in true]
    bad = [series + 3 * lips(len(series), 14) for series in true]
    gain = difference_interval(good, bad, true)
    assert gain.low > 0
    same = difference_interval(good, good, true)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    # A frame that one predictor lacks counts for neither.
    good[0][:50], bad[0][:50] = np.nan, 0
    true_rest = [true[0][50:], true[1]]
    rest = difference_interval([good[0][50:], good[1]], [bad[0][50:], bad[1]], true_rest).value
    assert difference_interval(good, bad, true).value == pytest.approx(rest)


def test_a_mean_difference_is_paired_and_weighs_clips_alike():
    first = [lips(100, 15), lips(70, 16)]
    apart = [0.2, 0.6]
    second = [series - gap for series, gap in zip(first, apart, strict=True)]
    second[0][[4, 50]] = np.nan
    found = mean_difference_interval(first, second)
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0.4, 0.4))
    unlike = mean_difference_interval(first, [lips(100, 17), lips(70, 18)])
    assert unlike.low < unlike.value < unlike.high


def test_closures_are_counted_in_frames_from_the_sound():
    opening = np.ones(20)
    opening[[8, 15]] = 0.0
    sounds = [(8.0, 9.0), (7.2, 8.9), (9.0, 11.0), (11.5, 12.5), (0.0, 1.0)]
    assert closure_errors(opening, sounds, closed=0.1).tolist() == [0, 0, 1, 3, 8]
    assert np.isinf(closure_errors(np.ones(5), [(1.0, 2.0)], closed=0.1)).all()


def test_closed_is_a_fraction_of_the_persons_own_range():
    opening = np.linspace(0.1, 1.1, 1001)
    assert closed_threshold(opening) == pytest.approx(0.15 + 0.2 * 0.9, abs=1e-3)
