"""Standardised features: mean 0, deviation 1, whatever the blocks."""

import numpy as np
import pytest

from talksplat.speech.standardization import RunningMoments, Standardization


def some_features(steps: int = 500, channels: int = 7) -> np.ndarray:
    rng = np.random.default_rng(0)
    scales, offsets = rng.uniform(0.01, 30, channels), rng.uniform(-1000, 1000, channels)
    return (rng.standard_normal((steps, channels)) * scales + offsets).astype(np.float32)


def test_mean_is_zero_and_deviation_one():
    features = some_features() / 100
    standard = Standardization.of(features).apply(features)
    assert standard.mean(axis=0) == pytest.approx(0, abs=1e-3)
    assert standard.std(axis=0) == pytest.approx(1, abs=1e-3)


def test_blocks_do_not_matter():
    features = some_features()
    moments = RunningMoments(7)
    for block in np.split(features, [0, 1, 3, 250, 251]):
        moments.add(block)
    running, whole = moments.standardization(), Standardization.of(features)
    assert running.mean == pytest.approx(features.astype(np.float64).mean(axis=0), rel=1e-6)
    assert running.deviation == pytest.approx(whole.deviation, rel=1e-6)


def test_constant_channels_become_zero():
    features = some_features()
    features[:, 2] = 731.25
    standard = Standardization.of(features).apply(features)
    assert not standard[:, 2].any()
    assert Standardization.of(features[:1]).apply(features[:1]) == pytest.approx(0)


def test_standardised_features_do_not_depend_on_gain_of_a_log_spectrum():
    features = some_features() / 100
    louder = features + 0.6
    assert Standardization.of(louder).apply(louder) == pytest.approx(
        Standardization.of(features).apply(features), abs=1e-2
    )
