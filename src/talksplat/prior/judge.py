"""How well a prior tells the lips of people: correlations clip by clip, at three offsets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from talksplat.clock import FRAME_RATE
from talksplat.errors import PriorError
from talksplat.metrics.sync import correlation
from talksplat.prior.fit import FEWEST_PEOPLE, Recipe, fit_prior, require_people
from talksplat.prior.offset import av_offset, lagged
from talksplat.prior.pool import PoolClip
from talksplat.progress import Reporter
from talksplat.speech.live import tell_live
from talksplat.speech.prior import MEASURES, ArticulationPrior


def judge_prior(prior: ArticulationPrior, clips: Sequence[PoolClip]) -> dict[str, Any]:
    """Correlations of what ``prior`` tells with what the ``clips`` show, and their means at the stated offsets.

    ``seen`` are the clips that the prior was made from, which say nothing of other people.

    Raises:
        PriorError: the prior tells other blendshapes than the clips have.
    """
    for clip in clips:
        if clip.output_names(len(prior.components)) != prior.outputs:
            raise PriorError(
                f"clip `{clip.name}` has other blendshapes, or in another order, than the prior tells",
                hint="add it to a pool anew with `talksplat prior add`, or train a prior on this pool",
            )
    rows = [judge_clip(prior, clip) for clip in clips]
    mean = {name: _mean([row["stated"][name] for row in rows]) for name in prior.outputs}
    forms = ("zero", "best", *(("live",) if prior.live else ()))
    made_of = {row["file"] for row in prior.card.get("clips", ())}
    seen = [clip.name for clip in clips if clip.name in made_of]
    return {"mean": mean, **{f"mean_{form}": _measured(rows, form) for form in forms}, "seen": seen, "clips": rows}


def judge_clip(prior: ArticulationPrior, clip: PoolClip) -> dict[str, Any]:
    """One clip's correlations at its stated offset (also of what is told live), at 0 and at the offset estimated.

    None stands for what does not move or is too short to be correlated, as JSON has no other word for it.
    """
    told, shown = prior.tell(clip.features), clip.targets(prior.components)
    live = tell_live(prior, clip.heard_live) if prior.live else None
    found = av_offset(clip.features, clip.mouth, prior)

    def at(lag: float, told: Float32[np.ndarray, "T outputs"] = told) -> dict[str, float | None]:
        lips, sound = lagged(len(clip), round(lag))
        names = enumerate(prior.outputs[: told.shape[1]])
        return {name: _known(correlation(told[sound, n], shown[lips, n])) for n, name in names}

    return {
        "file": clip.name,
        "lips_late_frames": clip.lips_late_frames,
        "estimated": found.lips_late_frames,
        "agreement": _known(found.agreement),
        "stated": at(clip.lips_late_frames),
        "live": None if live is None else at(clip.lips_late_frames, live),
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
    return {"mean": _measured(rows, "stated"), "mean_live": _measured(rows, "live"), "clips": rows}


def _measured(rows: Sequence[dict[str, Any]], form: str) -> dict[str, float | None]:
    """Means over clips of the mouth measures' correlations."""
    return {name: _mean([row[form][name] for row in rows]) for name in MEASURES}


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
        "clips": [_named(clip) for clip in clips],
    }
    if judged:
        found = judge_on_people_left_out(clips, seed, reporter)
        card["people left out"] = {
            "mean": found["mean"],
            "mean live": found["mean_live"],
            "opening": {row["file"]: row["stated"]["opening"] for row in found["clips"]},
        }
    return dataclasses.replace(prior, card=card)


def _named(clip: PoolClip) -> dict[str, Any]:
    """What a card says of a clip: also whose lips they are and how they agreed, where the pool tells."""
    row = {"file": clip.name, "seconds": round(len(clip) / FRAME_RATE, 1), "source": clip.source}
    return row | ({"person": clip.person, "consent": clip.consent} if clip.consent else {})


def table(result: dict[str, Any]) -> str:
    """What :func:`judge_prior` found, as lines for the terminal."""
    forms = ("live", "zero", "best") if "mean_live" in result else ("zero", "best")
    names = [*MEASURES, *forms, "late", "found"]
    lines = [f"{'clip':<28} " + " ".join(f"{name:>{8 if name in MEASURES else 6}}" for name in names)]
    for row in result["clips"]:
        places = " ".join(_figure(row[form]["opening"], 6) for form in forms)
        late = f"{row['lips_late_frames']:6.1f} {row['estimated']:6.1f}"
        lines.append(f"{row['file']:<28} {_measures(row['stated'])} {places} {late}")
    lines.append(f"{'mean':<28} {_measures(result['mean'])}")
    if result["seen"]:
        lines.append(f"the prior was made from {', '.join(result['seen'])}: people it has not seen are told less well")
    return "\n".join(lines)


def means(correlations: dict[str, float | None]) -> str:
    """The mouth measures' mean correlations, as words."""
    return ", ".join(f"{name} {_figure(correlations[name], 0)}" for name in MEASURES)


def _measures(correlations: dict[str, float | None]) -> str:
    return " ".join(_figure(correlations[name], 8) for name in MEASURES)


def _figure(value: float | None, width: int) -> str:
    return "–".rjust(width) if value is None else f"{value:{width}.2f}"
