"""What a person's lips do when that person speaks: the shared prior, adapted to whoever was filmed.

Every measure k of articulation is told as

    s_k prior_k + w_k . window + b_k

in closed form: s is the slope of the recording against the prior, w ridge regression of what the prior leaves. With
s = 0 it is the person's own regression, with an infinite penalty the prior alone; which of them, and the penalty, is
chosen for each measure by blocks of the training frames, in favour of the prior alone where that is no clear call. What
is told comes to the speech features as further channels, so that a speech net need not find it out from seconds of
footage.

An avatar is trained with what the lips really did in these channels, not with what is told of it: pictures and channels
then agree, and mouths are sharp, open wide and close. What is told of new speech takes their place afterwards: read as
one mouth, since measures told each by itself are of none that the avatar has seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from talksplat.clock import STEPS_PER_FRAME
from talksplat.speech.prior import ArticulationPrior
from talksplat.speech.ridge import PENALTIES, blocks, lip_inputs, ridge, ridge_path

MARGIN = 4
"""Frames on either side of a frame that its channels depend on."""
LEAST_TOLD = 0.25
"""Deviation that what is told is taken to have at least: with less it is mostly noise, and not made louder still."""
OWN = ("shares", "weights", "bias", "mixing", "offset")
"""The tensors that are the person's own."""
Features = Float[np.ndarray, "steps channels"]


@dataclass(frozen=True)
class Articulator:
    """A person's articulation from speech."""

    prior: ArticulationPrior
    shares: Float32[np.ndarray, " K"]
    """s_k: what a deviation of the prior means in this person's deviations."""
    weights: Float32[np.ndarray, "inputs K"]
    bias: Float32[np.ndarray, " K"]
    mixing: Float32[np.ndarray, "K K"]
    """Turns measures told each by itself into those of one mouth, see :func:`_one_mouth`."""
    offset: Float32[np.ndarray, " K"]

    @property
    def channels(self) -> int:
        """Channels that are added."""
        return len(self.shares)

    def tell(self, features: Features, frames: Int64[np.ndarray, " batch"]) -> Float32[np.ndarray, "batch K"]:
        """Articulation of ``frames``, in the person's standard deviations."""
        window = lip_inputs(features, frames, self.prior.spectral_channels).astype(np.float32)
        told = self.prior.tell(features, frames)[:, : self.channels]
        return self.shares * told + window @ self.weights + self.bias

    def extended(self, features: Features) -> Float32[np.ndarray, "steps more"]:
        """Standardised features of a whole recording with the articulation's channels behind them."""
        return extended_by(features, self.channels_of(features, np.arange(len(features) // STEPS_PER_FRAME)))

    def channels_of(self, features: Features, frames: Int64[np.ndarray, " batch"]) -> Float32[np.ndarray, "batch K"]:
        """What the channels say of ``frames``: :meth:`tell`, read as one mouth and less shy."""
        return self.tell(features, frames) @ self.mixing + self.offset

    def stream(self, blocks: Iterable[Features]) -> Iterator[Float32[np.ndarray, "steps more"]]:
        """The same, block by block as features come; a block comes out :data:`MARGIN` frames after it went in."""
        held: Float32[np.ndarray, "steps channels"] | None = None
        first = done = 0
        for block in blocks:
            held = block if held is None else np.concatenate([held, block])
            ready = first + len(held) // STEPS_PER_FRAME - MARGIN
            if ready > done:
                yield self._part(held, done - first, ready - first)
                kept = max(ready - MARGIN, 0)
                held, first, done = held[STEPS_PER_FRAME * (kept - first) :], kept, ready
        if held is not None and len(held):
            yield self._part(held, done - first, len(held) // STEPS_PER_FRAME)

    def _part(self, held: Features, start: int, stop: int) -> Float32[np.ndarray, "part more"]:
        """Frames ``start`` to ``stop`` of ``held``, which reaches :data:`MARGIN` frames beyond or to an end."""
        steps = slice(STEPS_PER_FRAME * start, STEPS_PER_FRAME * stop)
        return extended_by(held[steps], self.channels_of(held, np.arange(start, stop)))

    def tensors(self) -> dict[str, np.ndarray]:
        """What an avatar file keeps, the prior included; with its :meth:`ArticulationPrior.about` it is all."""
        prior = {f"prior/{name}": value for name, value in self.prior.tensors().items()}
        return prior | {name: getattr(self, name) for name in OWN}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, np.ndarray], about: dict[str, Any]) -> Articulator:
        """What :meth:`tensors` gave, or what an older version did: ``shyness``, that each measure was divided by."""
        shared = {name.removeprefix("prior/"): value for name, value in tensors.items() if name.startswith("prior/")}
        if (shyness := tensors.get("shyness")) is not None:
            tensors = {**tensors, "mixing": np.diag(1 / shyness), "offset": np.zeros_like(shyness)}
        return cls(ArticulationPrior.of_tensors(shared, about), **{name: tensors[name] for name in OWN})


def extended_by(features: Features, told: Float32[np.ndarray, "T K"]) -> Float32[np.ndarray, "steps more"]:
    """Features with what is told of their frames behind them, the same on both steps of a frame.

    Interpolated to the steps it would be smoothed, and the lips of p, b and m are shut for a frame or two only.
    """
    return np.concatenate([features, np.repeat(told, STEPS_PER_FRAME, axis=0)], axis=1).astype(np.float32)


def fit_articulator(
    prior: ArticulationPrior,
    features: Features,
    targets: Float[np.ndarray, "T K"],
    train_frames: Int64[np.ndarray, " train"],
) -> Articulator:
    """Adapt ``prior`` to a recording; where it is too short to judge anything by blocks, the prior alone tells.

    Args:
        features: standardised features of the recording.
        targets: articulation in the person's deviations, in the order of the prior's first outputs.
        train_frames: frames that may be looked at.
    """
    frames = np.sort(train_frames)
    inputs = lip_inputs(features, frames, prior.spectral_channels)
    told = prior.tell(features, frames)[:, : targets.shape[1]].astype(np.float64)
    wanted = targets[frames].astype(np.float64)
    guesses = _held_out(inputs, told, wanted, frames)
    enough = sum(len(held) for _, held in blocks(frames)) == len(frames)
    choice = _best(guesses, wanted, frames) if enough else np.full(wanted.shape[1], len(guesses) - 1)
    with_prior, penalty = choice // (len(PENALTIES) + 1), choice % (len(PENALTIES) + 1)
    shares = np.where(with_prior, _slopes(told, wanted), 0.0)
    left = wanted - shares * told
    weights, bias = ridge(inputs, left, np.append(PENALTIES, np.inf)[penalty])
    columns = np.arange(wanted.shape[1])
    mixing, offset = np.eye(len(columns)), np.zeros(len(columns))
    if enough:
        mixing, offset = _one_mouth(guesses[choice, :, columns].T, wanted)
    return Articulator(
        prior=prior,
        shares=shares.astype(np.float32),
        weights=weights.astype(np.float32),
        bias=bias.astype(np.float32),
        mixing=mixing.astype(np.float32),
        offset=offset.astype(np.float32),
    )


def _one_mouth(
    told: Float64[np.ndarray, "n K"], wanted: Float64[np.ndarray, "n K"]
) -> tuple[Float64[np.ndarray, "K K"], Float64[np.ndarray, " K"]]:
    """Matrix and offset from measures told one by one, on held-out frames, to the likeliest mouth behind them.

    Regression that agrees with a measure by r moves r times as far: told / r^2 is the measure and noise of variance
    (1 - r^2) / r^2. A mouth moves in few ways, so that its measures lie close to a plane; what is told of each leaves
    that plane, where no avatar has been. With S the covariance of what was recorded and D that of the noise, the
    likeliest mouth is S (S + D)^-1 of the measures (Wiener's filter), and lies close to the plane.

    Its size is chosen for the whole. With the least error lips would move r times as far as they do, which looks
    sleepy; here it is the root of r (as means over the measures), half way to as far as they do.
    """
    strength = np.clip(told.std(axis=0), LEAST_TOLD, 1.0)
    shape, noise = np.cov(wanted.T), (1 - strength**2) / strength**2
    ones = np.eye(len(shape))
    mixing = np.linalg.solve(shape + np.diag(noise) + 1e-6 * ones, shape) / (strength**2)[:, None]
    mouth = (told - told.mean(axis=0)) @ mixing
    agreement = np.sqrt(np.square(strength).mean())
    spread = np.sqrt(mouth.var(axis=0).sum() / max(wanted.var(axis=0).sum(), 1e-9))
    mixing *= np.sqrt(agreement) / max(spread, 1e-6)
    return mixing, wanted.mean(axis=0) - told.mean(axis=0) @ mixing


def _held_out(
    inputs: Float64[np.ndarray, "n inputs"],
    told: Float64[np.ndarray, "n K"],
    wanted: Float64[np.ndarray, "n K"],
    frames: Int64[np.ndarray, " n"],
) -> Float64[np.ndarray, "choices n K"]:
    """What every choice (own or with the prior, every penalty, the last infinite) tells of blocks held out."""
    penalties, count = len(PENALTIES) + 1, wanted.shape[1]
    guesses = np.zeros((2, penalties, *wanted.shape))
    for kept, held in blocks(frames):
        shares = _slopes(told[kept], wanted[kept])
        left = wanted[kept] - shares * told[kept]
        both = np.concatenate([wanted[kept], left], axis=1)
        path = ridge_path(inputs[kept], both, inputs[held])
        path = np.concatenate([path, np.broadcast_to(both.mean(axis=0), (1, *path.shape[1:]))])
        guesses[0][:, held] = path[:, :, :count]
        guesses[1][:, held] = path[:, :, count:] + shares * told[held]
    return guesses.reshape(2 * penalties, *wanted.shape)


def _best(
    guesses: Float64[np.ndarray, "choices n K"], wanted: Float64[np.ndarray, "n K"], frames: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " K"]:
    """The choice with the smallest squared error on held-out frames, for each measure, or the prior alone.

    Each block is judged about its own mean: a mouth may be more open on average in one block than in the others.
    The prior alone stays unless the best choice is better by more than one standard error over the blocks: among fifty
    choices one always looks better on some hundred frames.
    """
    errors = []
    for _, held in blocks(frames):
        missed = guesses[:, held] - wanted[held]
        errors.append(np.square(missed - missed.mean(axis=1, keepdims=True)).sum(axis=1))
    alone, columns = len(guesses) - 1, np.arange(wanted.shape[1])
    best = np.sum(errors, axis=0).argmin(axis=0)
    saved = np.stack([by_choice[alone] - by_choice[best, columns] for by_choice in errors])
    certain = saved.sum(axis=0) > saved.std(axis=0, ddof=1) * np.sqrt(len(saved))
    return np.where(certain, best, alone)


def _slopes(told: Float64[np.ndarray, "n K"], wanted: Float64[np.ndarray, "n K"]) -> Float64[np.ndarray, " K"]:
    """Least-squares slope of what was measured against what the prior tells, never negative."""
    centered = told - told.mean(axis=0)
    return np.maximum((centered * wanted).sum(axis=0) / np.maximum(np.square(centered).sum(axis=0), 1e-9), 0.0)
