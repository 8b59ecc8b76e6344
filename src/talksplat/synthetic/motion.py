"""How the person moves besides the mouth: turns and nods, breath, blinks, glances, brows raised on stressed words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from talksplat.camera import rotations_of_euler
from talksplat.synthetic.speech import PAUSE, Speech

NECK_PIVOT_M = np.array([0.0, 0.055, 0.05])
"""Where the head turns, in its own axes."""
HOME_M = np.array([0.0, -0.045, 0.80])
"""Place of the head before the camera."""
TURN_RAD = np.radians([5.0, 10.5, 3.2])
"""Bounds of nod, turn and tilt by slow noise; nods on stressed words come on top."""
BLINK_S = (0.09, 0.05, 0.15)
"""Closing, shut, opening."""
LONG_VOWEL_S = 0.105


@dataclass(frozen=True)
class Motion:
    """Movements at a row of times."""

    head_to_camera: Float[np.ndarray, "T 4 4"]
    trunk_to_camera: Float[np.ndarray, "T 4 4"]
    gaze: Float[np.ndarray, "T 2"]
    """Towards the person's left and up, radians."""
    blink: Float[np.ndarray, " T"]
    brows: Float[np.ndarray, " T"]
    smile: Float[np.ndarray, " T"]


class Wander:
    """Endless smooth noise between -1 and 1: sines of unrelated frequencies."""

    def __init__(self, rng: np.random.Generator, slowest_hz: float, fastest_hz: float, channels: int) -> None:
        waves = 7
        ladder = np.geomspace(slowest_hz, fastest_hz, waves)
        self._frequency = ladder * rng.uniform(0.85, 1.15, (channels, waves))
        self._phase = rng.uniform(0, 2 * np.pi, (channels, waves))
        strength = ladder**-0.75
        self._strength = strength / strength.sum()

    def __call__(self, times: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T channels"]:
        """Values at ``times``, seconds."""
        angle = 2 * np.pi * self._frequency * times[:, None, None] + self._phase
        return np.tanh(1.9 * (np.sin(angle) * self._strength).sum(-1))


def _bump(times, start: float, rise: float, hold: float, fall: float) -> Float[np.ndarray, " T"]:
    """Smooth 0 -> 1 -> 0; exactly 1 for ``hold`` seconds."""
    share = np.clip(np.minimum((times - start) / rise, (start + rise + hold + fall - times) / fall), 0, 1)
    return share * share * (3 - 2 * share)


def _blinks(rng: np.random.Generator, times: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """A blink every 2 to 5 seconds."""
    shut, start = np.zeros(len(times)), rng.uniform(0.8, 2.0)
    while start < times.max() + 1:
        shut = np.maximum(shut, _bump(times, start, *BLINK_S))
        start += rng.uniform(2.0, 5.0)
    return shut


def _glances(rng: np.random.Generator, times: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T 2"]:
    """Gaze mostly on the camera, leaping within 50 ms to places beside it and back."""
    gaze, at, start = np.zeros((len(times), 2)), np.zeros(2), rng.uniform(1.0, 2.5)
    while start < times.max() + 1:
        to = np.zeros(2) if np.any(at) and rng.uniform() < 0.7 else rng.normal(0, (0.13, 0.07))
        gaze += np.clip((times - start) / 0.05, 0, 1)[:, None] * (to - at)
        at, start = to, start + rng.uniform(0.7, 2.4)
    return gaze


def _stresses(rng: np.random.Generator, speech: Speech) -> list[float]:
    """Times of some of the long vowels, at least 1.2 seconds apart."""
    chosen: list[float] = []
    for phoneme in speech.phonemes:
        long = phoneme.symbol != PAUSE and phoneme.symbol[0] not in "pbmn" and phoneme.end_s - phoneme.start_s
        apart = not chosen or phoneme.start_s - chosen[-1] > 1.2
        if long and long > LONG_VOWEL_S and apart and rng.uniform() < 0.55:
            chosen.append(phoneme.start_s)
    return chosen


def _transforms(angles: Float[np.ndarray, "T 3"], place: Float[np.ndarray, "T 3"], pivot: Float[np.ndarray, "3"]):
    """Rigid transforms that turn about ``pivot`` and put the origin of the unturned head at ``place``."""
    rotation = rotations_of_euler(torch.from_numpy(angles)).numpy()
    result = np.tile(np.eye(4), (len(angles), 1, 1))
    result[:, :3, :3] = rotation
    result[:, :3, 3] = place + pivot - rotation @ pivot
    return result


def move(seed: int, speech: Speech, times: Float[np.ndarray, " T"]) -> Motion:
    """The movements of person ``seed`` while saying ``speech``."""
    rng = np.random.default_rng((seed, len(speech.samples), 71))
    turning, drifting = Wander(rng, 0.07, 0.75, 3), Wander(rng, 0.05, 0.4, 3)
    blink, gaze = _blinks(rng, times), _glances(rng, times)
    angles = TURN_RAD * turning(times)
    brows, smile = np.zeros(len(times)), 0.12 + 0.12 * Wander(rng, 0.05, 0.3, 1)(times)[:, 0]
    for start in _stresses(rng, speech):
        strength = rng.uniform(0.35, 1.0)
        brows = np.maximum(brows, strength * _bump(times, start - 0.12, 0.16, 0.14, 0.4))
        angles[:, 0] += np.radians(2.2) * strength * _bump(times, start - 0.05, 0.14, 0.02, 0.3)
    breath = np.sin(2 * np.pi * (0.27 * times + rng.uniform()))
    drift = drifting(times) * (0.007, 0.003, 0.008)
    lifted = drift + np.stack([0 * breath, -0.0016 * breath, 0.0008 * breath], -1)
    trunk_place = 0.45 * drift + np.stack([0 * breath, -0.0026 * breath, -0.0012 * breath], -1)
    gaze = gaze - 0.35 * angles[:, [1, 0]] * (1, -1)
    return Motion(
        head_to_camera=_transforms(angles, HOME_M + lifted, NECK_PIVOT_M),
        trunk_to_camera=_transforms(0.10 * angles, HOME_M + trunk_place, np.array([0.0, 0.35, 0.06])),
        gaze=gaze,
        blink=blink,
        brows=brows,
        smile=smile,
    )
