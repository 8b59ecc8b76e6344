"""The linear baseline of lip motion: what ridge regression predicts from the same speech features.

An avatar whose rendered lips correlate less with the true ones than this prediction has not learned to speak.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from talksplat.speech.ridge import PENALTIES, blocks, lip_inputs, ridge, ridge_path


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
    weights, bias = ridge(inputs, wanted, penalties)
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
    for kept, held in blocks(frames):
        guess = ridge_path(inputs[kept], wanted[kept], inputs[held])
        guess = guess - guess.mean(axis=1, keepdims=True)
        truth = wanted[held] - wanted[held].mean(axis=0)
        together += (guess * truth).sum(axis=1)
        predicted += np.square(guess).sum(axis=1)
        true += np.square(truth).sum(axis=0)
    return together / np.sqrt(predicted * true)
