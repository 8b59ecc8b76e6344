"""Trembling heads: what moves smoothly is steady, what is added is measured."""

import numpy as np
import pytest

from talksplat.metrics.steadiness import relative_steadiness, steadiness


def film(frames: int = 200, axes: int = 2) -> np.ndarray:
    """A head that travels and grows at a constant rate."""
    face = np.random.default_rng(0).normal(scale=60, size=(478, axes))
    time = np.arange(frames)[:, None, None]
    return 250 + time * np.array([0.7, 0.3, 0.0])[:axes] + face * np.ones_like(time)


def test_a_head_that_travels_evenly_is_steady():
    moving = film()
    assert steadiness(moving).jitter == pytest.approx(0, abs=1e-9)
    assert steadiness(moving).pulse == pytest.approx(0, abs=1e-9)


def test_jitter_of_white_noise_has_its_known_mean():
    noise = np.random.default_rng(1).normal(scale=0.5, size=(2000, 478, 2))
    # The second difference of unit noise has variance 6; the length of a 2-D Gaussian has mean sigma sqrt(pi / 2).
    assert steadiness(noise + 200).jitter == pytest.approx(0.5 * np.sqrt(6 * np.pi / 2), rel=0.02)


def test_size_pulse_is_found_in_percent_and_a_slow_approach_is_not():
    time = np.arange(250)[:, None, None]
    face = np.random.default_rng(0).normal(scale=60, size=(1, 478, 2))
    slow = face * (1 + 0.2 * time / 250)
    pulsing = slow * (1 + 0.02 * np.sign(np.sin(time * 2 * np.pi / 5 + 0.1)))
    assert steadiness(slow).pulse < 0.3
    assert steadiness(pulsing).pulse == pytest.approx(2.0, rel=0.1)


def test_relative_steadiness_takes_the_true_motion_out():
    true = film() + np.random.default_rng(3).normal(size=(200, 1, 2)) * 5
    added = np.random.default_rng(4).normal(scale=0.2, size=true.shape)
    assert relative_steadiness(true, true).jitter == pytest.approx(0, abs=1e-9)
    assert relative_steadiness(true + added, true).jitter == pytest.approx(0.2 * np.sqrt(6 * np.pi / 2), rel=0.05)
    assert relative_steadiness(true * 1.1, true).pulse == pytest.approx(0, abs=1e-9)


def test_missing_frames_are_left_out():
    noisy = film() + np.random.default_rng(5).normal(scale=0.3, size=(200, 478, 2))
    holed = noisy.copy()
    holed[[10, 11, 90]] = np.nan
    assert steadiness(holed).jitter == pytest.approx(steadiness(noisy).jitter, rel=0.05)
    assert np.isfinite(steadiness(holed).pulse)
    assert np.isnan(steadiness(np.full((20, 478, 2), np.nan)).jitter)
