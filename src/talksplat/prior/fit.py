"""Fitting a prior: ridge regression and small networks side by side, every choice by leaving people out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor, nn
from torch.nn import functional as F

from talksplat.errors import InputError
from talksplat.metrics.sync import correlation
from talksplat.prior.pool import PoolClip
from talksplat.progress import Reporter
from talksplat.speech.encoders import ENCODERS
from talksplat.speech.live import LIVE_LAGS
from talksplat.speech.prior import ENCODER, MEASURES, ArticulationPrior, Layer, LiveForm, Members
from talksplat.speech.ridge import lip_inputs
from talksplat.speech.standardization import Standardization

PENALTIES = (1e3, 2e3, 4e3, 8e3, 1.6e4)
"""Of ridge regression; the best is chosen by leaving people out."""
COMPONENTS = 4
"""Principal components of lip shape that are told; speech tells next to nothing of the fifth (correlation 0.1)."""
FEWEST_PEOPLE = 2


@dataclass(frozen=True)
class Recipe:
    """The networks' training; the defaults did best when people of the shipped pool were left out."""

    networks: int = 2
    hidden: int = 96
    steps: int = 1000
    batch: int = 192
    rate: float = 2e-3
    decay: float = 0.05
    noise: float = 0.4
    """Standard deviations added to the speech features."""
    drop_inputs: float = 0.3
    drop_hidden: float = 0.4
    measures: float = 3.0
    """What a mouth measure counts for against any other output."""


LIVE_NETWORKS, LIVE_HIDDEN = 1, 48
"""At most so many, so wide in the live form: the file stays under half a megabyte."""


@dataclass(frozen=True)
class Lesson:
    """Speech and articulation of one clip, put together."""

    name: str
    person: str
    inputs: Float64[np.ndarray, "n inputs"]
    targets: Float64[np.ndarray, "n outputs"]


def fit_prior(
    clips: Sequence[PoolClip], seed: int, reporter: Reporter, recipe: Recipe | None = None
) -> ArticulationPrior:
    """A prior from all ``clips``; the same clips and seed give the same prior.

    Raises:
        InputError: clips of fewer than two people: nothing could be chosen by leaving one out.
    """
    require_people(clips, FEWEST_PEOPLE)
    recipe = recipe or Recipe()
    components = lip_components(clips)
    lessons = [lesson_of(clip, components) for clip in clips]
    members, penalty = fit_members(lessons, recipe, seed, reporter)
    live_lessons = [lesson_of(clip, components, live=len(MEASURES) + len(components)) for clip in clips]
    networks, hidden = min(recipe.networks, LIVE_NETWORKS), min(recipe.hidden, LIVE_HIDDEN)
    small = dataclasses.replace(recipe, networks=networks, hidden=hidden)
    live, _ = fit_members(live_lessons, small, seed, reporter)
    return ArticulationPrior(
        members=members,
        outputs=clips[0].output_names(len(components)),
        components=components,
        spectral_channels=ENCODERS[ENCODER](1).spectral_channels,
        card={"penalty": penalty, "recipe": vars(recipe), "seed": seed},
        live=LiveForm(live, _typical(clips)),
    )


def fit_members(lessons: Sequence[Lesson], recipe: Recipe, seed: int, reporter: Reporter) -> tuple[Members, float]:
    """Ridge regression and the networks of ``recipe``, and the penalty that was chosen."""
    penalty, together = choose_penalty(lessons), joined(lessons)
    members: list[tuple[Layer, ...]] = [(_ridges(*together, [penalty])[0],)]
    for number in reporter.track(range(recipe.networks), "networks"):
        members.append(_network(*together, recipe, seed + number))
    return tuple(members), penalty


def _typical(clips: Sequence[PoolClip]) -> Standardization:
    """Means and deviations of raw features that a clip of the pool has on average."""
    own = [Standardization.of(clip.heard_live) for clip in clips]
    spread = np.stack([np.where(np.isfinite(one.deviation), one.deviation, 0.0) for one in own])
    deviation = np.sqrt(np.square(spread).mean(axis=0))
    return Standardization(
        mean=np.mean([one.mean for one in own], axis=0).astype(np.float32),
        deviation=np.where(deviation > 0, deviation, np.inf).astype(np.float32),
    )


def require_people(clips: Sequence[PoolClip], fewest: int) -> None:
    """Raise :class:`InputError` when the pool holds fewer people."""
    people = {clip.person for clip in clips}
    if len(people) < fewest:
        raise InputError(
            f"the pool holds clips of {len(people)} people; expected at least {fewest}",
            hint="add portraits of other people with `talksplat prior add PORTRAIT --to DIR`",
        )


def lip_components(clips: Sequence[PoolClip]) -> Float32[np.ndarray, "K 80"]:
    """The first principal components of how all people's lips leave their own mean."""
    centered = np.concatenate([clip.lips - clip.lips.mean(0) for clip in clips])
    _, _, axes = np.linalg.svd(centered.astype(np.float64), full_matrices=False)
    axes = axes[:COMPONENTS]
    return (axes * np.sign(axes.sum(1, keepdims=True))).astype(np.float32)


def lesson_of(
    clip: PoolClip,
    components: Float32[np.ndarray, "K 80"],
    live: int = 0,
) -> Lesson:
    """What a clip teaches, its lips moved to the sound they belong to; the first ``live`` outputs in the live form."""
    lips, sound = clip.together()
    spectral = ENCODERS[ENCODER](1).spectral_channels
    targets = clip.targets(components)[lips].astype(np.float64)
    if live:
        heard = Standardization.of(clip.heard_live).apply(clip.heard_live)
        return Lesson(clip.name, clip.person, lip_inputs(heard, sound, spectral, LIVE_LAGS), targets[:, :live])
    return Lesson(clip.name, clip.person, lip_inputs(clip.features, sound, spectral), targets)


def choose_penalty(lessons: Sequence[Lesson]) -> float:
    """The ridge penalty under which the lip opening of people left out correlates best."""
    found = np.zeros(len(PENALTIES))
    for person in dict.fromkeys(lesson.person for lesson in lessons):
        others = joined([lesson for lesson in lessons if lesson.person != person])
        fits = _ridges(*others, PENALTIES)
        for lesson in lessons:
            if lesson.person == person:
                told = [(lesson.inputs @ weights + bias)[:, 0] for weights, bias in fits]
                found += [correlation(opening, lesson.targets[:, 0]) for opening in told]
    return PENALTIES[int(found.argmax())]


def joined(lessons: Sequence[Lesson]) -> tuple[Float64[np.ndarray, "n inputs"], Float64[np.ndarray, "n outputs"]]:
    """Speech and articulation of all lessons, one after the other."""
    return np.concatenate([lesson.inputs for lesson in lessons]), np.concatenate([lesson.targets for lesson in lessons])


def _ridges(
    inputs: Float64[np.ndarray, "n inputs"], targets: Float64[np.ndarray, "n outputs"], penalties: Sequence[float]
) -> list[Layer]:
    """Ridge regression under each of the penalties."""
    center, mean = inputs.mean(0), targets.mean(0)
    spread = inputs - center
    square, known, ones = spread.T @ spread, spread.T @ (targets - mean), np.eye(len(center))
    found = [np.linalg.solve(square + penalty * ones, known) for penalty in penalties]
    return [(weights.astype(np.float32), (mean - center @ weights).astype(np.float32)) for weights in found]


def _network(
    inputs: Float64[np.ndarray, "n inputs"], targets: Float64[np.ndarray, "n outputs"], recipe: Recipe, seed: int
) -> tuple[Layer, ...]:
    """Two hidden layers, with noise and dropout: people are few."""
    chance = torch.Generator().manual_seed(seed)
    known, wanted = torch.from_numpy(inputs).float(), torch.from_numpy(targets).float()
    widths = (known.shape[1], recipe.hidden, recipe.hidden, wanted.shape[1])
    layers = [nn.Linear(before, after) for before, after in pairwise(widths)]
    with torch.no_grad():
        for layer in layers:
            layer.weight.normal_(0, layer.in_features**-0.5, generator=chance)
            layer.bias.zero_()
    counts = torch.ones(wanted.shape[1])
    counts[: len(MEASURES)] = recipe.measures
    optimizer = torch.optim.AdamW([p for layer in layers for p in layer.parameters()], weight_decay=recipe.decay)
    for step in range(recipe.steps):
        optimizer.param_groups[0]["lr"] = recipe.rate * 0.5 * (1 + np.cos(np.pi * step / recipe.steps))
        rows = torch.randint(len(known), (recipe.batch,), generator=chance)
        values = known[rows] + recipe.noise * torch.randn((recipe.batch, widths[0]), generator=chance)
        values = _dropped(values, recipe.drop_inputs, chance)
        for layer in layers[:-1]:
            values = _dropped(F.relu(layer(values)), recipe.drop_hidden, chance)
        loss = ((layers[-1](values) - wanted[rows]).square() * counts).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tuple((layer.weight.detach().T.numpy().copy(), layer.bias.detach().numpy().copy()) for layer in layers)


def _dropped(values: Float[Tensor, "n width"], share: float, chance: torch.Generator) -> Float[Tensor, "n width"]:
    return values * (torch.rand(values.shape, generator=chance) > share) / (1 - share)
