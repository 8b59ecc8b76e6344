"""Do the lips follow the speech: correlation of lip openings, its lag, its interval, and closures on p, b, m.

Series are on the 25 Hz frame clock; a frame without a figure is NaN, so that time stays time. Intervals come from
the moving-block bootstrap (Kuensch 1989): neighbouring frames are alike, so blocks of them are drawn, not frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

BLOCK = 12
"""Frames of one block: about half a second, the length over which lip openings are alike."""
DRAWS = 2000
LEVEL = 0.95
REACH = 8
"""Frames by which a lag is searched to either side."""
LEAST_PAIRS = 10
"""Fewer common frames give no correlation."""
STILL = 1e-5
"""A deviation up to this part of the mean is rounding, not movement; what does not move correlates with nothing."""

Series = Float[np.ndarray, " T"]
Films = Sequence[Float[np.ndarray, " _"]]
"""A series of each of some clips; lengths differ."""


@dataclass(frozen=True)
class Interval:
    """A figure with its bootstrap interval; NaN throughout where there was too little to compute it from."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LaggedCorrelation:
    """How alike two series are, and by how much the first runs late."""

    correlation: float
    """Pearson's r without a shift."""
    best: float
    """Largest r over the searched lags."""
    lag: int
    """Frames by which the first series is late at the largest r; negative when it is early."""


def correlation(first: Series, second: Series) -> float:
    """Pearson's r over the frames that both have; NaN with fewer than ten of them or a series without movement."""
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < LEAST_PAIRS:
        return float("nan")
    a, b = first[both], second[both]
    if any(series.std() <= STILL * abs(series.mean()) for series in (a, b)):
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def lagged_correlation(rendered: Series, true: Series, reach: int = REACH) -> LaggedCorrelation:
    """Correlation as it stands, and the best one with ``rendered`` moved by up to ``reach`` frames."""
    lags = range(-reach, reach + 1)
    values = np.array([correlation(*_shifted(rendered, true, lag)) for lag in lags])
    if not np.isfinite(values).any():
        return LaggedCorrelation(correlation=float("nan"), best=float("nan"), lag=0)
    best = int(np.nanargmax(values))
    return LaggedCorrelation(correlation=float(values[reach]), best=float(values[best]), lag=lags[best])


def _shifted(rendered: Series, true: Series, lag: int) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"]]:
    """The overlap of ``true`` and of ``rendered`` taken ``lag`` frames later."""
    count = len(true)
    return rendered[max(lag, 0) : count + min(lag, 0)], true[max(-lag, 0) : count - max(lag, 0)]


def correlation_interval(predicted: Films, true: Films, *, seed: int = 0) -> Interval:
    """Pooled correlation over clips, each standardised by itself, with its block-bootstrap interval."""
    series = [np.stack(pair) for pair in zip(predicted, true, strict=True)]
    return block_bootstrap(series, lambda clips: _pooled(clips, 0, 1), seed=seed)


def difference_interval(first: Films, second: Films, true: Films, *, seed: int = 0) -> Interval:
    """How much better ``first`` follows ``true`` than ``second`` does: difference of pooled correlations.

    Paired: both predictors are judged on the same drawn blocks, and on frames that both have.
    """
    series = []
    for row in zip(first, second, true, strict=True):
        clip = np.stack(row)
        series.append(np.where(np.isfinite(clip).all(0), clip, np.nan))
    return block_bootstrap(series, lambda clips: _pooled(clips, 0, 2) - _pooled(clips, 1, 2), seed=seed)


def mean_interval(values: Series, *, block: int = BLOCK, seed: int = 0) -> Interval:
    """Mean of a per-frame figure with its block-bootstrap interval; frames without a figure are left out."""
    return block_bootstrap([values[None]], lambda clips: _mean(clips[0][:, 0]), block=block, seed=seed)


def mean_difference_interval(first: Films, second: Films, *, seed: int = 0) -> Interval:
    """Mean over clips of the mean of ``first`` less ``second``, paired; frames without either figure are left out."""
    series = [(one - other)[None] for one, other in zip(first, second, strict=True)]
    return block_bootstrap(series, lambda clips: np.mean([_mean(clip[:, 0]) for clip in clips], axis=0), seed=seed)


Statistic = Callable[[list[Float[np.ndarray, "D K _"]]], Float[np.ndarray, " D"]]
"""Figures of D resamplings of some clips, each K series of its own length T."""


def block_bootstrap(
    clips: Sequence[Float[np.ndarray, "K _"]],
    statistic: Statistic,
    *,
    block: int = BLOCK,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """``statistic`` of some clips with its percentile interval over resampled blocks of contiguous frames.

    Every clip is resampled from itself to its own length; the series of a clip keep their frames together (paired).
    """
    chance = np.random.default_rng(seed)
    value = float(statistic([clip[None] for clip in clips])[0])
    drawn = statistic([_resampled(clip, block, draws, chance) for clip in clips])
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn) or not np.isfinite(value):
        return Interval(value=value, low=float("nan"), high=float("nan"))
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value=value, low=float(low), high=float(high))


def _resampled(
    clip: Float[np.ndarray, "K T"], block: int, draws: int, chance: np.random.Generator
) -> Float[np.ndarray, "D K T"]:
    count = clip.shape[1]
    block = min(block, count)
    starts = chance.integers(0, count - block + 1, size=(draws, -(-count // block)))
    frames = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)[:, :count]
    return clip[:, frames].transpose(1, 0, 2)


def _pooled(clips: list[Float[np.ndarray, "D K _"]], predictor: int, truth: int) -> Float[np.ndarray, " D"]:
    """Correlation of all clips' frames together, after each clip was standardised by itself."""
    products, frames = [], []
    for clip in clips:
        a, b = clip[:, predictor], clip[:, truth]
        both = np.isfinite(a) & np.isfinite(b)
        products.append(np.where(both, _standardized(a, both) * _standardized(b, both), 0).sum(1))
        frames.append(both.sum(1))
    counted = np.sum(frames, axis=0)
    return np.where(counted >= LEAST_PAIRS, np.sum(products, axis=0) / np.maximum(counted, 1), np.nan)


def _standardized(values: Float[np.ndarray, "D T"], where: np.ndarray) -> Float[np.ndarray, "D T"]:
    count = np.maximum(where.sum(1, keepdims=True), 1)
    mean = np.where(where, values, 0).sum(1, keepdims=True) / count
    centered = np.where(where, values - mean, 0)
    deviation = np.sqrt((centered**2).sum(1, keepdims=True) / count)
    return centered / np.where(deviation > STILL * abs(mean), deviation, np.nan)


def _mean(values: Float[np.ndarray, "D T"]) -> Float[np.ndarray, " D"]:
    known = np.isfinite(values)
    count = known.sum(1)
    return np.where(count > 0, np.where(known, values, 0).sum(1) / np.maximum(count, 1), np.nan)


def closed_threshold(opening: Series, fraction: float = 0.2) -> float:
    """Opening up to which a mouth counts as closed: a ``fraction`` of the way from its 5th to its 95th percentile."""
    low, high = np.nanpercentile(opening, [5, 95])
    return float(low + fraction * (high - low))


def closure_errors(opening: Series, closures: Sequence[tuple[float, float]], closed: float) -> Float[np.ndarray, " N"]:
    """For every p, b, m: frames between its closure and the nearest frame with closed lips; 0 when within it.

    ``closures`` are the sounds' first and last instants in frames (frame n lasts from n to n + 1); ``closed`` is the
    opening up to which lips count as closed (:func:`closed_threshold`). Infinite where the lips never close.
    """
    shut = np.flatnonzero(opening <= closed)
    errors = np.full(len(closures), np.inf)
    for row, (start, stop) in enumerate(closures):
        if len(shut):
            # Whole frames to a frame that overlaps the sound: frame n overlaps it when n < stop and n + 1 > start.
            before, after = np.floor(start) - shut, shut - (np.ceil(stop) - 1)
            errors[row] = np.maximum(np.maximum(before, after), 0).min()
    return errors
