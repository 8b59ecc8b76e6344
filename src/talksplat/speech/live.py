"""What lips do, told while somebody speaks: with little look-ahead, and moments that settle as speech goes on.

Frame n is told as soon as the sound has come :data:`LOOKAHEAD` samples past its end (282 ms). Its spectra are looked at
up to four frames later, its embeddings from four frames earlier backwards, because an embedding itself hears 0.44 s
ahead. Features are standardised by what was heard so far; at first the pool's own moments stand in.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from jaxtyping import Float32

from talksplat.clock import SAMPLES_PER_FRAME, STEPS_PER_FRAME, frames_covering
from talksplat.errors import PriorError
from talksplat.speech.encoders import EmbeddingEncoder
from talksplat.speech.prior import TRAIN_AGAIN, ArticulationPrior, told_by
from talksplat.speech.ridge import LIVE_EMBEDDING_LAGS, SPECTRAL_LAGS
from talksplat.speech.standardization import RunningMoments, Standardization

SETTLING = 100
"""Steps (two seconds) that the pool's moments count for against what is heard."""
SPECTRA_AHEAD = max(SPECTRAL_LAGS)
EMBEDDINGS_BEHIND = SPECTRA_AHEAD - max(LIVE_EMBEDDING_LAGS)
"""Frames from the newest spectrum back to the newest embedding."""
ROWS_AHEAD = 2
"""Frames whose mel rows the embedding needs beyond the newest spectrum."""
LOOKAHEAD = (SPECTRA_AHEAD + ROWS_AHEAD - 1) * SAMPLES_PER_FRAME + SAMPLES_PER_FRAME // 2 + EmbeddingEncoder.rows_reach
"""Samples after a frame's end that are needed to tell it."""

Part = Float32[np.ndarray, "2 _"]
"""Spectra or embeddings of a frame's two steps."""


class LiveTeller:
    """Articulation from raw features, frame after frame."""

    def __init__(self, prior: ArticulationPrior, settling: int = SETTLING) -> None:
        """Raises :class:`PriorError` when the prior was made without a live form."""
        if prior.live is None:
            raise PriorError("the prior has no live form: it was made by an older version", hint=TRAIN_AGAIN)
        self._members, typical = prior.live.members, prior.live.typical
        spectral = prior.spectral_channels
        self._spectra = _Stretch(SPECTRAL_LAGS, _part(typical, slice(spectral)), settling)
        self._embeddings = _Stretch(LIVE_EMBEDDING_LAGS, _part(typical, slice(spectral, None)), settling)
        self._frame = -1

    def push(self, spectrum: Part | None, embedding: Part | None) -> Float32[np.ndarray, " outputs"] | None:
        """Take in the next frame t: the raw spectrum of t, and the raw embedding of t - 8.

        Either is None before and after the recording. Returns what is told of frame t - 4, in standard deviations;
        None where there is no such frame.
        """
        self._frame += 1
        self._spectra.push(spectrum)
        self._embeddings.push(embedding)
        if self._frame < SPECTRA_AHEAD:
            return None
        window = np.concatenate([self._spectra.window(), self._embeddings.window()])
        return told_by(self._members, window[None])[0]


class _Stretch:
    """The last frames of one kind of feature and the moments that standardise them."""

    def __init__(self, lags: tuple[int, ...], typical: Standardization, settling: int) -> None:
        self._stride = lags[1] - lags[0]
        self._held: deque[Part | None] = deque([None] * (lags[-1] - lags[0] + 1), maxlen=lags[-1] - lags[0] + 1)
        self._moments = RunningMoments.begun(typical, settling)
        self._nothing = np.zeros(len(typical.mean), np.float32)

    def push(self, part: Part | None) -> None:
        if part is not None:
            self._moments.add(part)
        self._held.append(part)

    def window(self) -> Float32[np.ndarray, " inputs"]:
        """Means of the frames' steps, standardised; zeros for frames that are not there."""
        moments, seen = self._moments.standardization(), list(self._held)[:: self._stride]
        return np.concatenate([self._nothing if part is None else moments.apply(part).mean(axis=0) for part in seen])


def _part(typical: Standardization, channels: slice) -> Standardization:
    return Standardization(typical.mean[channels], typical.deviation[channels])


def tell_live(
    prior: ArticulationPrior, raw: Float32[np.ndarray, "steps channels"]
) -> Float32[np.ndarray, "frames outputs"]:
    """What is told live of a recording whose raw features are known."""
    teller, spectral = LiveTeller(prior), prior.spectral_channels
    parts = raw.reshape(-1, STEPS_PER_FRAME, raw.shape[1])
    count = len(parts)
    told = []
    for frame in range(count + SPECTRA_AHEAD):
        behind = frame - EMBEDDINGS_BEHIND
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
        self._outputs = len(prior.live.members[0][-1][1]) if prior.live else 0
        # Mel rows hear ahead: those of the frame before the first are the first that hear sound.
        self._sound = np.zeros(SAMPLES_PER_FRAME, np.float32)
        self._samples = 0
        self._frame = -1
        """Frame whose mel rows come next."""
        self._rows = np.full((self._encoder.rows_before, 32), self._encoder.floor_decibels / 10 + 2, np.float32)
        """Rows up to those of the frame; the embedding of frame r - 9 begins 74 rows before frame r's first."""
        self._embedded: deque[Float32[np.ndarray, " 96"]] = deque(maxlen=3)

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
        return np.stack(told) if told else np.zeros((0, self._outputs), np.float32)

    def _hear(self, rows: Float32[np.ndarray, "4 32"], end: int | None) -> Float32[np.ndarray, " outputs"] | None:
        """Take in the mel rows of the next frame r; what is told of frame r - 6."""
        self._rows = np.concatenate([self._rows, rows])[-80:]
        frame, self._frame = self._frame, self._frame + 1
        window = self._encoder.rows_before + self._encoder.rows_after
        if len(self._rows) >= window + 2:
            # Rows 4 (r - 9) - 38 ... 4 (r - 9) + 37; the last row held is 4 r + 3.
            self._embedded.append(self._encoder.embed(self._rows[None, -window - 2 : -2])[0])
        shown = frame - ROWS_AHEAD
        if shown < 0:
            return None
        first = len(self._rows) - self._encoder.rows_per_frame * (ROWS_AHEAD + 1)
        spectrum = self._rows[first - 3 : first + 1].reshape(2, 2, -1).mean(axis=1)
        return self._teller.push(spectrum if end is None or shown < end else None, self._embedding())

    def _embedding(self) -> Part | None:
        """The newest frame's embedding that has one on either side, on its two steps."""
        if len(self._embedded) < 3:
            return None
        before, at, after = self._embedded
        return np.stack([0.75 * at + 0.25 * before, 0.75 * at + 0.25 * after])
