"""How well a prior tells the lips of people: correlations clip by clip, at three offsets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from talksplat.clock import FRAME_RATE
from talksplat.metrics.sync import correlation
from talksplat.prior.fit import FEWEST_PEOPLE, Recipe, fit_prior, require_people
from talksplat.prior.offset import av_offset, lagged
from talksplat.prior.pool import PoolClip
from talksplat.progress import Reporter
from talksplat.speech.prior import MEASURES, ArticulationPrior


def judge_prior(prior: ArticulationPrior, clips: Sequence[PoolClip]) -> dict[str, Any]:
    """Correlations of what ``prior`` tells with what the ``clips`` show, and their means at the stated offsets."""
    rows = [judge_clip(prior, clip) for clip in clips]
    outputs = prior.outputs
    mean = {name: _mean([row["stated"][name] for row in rows]) for name in outputs}
    elsewhere = {
        place: {name: _mean([row[place][name] for row in rows]) for name in MEASURES} for place in ("zero", "best")
    }
    return {"mean": mean, **{f"mean_{place}": values for place, values in elsewhere.items()}, "clips": rows}


def judge_clip(prior: ArticulationPrior, clip: PoolClip) -> dict[str, Any]:
    """One clip's correlations at its stated offset, at 0 and at the offset that the prior estimates.

    None stands for what does not move or is too short to be correlated, as JSON has no other word for it.
    """
    told, shown = prior.tell(clip.features), clip.targets(prior.components)
    found = av_offset(clip.features, clip.mouth, prior)

    def at(lag: float) -> dict[str, float | None]:
        lips, sound = lagged(len(clip), round(lag))
        return {name: _known(correlation(told[sound, n], shown[lips, n])) for n, name in enumerate(prior.outputs)}

    return {
        "file": clip.name,
        "lips_late_frames": clip.lips_late_frames,
        "estimated": found.lips_late_frames,
        "agreement": _known(found.agreement),
        "stated": at(clip.lips_late_frames),
        "zero": at(0.0),
        "best": at(found.lips_late_frames),
    }


def judge_on_people_left_out(
    clips: Sequence[PoolClip], seed: int, reporter: Reporter, recipe: Recipe | None = None
) -> dict[str, Any]:
    """As :func:`judge_prior`, each person judged by a prior fitted and chosen on all others (nested leave-people-out).

    Raises:
        InputError: clips of fewer than three people.
    """
    require_people(clips, FEWEST_PEOPLE + 1)
    rows: list[dict[str, Any]] = []
    quiet = Reporter(quiet=True)
    for person in reporter.track(list(dict.fromkeys(clip.person for clip in clips)), "people left out"):
        prior = fit_prior([clip for clip in clips if clip.person != person], seed, quiet, recipe)
        rows += [judge_clip(prior, clip) for clip in clips if clip.person == person]
    return {"mean": {name: _mean([row["stated"][name] for row in rows]) for name in MEASURES}, "clips": rows}


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def carded_prior(clips: Sequence[PoolClip], seed: int, reporter: Reporter, *, judged: bool) -> ArticulationPrior:
    """A prior from all ``clips`` with the card that says what it is and, if ``judged``, how well it does."""
    if judged:
        require_people(clips, FEWEST_PEOPLE + 1)
    prior = fit_prior(clips, seed, reporter)
    card = {
        **prior.card,
        "command": f"talksplat prior train DIR --out FILE --seed {seed}",
        "clips": [
            {"file": clip.name, "seconds": round(len(clip) / FRAME_RATE, 1), "source": clip.source} for clip in clips
        ],
    }
    if judged:
        found = judge_on_people_left_out(clips, seed, reporter)
        card["people left out"] = {
            "mean": found["mean"],
            "opening": {row["file"]: row["stated"]["opening"] for row in found["clips"]},
        }
    return dataclasses.replace(prior, card=card)


def table(result: dict[str, Any]) -> str:
    """What :func:`judge_prior` found, as lines for the terminal."""
    lines = [f"{'clip':<28} {'opening':>8} {'width':>8} {'outer':>8} {'at 0':>6} {'best':>6} {'late':>6} {'told':>6}"]
    for row in result["clips"]:
        places = " ".join(_figure(row[place]["opening"], 6) for place in ("zero", "best"))
        late = f"{row['lips_late_frames']:6.1f} {row['estimated']:6.1f}"
        lines.append(f"{row['file']:<28} {_measures(row['stated'])} {places} {late}")
    return "\n".join([*lines, f"{'mean':<28} {_measures(result['mean'])}"])


def _measures(correlations: dict[str, float | None]) -> str:
    return " ".join(_figure(correlations[name], 8) for name in MEASURES)


def _figure(value: float | None, width: int) -> str:
    return "–".rjust(width) if value is None else f"{value:{width}.2f}"
