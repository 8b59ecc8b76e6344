"""Where nobody speaks, and what to feed an avatar there so that its mouth closes.

The gate compares the energy of every 50 Hz step with the recording's own speech level and noise floor. It is 1 in
pauses of at least 0.2 s, 0 in speech, and turns within 80 ms, so that it is 0 again when speech begins. A gated
condition moves towards the clip's own rest state: the mean of the features where the mouth was shut and nothing said.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from talksplat.clock import SAMPLE_RATE, SAMPLES_PER_FRAME, SAMPLES_PER_STEP, STEPS_PER_FRAME, frames_covering

WINDOW = SAMPLES_PER_FRAME
"""Samples whose energy stands for a step: 40 ms centred on it."""
MARGIN = (WINDOW - SAMPLES_PER_STEP) // 2
SHORTEST_PAUSE = 10
"""Steps: 0.2 s; shorter lulls are closures of stops, not silence."""
RAMP = np.array([0.1, 0.25, 0.3, 0.25, 0.1])
"""How the gate turns: over four steps, 80 ms."""
REACH = len(RAMP) // 2
"""Steps that a pause is shortened by at either end, so that the ramp ends where speech begins."""
LOOKAHEAD_STEPS = 2 * REACH + SHORTEST_PAUSE - 1
"""Steps after a step that its gate depends on: 13, which is 260 ms."""
HUM_HERTZ = 120.0
"""What lies below is rumble and mains hum, not speech."""
INAUDIBLE = -60.0
"""Decibels of full scale: a recording whose loudest parts stay below holds no speech."""
DIGITAL_SILENCE = -100.0
BELOW_SPEECH = 35.0
"""Decibels under the speech level that count as silent in a recording without noise."""
NEAREST_TO_SPEECH = 15.0
"""Decibels under the speech level that are never called silent, whatever the noise."""
HYSTERESIS = 4.0
"""Decibels between entering and leaving silence."""


@dataclass(frozen=True)
class SoundLevel:
    """How loud a recording's speech and its background are, decibels of full scale without hum."""

    speech: float
    """95th percentile of the energy of steps."""
    background: float
    """5th percentile."""

    @property
    def threshold(self) -> float:
        """Energy under which a step is silent: above the noise, below the speech; infinite if there is no speech."""
        if self.speech < INAUDIBLE:
            return float("inf")
        above_noise = self.background + max(6.0, 0.25 * (self.speech - self.background))
        return min(max(above_noise, self.speech - BELOW_SPEECH), self.speech - NEAREST_TO_SPEECH)


class LevelMeter:
    """Measures a recording's level chunk by chunk, in a histogram of whole decibels."""

    def __init__(self) -> None:
        self._energies = StepEnergies()
        self._counts = np.zeros(round(-DIGITAL_SILENCE) + 20, dtype=np.int64)

    def add(self, samples: Float32[np.ndarray, " samples"]) -> None:
        """Take in the next samples (16 kHz mono)."""
        self._count(self._energies.push(samples))

    def level(self) -> SoundLevel:
        """The level of all sound taken in; the recording is then over."""
        self._count(self._energies.finish())
        shares = np.cumsum(self._counts) / max(1, self._counts.sum())
        speech, background = (float(np.searchsorted(shares, share) + DIGITAL_SILENCE) for share in (0.95, 0.05))
        return SoundLevel(speech=speech, background=background)

    def _count(self, energies: Float[np.ndarray, " steps"]) -> None:
        bins = np.round(energies - DIGITAL_SILENCE).astype(int)
        self._counts += np.bincount(np.clip(bins, 0, len(self._counts) - 1), minlength=len(self._counts))


class StepEnergies:
    """Energy of every 50 Hz step, from sound that comes in chunks; hum is filtered out."""

    def __init__(self) -> None:
        self._held = np.zeros(MARGIN, dtype=np.float32)
        self._samples = 0
        self._filter, self._state = _hum_filter()

    def push(self, samples: Float32[np.ndarray, " samples"]) -> Float[np.ndarray, " steps"]:
        """Decibels of full scale of the steps that are complete with these samples."""
        from scipy.signal import sosfilt

        self._samples += len(samples)
        if len(samples):
            filtered, self._state = sosfilt(self._filter, samples.astype(np.float64), zi=self._state)
            self._held = np.concatenate([self._held, filtered.astype(np.float32)])
        steps = max(0, (len(self._held) - WINDOW) // SAMPLES_PER_STEP + 1)
        energies = self._measured(steps)
        self._held = self._held[steps * SAMPLES_PER_STEP :]
        return energies

    def finish(self) -> Float[np.ndarray, " steps"]:
        """The steps up to the end of the last frame begun; after the recording there is digital silence."""
        total = frames_covering(self._samples) * STEPS_PER_FRAME
        begun = self._samples - (len(self._held) - MARGIN)
        steps = max(0, total - begun // SAMPLES_PER_STEP)
        self._held = np.pad(self._held, (0, max(0, (steps - 1) * SAMPLES_PER_STEP + WINDOW - len(self._held))))
        return self._measured(steps)

    def _measured(self, steps: int) -> Float[np.ndarray, " steps"]:
        if steps == 0:
            return np.zeros(0)
        windows = np.lib.stride_tricks.sliding_window_view(self._held, WINDOW)[::SAMPLES_PER_STEP][:steps]
        power = np.mean(np.square(windows, dtype=np.float64), axis=1)
        return 10 * np.log10(np.maximum(power, 10 ** (DIGITAL_SILENCE / 10)))


class SilenceGate:
    """The gate of sound that comes in chunks; needs the recording's level (:class:`LevelMeter`) beforehand.

    Equal to :func:`silence_gate`. A step comes out at most :data:`LOOKAHEAD_STEPS` steps and 10 ms after it went in.
    """

    def __init__(self, level: SoundLevel) -> None:
        self._threshold = level.threshold
        self._energies = StepEnergies()
        self._silent = True
        # Before the recording there is silence.
        self._held = np.ones(LOOKAHEAD_STEPS, dtype=bool)

    def push(self, samples: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " steps"]:
        """The gate of the steps that are decided with these samples."""
        return self._gated(self._flags(self._energies.push(samples)))

    def finish(self) -> Float32[np.ndarray, " steps"]:
        """The gate of the remaining steps; after the recording there is silence."""
        flags = self._flags(self._energies.finish())
        return self._gated(np.concatenate([flags, np.ones(LOOKAHEAD_STEPS, dtype=bool)]))

    def _flags(self, energies: Float[np.ndarray, " steps"]) -> Bool[np.ndarray, " steps"]:
        """Silent or not, with hysteresis."""
        flags = np.empty(len(energies), dtype=bool)
        for i, energy in enumerate(energies):
            self._silent = bool(energy < self._threshold + (HYSTERESIS if self._silent else 0.0))
            flags[i] = self._silent
        return flags

    def _gated(self, flags: Bool[np.ndarray, " steps"]) -> Float32[np.ndarray, " gated"]:
        held = np.concatenate([self._held, flags])
        steps = max(0, len(held) - 2 * LOOKAHEAD_STEPS)
        self._held = held[steps:]
        if steps == 0:
            return np.zeros(0, dtype=np.float32)
        # A step's gate depends on no flag further away than the look-ahead: inside, this is exact.
        kernel = np.ones(SHORTEST_PAUSE, dtype=int)
        whole = np.convolve(held.astype(int), kernel, mode="valid") == SHORTEST_PAUSE
        paused = np.convolve(whole.astype(int), kernel, mode="full") > 0
        shortened = np.convolve(paused.astype(int), np.ones(2 * REACH + 1, dtype=int), mode="same") == 2 * REACH + 1
        gate = np.convolve(shortened.astype(float), RAMP, mode="same")
        return gate[LOOKAHEAD_STEPS : LOOKAHEAD_STEPS + steps].astype(np.float32)


def _hum_filter() -> tuple[np.ndarray, np.ndarray]:
    """Sections and initial state of a second-order Butterworth high-pass."""
    from scipy.signal import butter

    sections = np.asarray(butter(2, HUM_HERTZ, btype="highpass", fs=SAMPLE_RATE, output="sos"))
    return sections, np.zeros((len(sections), 2))


def measure_level(chunks: Iterable[Float32[np.ndarray, "_"]]) -> SoundLevel:
    """The level of a whole recording (16 kHz mono)."""
    meter = LevelMeter()
    for chunk in chunks:
        meter.add(chunk)
    return meter.level()


def silence_gate(samples: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " steps"]:
    """1 where nobody speaks, 0 where somebody does, for each 50 Hz step of a recording (16 kHz mono)."""
    gate = SilenceGate(measure_level([samples]))
    return np.concatenate([gate.push(samples), gate.finish()])


def rest_features(
    features: Float[Tensor, "steps channels"],
    mouth_opening: Float[Tensor, " frames"],
    gate: Float[Tensor, " steps"],
) -> Float[Tensor, " channels"]:
    """The clip's own rest state: its mean features where the mouth is most closed and nothing is said.

    These are the silent frames among the fifth with the smallest opening; in a clip without silence, the twentieth
    with the smallest opening. ``features`` are standardised and hold two steps a frame.
    """
    frames = min(len(mouth_opening), len(features) // STEPS_PER_FRAME)
    order = torch.argsort(mouth_opening[:frames])
    closed = order[: max(3, frames // 5)]
    silent = gate[: frames * STEPS_PER_FRAME].view(frames, STEPS_PER_FRAME).amin(dim=1) > 0.5
    resting = closed[silent[closed]]
    if len(resting) < 3:
        resting = order[: max(3, frames // 20)]
    by_frame = features[: frames * STEPS_PER_FRAME].view(frames, STEPS_PER_FRAME, -1)
    return by_frame[resting].mean(dim=(0, 1))


def gated(
    features: Float[Tensor, "steps channels"], gate: Float[Tensor, " steps"], rest: Float[Tensor, " channels"]
) -> Float[Tensor, "steps channels"]:
    """Features moved to the rest state as far as the gate says."""
    share = gate[:, None].to(features)
    return (1 - share) * features + share * rest.to(features)
