"""Ridge regression from the window of speech around a frame, its penalty chosen by blocks of time."""

from __future__ import annotations

from collections.abc import Iterator

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


def lip_inputs(
    features: Float[np.ndarray, "steps channels"],
    frames: Int64[np.ndarray, " batch"],
    spectral_channels: int,
    lags: tuple[tuple[int, ...], tuple[int, ...]] = (SPECTRAL_LAGS, EMBEDDING_LAGS),
) -> Float64[np.ndarray, "batch inputs"]:
    """The window of each frame: means of its two steps, at the lags of spectra and of embeddings; zeros outside."""
    whole = features[: len(features) - len(features) % STEPS_PER_FRAME].astype(np.float64)
    by_frame = whole.reshape(-1, STEPS_PER_FRAME, features.shape[1]).mean(axis=1)
    margin = max(abs(lag) for kind in lags for lag in kind)
    padded = np.pad(by_frame, ((margin, margin), (0, 0)))
    spectral = [padded[frames + margin + lag, :spectral_channels] for lag in lags[0]]
    embedded = [padded[frames + margin + lag, spectral_channels:] for lag in lags[1]]
    return np.concatenate([*spectral, *embedded], axis=1)


def blocks(frames: Int64[np.ndarray, " train"]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit on and rows held out, for contiguous blocks; rows next to a block belong to neither."""
    for held in np.array_split(np.arange(len(frames)), FOLDS):
        if len(held) == 0:
            continue
        near = (frames >= frames[held[0]] - PURGED) & (frames <= frames[held[-1]] + PURGED)
        if not near.all():
            yield np.flatnonzero(~near), held


def ridge(
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


def ridge_path(
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
