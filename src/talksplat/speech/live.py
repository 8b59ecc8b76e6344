"""What lips do, told while somebody speaks: with little look-ahead, and moments that settle as speech goes on.

Frame n is told as soon as the sound has come :data:`LOOKAHEAD` samples past its end (282 ms). Spectra are looked at as
far as that reaches. An embedding hears 0.38 s to either side of its middle; here it is centred 100 ms before the
frame's middle, which is as late as the same sound allows. Features are standardised by what was heard so far; at first
the pool's own moments stand in.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from jaxtyping import Float32

from talksplat.clock import SAMPLES_PER_FRAME, STEPS_PER_FRAME, frames_covering
from talksplat.errors import PriorError
from talksplat.speech.encoders import EmbeddingEncoder
from talksplat.speech.prior import TRAIN_AGAIN, ArticulationPrior, told_by
from talksplat.speech.standardization import RunningMoments, Standardization

LIVE_LAGS = (-3, -2, -1, 0, 1, 2, 3, 4, 5, 6), (-4, -3, -2, -1, 0)
"""Frames at which spectra and embeddings are looked at."""
EARLY_ROWS = 10
"""Mel rows (10 ms each) by which embeddings are centred before the frame's middle."""
AHEAD = max(LIVE_LAGS[0])
LOOKAHEAD = (AHEAD - 1) * SAMPLES_PER_FRAME + SAMPLES_PER_FRAME // 2 + EmbeddingEncoder.rows_reach
"""Samples after a frame's end that are needed to tell it."""
SETTLING = 100
"""Steps (two seconds) that the pool's moments count for against what is heard."""
EMBEDDED_ROWS = EmbeddingEncoder.rows_before + EmbeddingEncoder.rows_after

Part = Float32[np.ndarray, "2 _"]
"""Spectra or embeddings of a frame's two steps."""


def live_features(
    encoder: EmbeddingEncoder, rows: Float32[np.ndarray, "rows 32"], first: int, frames: int
) -> Float32[np.ndarray, "steps 128"]:
    """Raw features of a recording as they are heard live, two steps a frame.

    Args:
        rows: mel rows; row ``first`` + 4 i begins at the middle of frame i, and 48 come before ``first``.
    """
    steps = first + 2 * np.arange(STEPS_PER_FRAME * frames)
    spectra = (rows[steps - 3] + rows[steps - 2]) / 2
    starts = first - EARLY_ROWS - encoder.rows_before + encoder.rows_per_frame * np.arange(frames)
    embedded = encoder.embed(np.stack([rows[at : at + EMBEDDED_ROWS] for at in starts]))
    return np.concatenate([spectra, np.repeat(embedded, STEPS_PER_FRAME, axis=0)], axis=1)


class LiveTeller:
    """Articulation from raw features, frame after frame."""

    def __init__(self, prior: ArticulationPrior, settling: int = SETTLING) -> None:
        """Raises :class:`PriorError` when the prior was made without a live form."""
        if prior.live is None:
            raise PriorError("the prior has no live form: it was made by an older version", hint=TRAIN_AGAIN)
        self._members, typical = prior.live.members, prior.live.typical
        self.outputs = len(self._members[0][-1][1])
        spectral = prior.spectral_channels
        self._spectra = _Stretch(len(LIVE_LAGS[0]), _part(typical, slice(spectral)), settling)
        self._embeddings = _Stretch(len(LIVE_LAGS[1]), _part(typical, slice(spectral, None)), settling)
        self._frame = -1

    def push(self, spectrum: Part | None, embedding: Part | None) -> Float32[np.ndarray, " outputs"] | None:
        """Take in the next frame t: the raw spectra of t, and the raw embedding of t - 6.

        Either is None before and after the recording. Returns what is told of frame t - 6, in standard deviations;
        None where there is no such frame.
        """
        self._frame += 1
        self._spectra.push(spectrum)
        self._embeddings.push(embedding)
        if self._frame < AHEAD:
            return None
        window = np.concatenate([self._spectra.window(), self._embeddings.window()])
        return told_by(self._members, window[None])[0]


class _Stretch:
    """The last frames of one kind of feature and the moments that standardise them."""

    def __init__(self, frames: int, typical: Standardization, settling: int) -> None:
        self._held: deque[Part | None] = deque([None] * frames, maxlen=frames)
        self._moments = RunningMoments.begun(typical, settling)
        self._nothing = np.zeros(len(typical.mean), np.float32)

    def push(self, part: Part | None) -> None:
        if part is not None:
            self._moments.add(part)
        self._held.append(part)

    def window(self) -> Float32[np.ndarray, " inputs"]:
        """Means of the frames' steps, standardised; zeros for frames that are not there."""
        moments = self._moments.standardization()
        seen = (self._nothing if part is None else moments.apply(part).mean(axis=0) for part in self._held)
        return np.concatenate(list(seen))


def _part(typical: Standardization, channels: slice) -> Standardization:
    return Standardization(typical.mean[channels], typical.deviation[channels])


def tell_live(
    prior: ArticulationPrior, raw: Float32[np.ndarray, "steps channels"]
) -> Float32[np.ndarray, "frames outputs"]:
    """What is told live of a recording whose :func:`live_features` are known."""
    teller, spectral = LiveTeller(prior), prior.spectral_channels
    parts = raw.reshape(-1, STEPS_PER_FRAME, raw.shape[1])
    count = len(parts)
    told = []
    for frame in range(count + AHEAD):
        behind = frame - AHEAD
        spectrum = parts[frame, :, :spectral] if frame < count else None
        told.append(teller.push(spectrum, parts[behind, :, spectral:] if behind >= 0 else None))
    return np.stack([one for one in told if one is not None])


class LiveArticulation:
    """Articulation from sound, as it comes.

    The sound is preceded and followed by digital silence, as :class:`EmbeddingEncoder` has it.
    """

    def __init__(self, prior: ArticulationPrior, threads: int | None = 1) -> None:
        """Raises :class:`PriorError` when the prior was made without a live form."""
        self._teller = LiveTeller(prior)
        self._encoder = EmbeddingEncoder(threads)
        # Mel rows hear ahead: those of the frame before the first hear sound already.
        self._sound = np.zeros(SAMPLES_PER_FRAME, np.float32)
        self._samples = 0
        self._frame = -1
        """Frame whose mel rows come next."""
        silent = EMBEDDED_ROWS - self._encoder.rows_per_frame * (AHEAD + 2)
        self._rows = np.full(
            (silent, self._encoder.spectral_channels), self._encoder.floor_decibels / 10 + 2, np.float32
        )
        """The last rows; as many as an embedding hears when those of frame 6 have come."""

    def push(self, samples: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, "frames outputs"]:
        """Take in sound (16 kHz mono) and return what can be told of further frames, in order."""
        self._samples += len(samples)
        return self._tell(samples, None)

    def finish(self) -> Float32[np.ndarray, "frames outputs"]:
        """Tell that the sound has ended; returns what is told of the frames that are left."""
        frames = frames_covering(self._samples)
        silence = np.zeros(frames * SAMPLES_PER_FRAME + LOOKAHEAD - self._samples, np.float32)
        return self._tell(silence, frames)

    def _tell(self, sound: Float32[np.ndarray, " samples"], end: int | None) -> Float32[np.ndarray, "frames outputs"]:
        self._sound = np.concatenate([self._sound, sound])
        half, reach, told = SAMPLES_PER_FRAME // 2, self._encoder.rows_reach, []
        at = 0
        while len(self._sound) - at >= half + reach:
            one = self._hear(self._encoder.frame_rows(self._sound[at + half : at + half + reach]), end)
            told += [] if one is None else [one]
            at += SAMPLES_PER_FRAME
        self._sound = self._sound[at:]
        return np.stack(told) if told else np.zeros((0, self._teller.outputs), np.float32)

    def _hear(self, rows: Float32[np.ndarray, "4 32"], end: int | None) -> Float32[np.ndarray, " outputs"] | None:
        """Take in the mel rows of the next frame t; what is told of frame t - 6."""
        self._rows = np.concatenate([self._rows, rows])[-EMBEDDED_ROWS:]
        frame, self._frame = self._frame, self._frame + 1
        if frame < 0:
            return None
        spectra = self._rows[-7:-3].reshape(2, 2, -1).mean(axis=1)
        embedding = None
        if len(self._rows) == EMBEDDED_ROWS:
            embedding = np.repeat(self._encoder.embed(self._rows[None]), STEPS_PER_FRAME, axis=0)
        return self._teller.push(spectra if end is None or frame < end else None, embedding)
