"""The linear baseline finds what is linear, and chooses its penalty on training frames alone."""

import numpy as np
import pytest

from talksplat.speech.baseline import fit_lip_baseline
from talksplat.speech.ridge import EMBEDDING_LAGS, PENALTIES, SPECTRAL_LAGS, ridge, ridge_path

FRAMES, CHANNELS, SPECTRAL = 600, 10, 4


def features(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2 * FRAMES, CHANNELS)).astype(np.float32)


def by_frame(values: np.ndarray, lag: int) -> np.ndarray:
    """Means of a frame's two steps, ``lag`` frames later; zeros outside."""
    means = values.reshape(FRAMES, 2, CHANNELS).mean(axis=1)
    shifted = np.zeros_like(means)
    for frame in range(FRAMES):
        if 0 <= frame + lag < FRAMES:
            shifted[frame] = means[frame + lag]
    return shifted


def test_linear_lips_are_predicted_on_unseen_frames():
    values = features()
    opening = 2 + by_frame(values, 3)[:, 1] - 0.5 * by_frame(values, -4)[:, 7]
    width = by_frame(values, -1)[:, 0] + by_frame(values, 2)[:, 9]
    targets = np.stack([opening, width], axis=1)
    train, test = np.arange(500), np.arange(500, FRAMES)
    baseline = fit_lip_baseline(values, targets, train, spectral_channels=SPECTRAL)
    predicted = baseline.predict(values, test)
    for k in range(2):
        assert np.corrcoef(predicted[:, k], targets[test, k])[0, 1] > 0.99


def test_embeddings_are_looked_at_every_other_frame():
    assert tuple(range(-4, 5)) == SPECTRAL_LAGS
    assert EMBEDDING_LAGS == (-4, -2, 0, 2, 4)
    values = features()
    odd = by_frame(values, 1)[:, 7][:, None]
    baseline = fit_lip_baseline(values, odd, np.arange(500), spectral_channels=SPECTRAL)
    unseen = np.arange(500, FRAMES)
    assert abs(np.corrcoef(baseline.predict(values, unseen)[:, 0], odd[unseen, 0])[0, 1]) < 0.4
    all_spectral = fit_lip_baseline(values, odd, np.arange(500), spectral_channels=CHANNELS)
    assert np.corrcoef(all_spectral.predict(values, unseen)[:, 0], odd[unseen, 0])[0, 1] > 0.99


def test_test_frames_are_never_looked_at():
    values = features()
    targets = by_frame(values, 0)[:, :1] + 0.5 * np.random.default_rng(1).standard_normal((FRAMES, 1))
    spoiled = targets.copy()
    spoiled[500:] = 1e6
    train = np.arange(500)
    one = fit_lip_baseline(values, targets, train, spectral_channels=SPECTRAL)
    other = fit_lip_baseline(values, spoiled, train, spectral_channels=SPECTRAL)
    assert np.array_equal(one.weights, other.weights)


def test_noise_asks_for_more_penalty_than_signal():
    """Of smooth features, whose lags are alike, noise may only be answered with their common part."""
    rng = np.random.default_rng(2)
    values = np.apply_along_axis(lambda v: np.convolve(v, np.ones(30) / 5, mode="same"), 0, features()).astype(
        np.float32
    )
    signal = by_frame(values, 3)[:, :1] - by_frame(values, 2)[:, :1]
    noisy = by_frame(values, 0)[:, :1] + 2 * rng.standard_normal((FRAMES, 1))
    baseline = fit_lip_baseline(values, np.hstack([signal, noisy]), np.arange(500), spectral_channels=SPECTRAL)
    assert baseline.penalties[1] > 10 * baseline.penalties[0]


@pytest.mark.parametrize(("rows", "inputs"), [(50, 20), (20, 50)])
def test_ridge_solves_its_normal_equations(rows, inputs):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, inputs)) + 3, rng.standard_normal((rows, 2)) - 1
    penalties = np.array([0.7, 30.0])
    weights, bias = ridge(x, y, penalties)
    centered = x - x.mean(axis=0)
    for k in range(2):
        exact = np.linalg.solve(
            centered.T @ centered + penalties[k] * np.eye(inputs), centered.T @ (y[:, k] - y[:, k].mean())
        )
        assert weights[:, k] == pytest.approx(exact, abs=1e-8)
    assert (x @ weights + bias).mean(axis=0) == pytest.approx(y.mean(axis=0))
    path = ridge_path(x, y, x[:5])
    weights, bias = ridge(x, y, np.full(2, PENALTIES[7]))
    assert path[7] == pytest.approx(x[:5] @ weights + bias)
