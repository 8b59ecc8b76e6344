"""Copies of a pool's clips as other microphones, rooms and mouths would have given them, from mel rows alone.

A pool holds no sound. Its mel rows are 2 + log10 of power (dB / 10 + 2, whole numbers being 10 dB), so noise adds to
them in power, a room smears power over rows, and a vocal tract of another length shifts bins; the embedding of what
comes out is computed anew. A copy is the same person: it never meets the clip it was made from across a comparison.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float32

from talksplat.prior.pool import MARGIN_ROWS, PoolClip, embedded
from talksplat.speech.encoders import EmbeddingEncoder

Rows = Float[np.ndarray, "rows 32"]
Change = Callable[[Rows, np.random.Generator], Rows]


def noisy(mel: Rows, chance: np.random.Generator) -> Rows:
    """Noise with the recording's own mean spectrum (babble) or a flat one (hiss), 5 to 20 dB below it."""
    power = 10.0**mel
    level = power.mean(axis=0) if chance.random() < 0.5 else np.full(power.shape[1], power.mean())
    noise = level * 10 ** -chance.uniform(0.5, 2.0) * chance.gamma(2.0, 0.5, power.shape)
    return np.log10(power + noise)


def gained(mel: Rows, chance: np.random.Generator) -> Rows:
    """Up to 12 dB louder or softer; what falls under the recording's floor is lost."""
    return np.maximum(mel + chance.uniform(-1.2, 1.2), mel.min())


def reverberant(mel: Rows, chance: np.random.Generator) -> Rows:
    """A room whose tail holds 5 to 30 % of the power and falls by 60 dB in 0.3 to 0.8 s."""
    power, share = 10.0**mel, chance.uniform(0.05, 0.3)
    tail = 10 ** (-6.0 * np.arange(1, 81) / (100 * chance.uniform(0.3, 0.8)))
    kernel = np.concatenate([[1 - share], share * tail / tail.sum()])
    smeared = [np.convolve(column, kernel)[: len(power)] for column in power.T]
    return np.log10(np.maximum(np.stack(smeared, axis=1), 10.0 ** mel.min()))


def banded(mel: Rows, chance: np.random.Generator) -> Rows:
    """Without up to 4 of the lowest and up to 6 of the highest bins, as through a telephone."""
    low, high = chance.integers(0, 5), chance.integers(0, 7)
    bins = np.arange(mel.shape[1])
    return np.where((bins >= low) & (bins < mel.shape[1] - high), mel, mel.min())


def tilted(mel: Rows, chance: np.random.Generator) -> Rows:
    """A microphone that favours lows or highs by up to 8 dB at the ends."""
    return np.maximum(mel + chance.uniform(-0.8, 0.8) * np.linspace(-1, 1, mel.shape[1]), mel.min())


def warped(mel: Rows, chance: np.random.Generator) -> Rows:
    """A vocal tract up to 12 % longer or shorter."""
    bins = np.arange(mel.shape[1])
    places = bins * chance.uniform(0.88, 1.12)
    return np.stack([np.interp(places, bins, row) for row in mel])


CHANGES: dict[str, Change] = {
    "noise": noisy,
    "gain": gained,
    "reverberation": reverberant,
    "band limits": banded,
    "tilt": tilted,
    "vocal tract": warped,
}
"""What may happen to a recording's sound, by name."""


def changed(clip: PoolClip, names: tuple[str, ...], encoder: EmbeddingEncoder) -> PoolClip:
    """A copy of ``clip`` that all of ``names`` happened to, in their order; `tempo` is one of them.

    Chance hangs on the clip's name alone.
    """
    chance = np.random.default_rng([0, *clip.name.encode()])
    mel = clip.mel.astype(np.float64)
    for name in names:
        if name == "tempo":
            clip, mel = _faster(clip, mel, chance.uniform(0.85, 1.18))
        else:
            mel = CHANGES[name](mel, chance)
    heard = mel.astype(np.float32)
    return dataclasses.replace(clip, name="+".join((clip.name, *names)), mel=heard, embedding=embedded(heard, encoder))


def _faster(clip: PoolClip, mel: Rows, speed: float) -> tuple[PoolClip, Rows]:
    """Sound and lips said ``speed`` times as fast."""
    count = int((len(clip) - 1) / speed)
    frames = np.arange(count) * speed
    rows = MARGIN_ROWS + (np.arange(4 * count + 2 * MARGIN_ROWS - 3) - MARGIN_ROWS) * speed
    parts = {name: _between(getattr(clip, name), frames) for name in ("mouth", "lips", "blendshapes")}
    return dataclasses.replace(clip, lips_late_frames=clip.lips_late_frames / speed, **parts), _between(mel, rows)


def _between(values: Float[np.ndarray, "n width"], places: Float[np.ndarray, " m"]) -> Float32[np.ndarray, "m width"]:
    """Rows at fractional ``places``, linearly; the first and the last go on for ever."""
    known = np.arange(len(values))
    return np.stack([np.interp(places, known, column) for column in values.T], axis=1).astype(np.float32)
