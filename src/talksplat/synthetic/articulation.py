"""From phonemes to the mouth's movements: one target per sound, blended by how strongly each sound insists on it.

The blend is that of Cohen and Massaro (1993, "Modeling coarticulation in synthetic visual speech"): every sound has a
dominance that rises before it and decays after it, and an action is the mean of the targets weighted by dominance.
Closures are laid over the blend: in the shut part of p, b and m the rims of the lips coincide exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from talksplat.clock import FRAME_RATE
from talksplat.synthetic.speech import PAUSE, Phoneme, Speech

ACTIONS = ("jaw", "rounding", "spreading", "upper_lip", "lower_lip", "tuck", "press", "tongue", "seal")
"""Columns of a target: the fields of :class:`Expression` that speech moves."""


@dataclass(frozen=True)
class Target:
    """What one sound wants of the mouth, and how much it insists (vowels 1, weaker for most consonants)."""

    values: tuple[float, ...]
    """One for each of :data:`ACTIONS`."""
    insistence: float = 1.0


def _target(insistence: float = 1.0, **values: float) -> Target:
    return Target(tuple(values.get(name, 0.0) for name in ACTIONS), insistence)


# Keys are IPA as espeak-ng writes it, less length marks; diphthongs are pairs of vowels.
TARGETS: dict[str, Target] = {
    PAUSE: _target(1.2, seal=1.0),
    "ɑ": _target(1.3, jaw=0.78, upper_lip=0.20, lower_lip=0.40),
    "a": _target(1.2, jaw=0.72, spreading=0.15, upper_lip=0.25, lower_lip=0.40),
    "æ": _target(1.2, jaw=0.62, spreading=0.45, upper_lip=0.40, lower_lip=0.50),
    "ʌ": _target(1.0, jaw=0.48, upper_lip=0.20, lower_lip=0.30),
    "ɐ": _target(0.8, jaw=0.42, upper_lip=0.15, lower_lip=0.25),
    "ə": _target(0.7, jaw=0.30, upper_lip=0.12, lower_lip=0.25),
    "ɚ": _target(0.8, jaw=0.26, rounding=0.40, upper_lip=0.15, lower_lip=0.25),
    "ɜ": _target(1.0, jaw=0.30, rounding=0.35, upper_lip=0.20, lower_lip=0.30),
    "ɛ": _target(1.1, jaw=0.42, spreading=0.50, upper_lip=0.35, lower_lip=0.45),
    "e": _target(1.1, jaw=0.36, spreading=0.60, upper_lip=0.35, lower_lip=0.45),
    "ɪ": _target(1.0, jaw=0.20, spreading=0.70, upper_lip=0.30, lower_lip=0.40),
    "i": _target(1.2, jaw=0.12, spreading=1.00, upper_lip=0.38, lower_lip=0.50),
    "ᵻ": _target(0.7, jaw=0.20, spreading=0.50, upper_lip=0.25, lower_lip=0.30),
    "ɔ": _target(1.1, jaw=0.58, rounding=0.62, lower_lip=0.25),
    "ɒ": _target(1.1, jaw=0.62, rounding=0.50, lower_lip=0.25),
    "o": _target(1.1, jaw=0.42, rounding=0.80, lower_lip=0.18),
    "ʊ": _target(1.1, jaw=0.20, rounding=0.90, seal=0.10),
    "u": _target(1.3, jaw=0.14, rounding=1.10, seal=0.20),
    "p": _target(0.9, press=0.65, jaw=0.08, seal=1.0),
    "b": _target(0.9, press=0.60, jaw=0.08, seal=1.0),
    "m": _target(0.9, press=0.40, jaw=0.08, seal=1.0),
    "f": _target(0.9, tuck=1.0, upper_lip=0.30, jaw=0.10),
    "v": _target(0.9, tuck=0.9, upper_lip=0.28, jaw=0.10),
    "w": _target(1.0, rounding=1.15, jaw=0.10, seal=0.45),
    "ɹ": _target(0.6, rounding=0.55, jaw=0.20, upper_lip=0.15, lower_lip=0.2, seal=0.1),
    "ʃ": _target(0.8, rounding=0.60, jaw=0.06, upper_lip=0.45, lower_lip=0.50, seal=0.1),
    "ʒ": _target(0.8, rounding=0.60, jaw=0.06, upper_lip=0.45, lower_lip=0.50, seal=0.1),
    "j": _target(0.5, spreading=0.60, jaw=0.12, upper_lip=0.2, lower_lip=0.3),
    "θ": _target(0.6, tongue=0.95, jaw=0.18, upper_lip=0.2, lower_lip=0.3),
    "ð": _target(0.6, tongue=0.90, jaw=0.18, upper_lip=0.2, lower_lip=0.3),
    "l": _target(0.5, tongue=1.00, jaw=0.28, upper_lip=0.15, lower_lip=0.3),
    "t": _target(0.45, tongue=0.85, jaw=0.12, upper_lip=0.2, lower_lip=0.35, seal=0.1),
    "d": _target(0.45, tongue=0.85, jaw=0.14, upper_lip=0.2, lower_lip=0.35, seal=0.1),
    "n": _target(0.45, tongue=0.85, jaw=0.14, upper_lip=0.15, lower_lip=0.3, seal=0.1),
    "s": _target(0.6, spreading=0.35, jaw=0.05, upper_lip=0.28, lower_lip=0.45, seal=0.1),
    "z": _target(0.6, spreading=0.35, jaw=0.05, upper_lip=0.28, lower_lip=0.45, seal=0.1),
    "k": _target(0.35, jaw=0.25, upper_lip=0.1, lower_lip=0.2),
    "ɡ": _target(0.35, jaw=0.25, upper_lip=0.1, lower_lip=0.2),
    "ŋ": _target(0.35, jaw=0.25, upper_lip=0.1, lower_lip=0.2),
    "h": _target(0.15, jaw=0.30),
}
MARKS = "ːˈˌ"
ANTICIPATION_S, CARRY_OVER_S = 0.055, 0.050
"""Time constants of a sound's dominance before and after it."""
JAW_SLOWNESS = 1.5
LEAST_SHUT_S = 1.08 / FRAME_RATE
"""No closure is shorter, so that one frame at least falls into each."""
CLOSING_S, RELEASE_S = 0.075, 0.065
SHUT_AFTER_S, OPEN_BEFORE_S = 0.22, 0.12
"""In pauses the lips are shut from so long after the last sound to so long before the next."""


@dataclass(frozen=True)
class _Sound:
    start_s: float
    end_s: float
    target: Target


def _sounds(phoneme: Phoneme) -> list[_Sound]:
    """The simple sounds of a phoneme, sharing its time evenly.

    Raises:
        KeyError: a symbol that has no target.
    """
    letters = [letter for letter in phoneme.symbol if letter not in MARKS]
    share = (phoneme.end_s - phoneme.start_s) / len(letters)
    starts = [phoneme.start_s + order * share for order in range(len(letters))]
    return [_Sound(start, start + share, TARGETS[letter]) for start, letter in zip(starts, letters, strict=True)]


def _closed(times: Float[np.ndarray, " T"], speech: Speech) -> Float[np.ndarray, " T"]:
    """How far closures have the lips shut: 1 within them, easing in and out."""
    spans = [(c.start_s, max(c.end_s, c.start_s + LEAST_SHUT_S)) for c in speech.closures]
    for phoneme in speech.phonemes:
        start, end = phoneme.start_s + SHUT_AFTER_S, phoneme.end_s - OPEN_BEFORE_S
        first, last = phoneme.start_s == 0, phoneme is speech.phonemes[-1]
        if phoneme.symbol == PAUSE and end > start:
            spans.append((-1.0 if first else start, speech.frames / FRAME_RATE + 1 if last else end))
    shut = np.zeros(len(times))
    for start, end in spans:
        share = np.minimum((times - start) / CLOSING_S + 1, (end - times) / RELEASE_S + 1)
        share = np.where((times >= start) & (times <= end), 1.0, np.clip(share, 0, 1 - 1e-9))
        shut = np.maximum(shut, share * share * (3 - 2 * share))
    return shut


def articulate(speech: Speech, times: Float[np.ndarray, " T"]) -> dict[str, Float[np.ndarray, " T"]]:
    """The speech's actions of :class:`Expression` at the given times (seconds)."""
    sounds = [sound for phoneme in speech.phonemes for sound in _sounds(phoneme)]
    start, end = (np.array([getattr(s, name) for s in sounds]) for name in ("start_s", "end_s"))
    insistence = np.array([s.target.insistence for s in sounds])
    targets = np.array([s.target.values for s in sounds])
    middle, half = (start + end) / 2, (end - start) / 2
    away = times[:, None] - middle
    # The core of a sound is the middle third of it; from there its dominance falls off exponentially.
    beyond = np.maximum(np.abs(away) - half / 3, 0)
    decay = np.where(away < 0, ANTICIPATION_S, CARRY_OVER_S)
    actions: dict[str, np.ndarray] = {}
    for name, column in zip(ACTIONS, targets.T, strict=True):
        # The jaw is heavy: it takes longer than lips and tongue.
        dominance = insistence * np.exp(-beyond / (decay * (JAW_SLOWNESS if name == "jaw" else 1))) + 1e-12
        actions[name] = dominance @ column / dominance.sum(1)
    shut = _closed(times, speech)
    actions["seal"] = np.maximum(actions["seal"], shut)
    actions["jaw"] = actions["jaw"] * (1 - 0.6 * shut)
    for name in ("upper_lip", "lower_lip", "tuck"):
        actions[name] = actions[name] * (1 - shut)
    return actions
