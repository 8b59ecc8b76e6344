"""The linear baseline of lip motion: what ridge regression predicts from the same speech features.

An avatar whose rendered lips correlate less with the true ones than this prediction has not learned to speak.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from talksplat.clock import STEPS_PER_FRAME

SPECTRAL_LAGS = (-4, -3, -2, -1, 0, 1, 2, 3, 4)
"""Frames: a spectrum is looked at every 40 ms up to 160 ms before and after."""
EMBEDDING_LAGS = (-4, -2, 0, 2, 4)
"""Frames: an embedding spans many frames by itself and is looked at every 80 ms."""
PENALTIES = np.logspace(0, 6, 25)
FOLDS = 5
PURGED = 8
"""Frames left out on either side of a held-out block, since their windows reach into it."""


@dataclass(frozen=True)
class LipBaseline:
    """A fitted baseline."""

    weights: Float64[np.ndarray, "inputs targets"]
    bias: Float64[np.ndarray, " targets"]
    penalties: Float64[np.ndarray, " targets"]
    """Chosen by cross-validation, one for each target."""
    spectral_channels: int

    def predict(
        self, features: Float[np.ndarray, "steps channels"], frames: Int64[np.ndarray, " batch"]
    ) -> Float64[np.ndarray, "batch targets"]:
        """Targets of ``frames``, from standardised features."""
        return lip_inputs(features, frames, self.spectral_channels) @ self.weights + self.bias


def fit_lip_baseline(
    features: Float[np.ndarray, "steps channels"],
    targets: Float[np.ndarray, "frames targets"],
    train_frames: Int64[np.ndarray, " train"],
    *,
    spectral_channels: int,
) -> LipBaseline:
    """Fit by ridge regression on ``train_frames``; each target's penalty is chosen on them by blocks of time.

    Args:
        features: standardised, two steps a frame.
        targets: mouth measures of every frame of the recording.
        spectral_channels: how many of the first channels are a spectrum (:class:`SpeechEncoder`).
    """
    frames = np.sort(train_frames)
    inputs = lip_inputs(features, frames, spectral_channels)
    wanted = targets[frames].astype(np.float64)
    penalties = PENALTIES[np.argmax(_cross_validated(inputs, wanted, frames), axis=0)]
    weights, bias = _ridge(inputs, wanted, penalties)
    return LipBaseline(weights=weights, bias=bias, penalties=penalties, spectral_channels=spectral_channels)


def _cross_validated(
    inputs: Float64[np.ndarray, "rows inputs"],
    wanted: Float64[np.ndarray, "rows targets"],
    frames: Int64[np.ndarray, " rows"],
) -> Float64[np.ndarray, "penalties targets"]:
    """Correlation within blocks held out, pooled over the blocks, under every penalty.

    Correlation is what the baseline is for, and unlike the squared error it does not mind that a mouth is, say,
    more open on average in one block than in the others.
    """
    shape = len(PENALTIES), wanted.shape[1]
    together, predicted, true = np.zeros(shape), np.full(shape, 1e-12), np.full(shape, 1e-12)
    for kept, held in _blocks(frames):
        guess = _ridge_path(inputs[kept], wanted[kept], inputs[held])
        guess = guess - guess.mean(axis=1, keepdims=True)
        truth = wanted[held] - wanted[held].mean(axis=0)
        together += (guess * truth).sum(axis=1)
        predicted += np.square(guess).sum(axis=1)
        true += np.square(truth).sum(axis=0)
    return together / np.sqrt(predicted * true)


def lip_inputs(
    features: Float[np.ndarray, "steps channels"], frames: Int64[np.ndarray, " batch"], spectral_channels: int
) -> Float64[np.ndarray, "batch inputs"]:
    """The window of each frame: means of its two steps, at the lags of spectra and of embeddings; zeros outside."""
    whole = features[: len(features) - len(features) % STEPS_PER_FRAME].astype(np.float64)
    by_frame = whole.reshape(-1, STEPS_PER_FRAME, features.shape[1]).mean(axis=1)
    margin = max(SPECTRAL_LAGS)
    padded = np.pad(by_frame, ((margin, margin), (0, 0)))
    spectral = [padded[frames + margin + lag, :spectral_channels] for lag in SPECTRAL_LAGS]
    embedded = [padded[frames + margin + lag, spectral_channels:] for lag in EMBEDDING_LAGS]
    return np.concatenate([*spectral, *embedded], axis=1)


def _blocks(frames: Int64[np.ndarray, " train"]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit on and rows held out, for contiguous blocks; rows next to a block belong to neither."""
    for held in np.array_split(np.arange(len(frames)), FOLDS):
        if len(held) == 0:
            continue
        near = (frames >= frames[held[0]] - PURGED) & (frames <= frames[held[-1]] + PURGED)
        if not near.all():
            yield np.flatnonzero(~near), held


def _ridge(
    inputs: Float64[np.ndarray, "rows inputs"],
    wanted: Float64[np.ndarray, "rows targets"],
    penalties: Float64[np.ndarray, " targets"],
) -> tuple[Float64[np.ndarray, "inputs targets"], Float64[np.ndarray, " targets"]]:
    """Weights and bias with one penalty for each target; the bias is not penalised."""
    center, mean = inputs.mean(axis=0), wanted.mean(axis=0)
    axes, strengths = _principal_axes(inputs - center)
    projected = axes.T @ ((inputs - center).T @ (wanted - mean))
    weights = axes @ (projected / (strengths[:, None] + penalties))
    return weights, mean - center @ weights


def _ridge_path(
    inputs: Float64[np.ndarray, "rows inputs"],
    wanted: Float64[np.ndarray, "rows targets"],
    held: Float64[np.ndarray, "others inputs"],
) -> Float64[np.ndarray, "penalties others targets"]:
    """Predictions for ``held`` under every penalty, from one decomposition."""
    center, mean = inputs.mean(axis=0), wanted.mean(axis=0)
    axes, strengths = _principal_axes(inputs - center)
    projected, shown = axes.T @ ((inputs - center).T @ (wanted - mean)), (held - center) @ axes
    return np.stack([shown @ (projected / (strengths[:, None] + penalty)) + mean for penalty in PENALTIES])


def _principal_axes(
    centered: Float64[np.ndarray, "rows inputs"],
) -> tuple[Float64[np.ndarray, "inputs axes"], Float64[np.ndarray, " axes"]]:
    """Orthonormal axes of the row space and the squared singular values, from the smaller of the two products."""
    rows, inputs = centered.shape
    if rows > inputs:
        strengths, axes = np.linalg.eigh(centered.T @ centered)
        return axes, np.maximum(strengths, 0.0)
    strengths, left = np.linalg.eigh(centered @ centered.T)
    kept = strengths > 1e-9 * max(strengths[-1], 1e-30)
    return centered.T @ left[:, kept] / np.sqrt(strengths[kept]), strengths[kept]
