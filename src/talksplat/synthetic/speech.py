"""What the synthetic speaker says: synthesized speech shipped with the package, with the time of every phoneme."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from talksplat.clock import FRAME_RATE, SAMPLE_RATE, SAMPLES_PER_FRAME, frames_covering

Voice = Literal["a", "b"]
"""The two voices: ``a`` is the one to be recorded and learned from, ``b`` speaks other words and is held out."""
VOICES: tuple[Voice, ...] = get_args(Voice)
PAUSE = "_"
"""Symbol of silence."""


@dataclass(frozen=True)
class Phoneme:
    """One sound: its IPA symbol as espeak-ng writes it (``_`` is silence) and its time in the recording."""

    symbol: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Speech:
    """A recording with its phonemes, in order and without gaps, and the spans in which the lips must be shut."""

    samples: Float[np.ndarray, " samples"]
    """16 kHz mono in [-1, 1], a whole number of frames."""
    phonemes: tuple[Phoneme, ...]
    closures: tuple[Phoneme, ...]
    """The shut part of every p, b and m: the silence before the burst of p, all of b and m."""

    @property
    def frames(self) -> int:
        """Length in frames of 1/25 s."""
        return frames_covering(len(self.samples))


@cache
def speech_of(voice: Voice) -> Speech:
    """The shipped recording of ``voice``."""
    import soundfile

    folder = files("talksplat") / "assets" / "speech"
    with as_file(folder / f"{voice}.flac") as path:
        samples, rate = soundfile.read(path, dtype="float32")
    timings = json.loads((folder / f"{voice}.json").read_text(encoding="utf-8"))
    if rate != SAMPLE_RATE or len(samples) % SAMPLES_PER_FRAME:
        raise ValueError(f"voice {voice}: expected whole frames at {SAMPLE_RATE} Hz, found {len(samples)} at {rate} Hz")
    return Speech(
        samples=samples,
        phonemes=tuple(Phoneme(*row) for row in timings["phonemes"]),
        closures=tuple(Phoneme(*row) for row in timings["closures"]),
    )


def phonemes(voice: Voice) -> list[Phoneme]:
    """Every phoneme of the shipped recording of ``voice``, pauses included."""
    return list(speech_of(voice).phonemes)


def closures(voice: Voice) -> list[range]:
    """For every p, b and m of ``voice`` the frames that its shut part touches, at least one each.

    The lips of the synthetic speaker are exactly closed in one of these frames or the frame beside them.
    """
    spans = []
    for closure in speech_of(voice).closures:
        first = int(closure.start_s * FRAME_RATE)
        last = int(np.ceil(closure.end_s * FRAME_RATE))
        spans.append(range(first, max(last, first + 1)))
    return spans
