"""What an avatar hears of a sound file: windows of standardised features, frame after frame, in constant memory.

The first pass over the file gathers the moments that standardise the features and the level that tells speech from
silence; :meth:`Hearing.windows` makes the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from talksplat.clock import SAMPLE_RATE, STEPS_PER_FRAME, frames_covering
from talksplat.media.audio import stream_audio
from talksplat.progress import Reporter
from talksplat.speech.articulator import Articulator
from talksplat.speech.encoders import SpeechEncoder
from talksplat.speech.silence import LevelMeter, SilenceGate, SoundLevel, gated
from talksplat.speech.standardization import RunningMoments, Standardization
from talksplat.speech.windows import LOOKAHEAD_STEPS, STEPS_BEFORE, WindowStream

REST_FRAMES = -(-max(STEPS_BEFORE, LOOKAHEAD_STEPS) // STEPS_PER_FRAME)
"""Frames of rest state put before and after a recording: as far as windows look beyond it."""


@dataclass(frozen=True)
class Hearing:
    """A sound file after the first pass."""

    audio: Path
    encoder: SpeechEncoder
    standardization: Standardization
    level: SoundLevel
    frames: int
    """Video frames that cover the sound."""
    articulator: Articulator | None = None
    """Adds articulation to the standardised features."""

    @classmethod
    def of(
        cls, audio: Path, encoder: SpeechEncoder, reporter: Reporter, articulator: Articulator | None = None
    ) -> Hearing:
        """Listen through ``audio`` once.

        Raises:
            MissingInput: no such file.
            UnreadableMedia: not a sound, or a video without sound.
            UnsuitableSpeech: no samples, or samples that are NaN or infinite.
        """
        meter, moments = LevelMeter(), RunningMoments(encoder.channels)
        samples = 0

        def overheard() -> Iterator[Float32[np.ndarray, " samples"]]:
            nonlocal samples
            for chunk in stream_audio(audio):
                meter.add(chunk)
                samples += len(chunk)
                yield chunk

        chunks = overheard()
        first = next(chunks)  # A file that cannot be read is refused here, before there is a bar.
        with reporter.bar("listen", _expected_frames(audio)) as bar:
            for features in encoder.encode_chunks(chain([first], chunks)):
                moments.add(features)
                bar.advance(len(features) // STEPS_PER_FRAME)
        return cls(audio, encoder, moments.standardization(), meter.level(), frames_covering(samples), articulator)

    @property
    def channels(self) -> int:
        """Features a step, articulation included."""
        return self.encoder.channels + (self.articulator.channels if self.articulator else 0)

    def windows(self, rest: Float[Tensor, " channels"] | None) -> Iterator[Float[Tensor, "8 channels 16"]]:
        """The eight windows of every frame, in order.

        With ``rest``, a person's own rest state, features move to it where the sound is silent, and before and after
        the sound there is nothing else; without, there are zeros, as in training.
        """
        padding = [] if rest is None else [rest.repeat(STEPS_PER_FRAME * REST_FRAMES, 1)]
        skipped = REST_FRAMES if padding else 0
        blocks = chain(padding, self._features(rest), padding)
        yield from islice(_streamed(blocks, self.channels), skipped, skipped + self.frames)

    def _features(self, rest: Float[Tensor, " channels"] | None) -> Iterator[Float[Tensor, "steps channels"]]:
        """Standardised features, gated if there is a rest state. Gate and encoder look ahead differently far."""
        gate = SilenceGate(self.level)
        decided: Float32[np.ndarray, " steps"] = np.zeros(0, np.float32)

        def overheard() -> Iterator[Float32[np.ndarray, " samples"]]:
            nonlocal decided
            for chunk in stream_audio(self.audio):
                decided = np.concatenate([decided, gate.push(chunk)])
                yield chunk
            decided = np.concatenate([decided, gate.finish()])

        standardized = (self.standardization.apply(block) for block in self.encoder.encode_chunks(overheard()))
        held = torch.zeros(0, self.channels)
        for block in self.articulator.stream(standardized) if self.articulator else standardized:
            held = torch.cat([held, torch.from_numpy(block)])
            if rest is None:
                yield held
                held = held[:0]
                continue
            ready = min(len(held), len(decided))
            yield gated(held[:ready], torch.from_numpy(decided[:ready]), rest)
            held, decided = held[ready:], decided[ready:]


def _streamed(
    blocks: Iterable[Float[Tensor, "steps channels"]], channels: int
) -> Iterator[Float[Tensor, "8 channels 16"]]:
    stream = WindowStream(channels)
    for block in blocks:
        stream.push(block)
        while (windows := stream.pop()) is not None:
            yield windows
    stream.finish()
    while (windows := stream.pop()) is not None:
        yield windows


def _expected_frames(audio: Path) -> int:
    """What the file says of its length, for the progress bar alone; 0 where it says nothing."""
    import av
    import soundfile

    try:
        return frames_covering(int(soundfile.info(audio).duration * SAMPLE_RATE))
    except soundfile.LibsndfileError:
        with av.open(str(audio)) as container:
            return frames_covering((container.duration or 0) * SAMPLE_RATE // av.time_base)
