"""From observations to figures: means and their intervals, gains over baselines, lips, head, silence."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from talksplat.evaluate.observations import Observations
from talksplat.metrics.face import Landmarks, eye_area, lip_opening, mouth_distance, relative_mouth_distance
from talksplat.metrics.steadiness import relative_steadiness, steadiness
from talksplat.metrics.sync import (
    BLOCK,
    Interval,
    correlation_interval,
    difference_interval,
    lagged_correlation,
    mean_interval,
)
from talksplat.report.figures import (
    AVATAR,
    BASELINES,
    LINEAR,
    METRICS,
    TRUTH,
    EyeScore,
    Gain,
    HeadScore,
    LipScore,
    Score,
    SilenceScore,
)

PSNR_CEILING = 100.0
"""Stands for the infinite PSNR of equal pictures, so that a mean and its file stay numbers."""

Series = Float[np.ndarray, " T"]
Judgments = dict[tuple[str, str, str], Series]


def scores(judgments: Judgments, seed: int) -> list[Score]:
    """Mean over the judged frames of every metric, area and candidate."""
    return [Score(*key, _mean(_capped(key[2], series), seed)) for key, series in judgments.items()]


def gains(judgments: Judgments, seed: int) -> list[Gain]:
    """Paired advantage of the avatar over every picture baseline."""
    better = {metric.name: 1 if metric.higher_is_better else -1 for metric in METRICS}
    found = []
    for (candidate, area, metric), series in judgments.items():
        if candidate in BASELINES:
            own = _capped(metric, judgments[AVATAR, area, metric])
            found.append(Gain(candidate, area, metric, _mean(better[metric] * (own - _capped(metric, series)), seed)))
    return found


def openings(seen: Observations, linear: Series) -> dict[str, Series]:
    """Lip opening over the test part: true, of every candidate's pictures, and as the linear baseline predicts it."""
    found = {name: lip_opening(landmarks.astype(np.float64)) for name, landmarks in seen.landmarks.items()}
    return {**found, LINEAR: np.where(np.isfinite(found[TRUTH]), linear, np.nan)}


def lips(seen: Observations, opened: dict[str, Series], seed: int) -> list[LipScore]:
    """Lip figures of every candidate and of the linear baseline."""
    true = opened[TRUTH]
    return [
        _lip_score(candidate, opened[candidate], true, seen.landmarks.get(candidate), seen.landmarks[TRUTH], seed)
        for candidate in (AVATAR, *BASELINES, LINEAR)
    ]


def mouth_distances(seen: Observations) -> dict[str, Series]:
    """LMD of every candidate's pictures, percent of the distance of the outer eye corners."""
    landmarks = seen.landmarks
    return {name: relative_mouth_distance(landmarks[name], landmarks[TRUTH]) for name in (AVATAR, *BASELINES)}


def lip_gain(opened: dict[str, Series], seed: int) -> Interval:
    """Lip correlation of the avatar less that of the linear baseline, paired."""
    return difference_interval([opened[AVATAR]], [opened[LINEAR]], [opened[TRUTH]], seed=seed)


def head(seen: Observations) -> HeadScore:
    """Steadiness of the rendered head beside the true one, over frames in which both faces were found."""
    drawn, true = seen.landmarks[AVATAR], seen.landmarks[TRUTH]
    both = np.isfinite(drawn + true).all(axis=(1, 2), keepdims=True)
    drawn, true = (np.where(both, film, np.nan) for film in (drawn, true))
    return HeadScore(steadiness(drawn), steadiness(true), relative_steadiness(drawn, true))


def silence(seen: Observations, true_opening: Series, closed: float) -> SilenceScore:
    """The mouth in silence beside the person's own, at rest and speaking."""
    missing = int(np.isnan(seen.silent).any((1, 2)).sum())
    known = true_opening[np.isfinite(true_opening)]
    speaking, wide = np.percentile(known, [50, 95]) if len(known) else (np.nan, np.nan)
    return SilenceScore(
        silent=_median(lip_opening(seen.silent)),
        closed=closed,
        speaking=float(speaking),
        wide=float(wide),
        frames=len(seen.silent),
        faces_missing=missing,
    )


def eyes(seen: Observations, blink: Landmarks, seed: int) -> EyeScore:
    """The eyes beside the recorded ones; ``blink``: the one frame "1 478 axes" whose closed eyes were asked for.

    Every film is in its own distances of the eye corners, which lids do not move.
    """
    drawn, true = (eye_area(seen.landmarks[name]) for name in (AVATAR, TRUTH))
    usual = _median(true) or float("nan")
    return EyeScore(
        correlation=correlation_interval([drawn], [true], seed=seed),
        shut=_median(eye_area(seen.blinks)) / usual,
        recorded=_median(eye_area(blink)) / usual,
        frames=len(seen.blinks),
    )


def _lip_score(
    candidate: str,
    opening: Series,
    true: Series,
    landmarks: Landmarks | None,
    true_landmarks: Landmarks,
    seed: int,
) -> LipScore:
    shifted = lagged_correlation(opening, true)
    distance = relative = np.full(len(true), np.nan)
    missing = 0
    if landmarks is not None:
        distance = mouth_distance(landmarks, true_landmarks)
        relative = relative_mouth_distance(landmarks, true_landmarks)
        missing = int((np.isfinite(true) & np.isnan(opening)).sum())
    return LipScore(
        candidate=candidate,
        correlation=correlation_interval([opening], [true], seed=seed),
        best=shifted.best,
        lag=shifted.lag,
        distance=mean_interval(distance, seed=seed),
        relative_distance=mean_interval(relative, seed=seed),
        faces_missing=missing,
    )


def _median(series: Series) -> float:
    """Median of what is known; NaN where nothing is."""
    known = series[np.isfinite(series)]
    return float(np.median(known)) if len(known) else float("nan")


def _mean(series: Series, seed: int) -> Interval:
    """Mean over judged frames; blocks keep their half second where only every n-th frame was judged."""
    known = series[np.isfinite(series)]
    stride = max(round(len(series) / max(len(known), 1)), 1)
    return mean_interval(known, block=max(BLOCK // stride, 1), seed=seed)


def _capped(metric: str, series: Series) -> Series:
    return np.minimum(series, PSNR_CEILING) if metric == "psnr" else series
