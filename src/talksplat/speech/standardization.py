"""Features with mean 0 and deviation 1 in every channel, by the moments of one recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

CONSTANT = 1e-4
"""A channel that deviates less than this, by its own size, is constant: it becomes zero, not noise."""


@dataclass(frozen=True)
class Standardization:
    """Mean and deviation of every channel."""

    mean: Float32[np.ndarray, " channels"]
    deviation: Float32[np.ndarray, " channels"]
    """Positive; infinite for constant channels, which makes them zero."""

    @classmethod
    def of(cls, features: Float32[np.ndarray, "steps channels"]) -> Standardization:
        """The moments of one whole recording."""
        moments = RunningMoments(features.shape[1])
        moments.add(features)
        return moments.standardization()

    def apply(self, features: Float32[np.ndarray, "steps channels"]) -> Float32[np.ndarray, "steps channels"]:
        """The features with these moments taken out."""
        return (features - self.mean) / self.deviation


class RunningMoments:
    """Mean and deviation of features that come block by block (Chan, Golub and LeVeque 1979)."""

    def __init__(self, channels: int) -> None:
        self.steps = 0
        self._mean: Float64[np.ndarray, " channels"] = np.zeros(channels)
        self._squares: Float64[np.ndarray, " channels"] = np.zeros(channels)

    @classmethod
    def begun(cls, typical: Standardization, steps: int) -> RunningMoments:
        """Moments that count as if ``steps`` steps of ``typical`` ones had been taken in."""
        found = cls(len(typical.mean))
        found.steps = steps
        found._mean = typical.mean.astype(np.float64)
        found._squares = (
            steps * np.where(np.isfinite(typical.deviation), typical.deviation, 0.0).astype(np.float64) ** 2
        )
        return found

    def add(self, features: Float32[np.ndarray, "steps channels"]) -> None:
        """Take in a block; the result does not depend on how a recording is cut into blocks."""
        count = len(features)
        if count == 0:
            return
        block = features.astype(np.float64)
        mean = block.mean(axis=0)
        shift = mean - self._mean
        total = self.steps + count
        self._squares += ((block - mean) ** 2).sum(axis=0) + shift**2 * (self.steps * count / total)
        self._mean += shift * (count / total)
        self.steps = total

    def standardization(self) -> Standardization:
        """The moments of all blocks so far."""
        deviation = np.sqrt(self._squares / max(self.steps, 1))
        constant = deviation <= CONSTANT * np.maximum(1.0, np.abs(self._mean))
        return Standardization(
            mean=self._mean.astype(np.float32),
            deviation=np.where(constant, np.inf, deviation).astype(np.float32),
        )
