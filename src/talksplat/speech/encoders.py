"""Speech as features on the 50 Hz grid: step m covers samples [320 m, 320 (m + 1)) of 16 kHz sound.

A recording of N samples has 2 ceil(N / 640) steps, two for every frame it touches; before it and after it there is
digital silence. Features are computed block by block from the sound around the block, so they do not depend on how
a recording is cut into chunks, and memory is constant. They are raw: :class:`Standardization` makes them what
networks are fed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from talksplat import weights
from talksplat.clock import SAMPLE_RATE, SAMPLES_PER_FRAME, SAMPLES_PER_STEP, STEPS_PER_FRAME, frames_covering
from talksplat.errors import InputError, UnsuitableSpeech
from talksplat.speech.melbank import slaney_filterbank

BLOCK_FRAMES = 25
"""Frames whose features are computed at a time."""


@runtime_checkable
class SpeechEncoder(Protocol):
    """One way of turning speech into features."""

    @property
    def name(self) -> str:
        """What the command line and the portrait folder call it."""
        ...

    @property
    def channels(self) -> int:
        """Features a step."""
        ...

    @property
    def spectral_channels(self) -> int:
        """How many of the first channels are a plain spectrum, which changes from frame to frame."""
        ...

    @property
    def stored(self) -> str:
        """Name under which a portrait keeps these features: its own, or that of the encoder it adds channels to."""
        ...

    @property
    def articulates(self) -> bool:
        """Whether an :class:`Articulator` adds what a person's lips do to the standardised features."""
        ...

    @property
    def lookahead(self) -> int:
        """Samples after a frame's end that its two steps depend on."""
        ...

    def encode(self, samples: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, "steps channels"]:
        """Raw features of a whole recording (16 kHz mono), two steps for every frame begun.

        Raises:
            UnsuitableSpeech: no samples.
        """
        ...

    def encode_chunks(
        self, chunks: Iterable[Float32[np.ndarray, "_"]]
    ) -> Iterator[Float32[np.ndarray, "steps channels"]]:
        """The same features, block by block as the sound comes in.

        Raises:
            UnsuitableSpeech: no samples; found at the end.
        """
        ...


class BlockEncoder(ABC):
    """What all encoders share whose features depend on a bounded stretch of sound around a step."""

    name: str
    channels: int
    spectral_channels: int
    lookbehind: int
    """Samples before a frame's start that its steps depend on."""
    lookahead: int
    articulates = False

    @property
    def stored(self) -> str:
        """See :attr:`SpeechEncoder.stored`."""
        return self.name

    def encode(self, samples: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, "steps channels"]:
        """See :meth:`SpeechEncoder.encode`."""
        return np.concatenate(list(self.encode_chunks([samples])))

    def encode_chunks(
        self, chunks: Iterable[Float32[np.ndarray, "_"]]
    ) -> Iterator[Float32[np.ndarray, "steps channels"]]:
        """See :meth:`SpeechEncoder.encode_chunks`."""
        for block in blocks_with_margins(chunks, self.lookbehind, self.lookahead):
            yield self.encode_block(block)

    @abstractmethod
    def encode_block(self, block: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, "steps channels"]:
        """Features of the whole frames in ``block`` that are left when both margins are taken away."""


class MelEncoder(BlockEncoder):
    """80-bin log-mel spectrum: Hann window of 40 ms centred on each step, Slaney's mel bank up to 8 kHz, log10 power.

    A full-scale sine has power 1 before the mel bank, whose triangles have area 1; powers below 1e-10 are raised to it.
    """

    name = "mel"
    channels = 80
    spectral_channels = 80
    window = SAMPLES_PER_FRAME
    transform = 1024
    floor = 1e-10
    lookbehind = (window - SAMPLES_PER_STEP) // 2
    lookahead = (window - SAMPLES_PER_STEP) // 2

    def __init__(self, threads: int | None = None) -> None:
        """``threads`` is accepted for the catalogue's sake; numpy's transforms run on one."""
        taper = np.hanning(self.window + 1)[:-1]
        # Scaled so that a full-scale sine in the middle of a transform's bin has power 1 there.
        self._taper = (2 * taper / taper.sum()).astype(np.float32)
        self._bank = slaney_filterbank(self.channels, self.transform, SAMPLE_RATE).astype(np.float32)

    def encode_block(self, block: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, "steps channels"]:
        """Log-mel spectra of the block's steps."""
        windows = np.lib.stride_tricks.sliding_window_view(block, self.window)[::SAMPLES_PER_STEP]
        spectrum = np.fft.rfft(windows * self._taper, self.transform)
        power = spectrum.real**2 + spectrum.imag**2
        return np.log10(np.maximum(power @ self._bank.T, self.floor)).astype(np.float32)


class EmbeddingEncoder(BlockEncoder):
    """32 mel bins and Google's 96-dimensional speech embedding (Lin et al. 2020), 128 channels.

    The front end gives rows of 32 bins every 160 samples, each from 512 samples (in the 16-bit range) and in dB;
    divided by 10, plus 2. Row 4 n of this class begins at the middle of frame n. A step's bins are the mean of the
    two rows centred nearest to it. The embedding of frame n sees rows 4 n - 38 ... 4 n + 37; steps lie a quarter of
    a frame off the middle and take their embedding by linear interpolation.

    The front end raises bins to 80 dB below the loudest bin of what it is given at once, which would depend on how
    sound is cut up. Here it is always given four rows, and bins are raised to a fixed level instead, the same that
    the 80 dB come to in a recording of usual loudness.
    """

    name = "embedding"
    channels = 128
    spectral_channels = 32
    rows_per_frame = 4
    row_hop = 160
    row_samples = 512
    rows_before, rows_after = 38, 38
    rows_reach = (rows_per_frame - 1) * row_hop + row_samples
    """Samples from a frame's middle to the end of its four rows."""
    floor_decibels = 25.0
    # Interpolation needs the embedding of one frame on either side; each starts its rows at a frame's middle.
    margin_frames = 11
    lookbehind = margin_frames * SAMPLES_PER_FRAME
    lookahead = margin_frames * SAMPLES_PER_FRAME

    def __init__(self, threads: int | None = None) -> None:
        """Nothing is loaded before the first sound comes; ``threads`` None leaves the choice to onnxruntime."""
        self._threads = threads

    def encode_block(self, block: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, "steps channels"]:
        """Mel bins and embeddings of the block's steps."""
        frames = len(block) // SAMPLES_PER_FRAME - 2 * self.margin_frames
        rows = self.rows(block)
        first = self.margin_frames * self.rows_per_frame
        steps = first + 2 * np.arange(STEPS_PER_FRAME * frames)
        mel = (rows[steps - 3] + rows[steps - 2]) / 2
        starts = first - self.rows_before + self.rows_per_frame * np.arange(-1, frames + 1)
        around = self.embed(np.stack([rows[at : at + self.rows_before + self.rows_after] for at in starts]))
        return np.concatenate([mel, on_steps(around)], axis=1)

    def rows(self, block: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, "rows 32"]:
        """Mel rows of a block of whole frames: four a frame, the first of each begins at the frame's middle."""
        padded = np.pad(block, (0, self.rows_reach))
        starts = range(SAMPLES_PER_FRAME // 2, len(block), SAMPLES_PER_FRAME)
        return np.concatenate([self.frame_rows(padded[at : at + self.rows_reach]) for at in starts])

    def frame_rows(self, sound: Float32[np.ndarray, "992"]) -> Float32[np.ndarray, "4 32"]:
        """The four mel rows of a frame, from the sound that begins at its middle."""
        rows = self._front_end.run(None, {"input": sound[None] * np.float32(32767)})[0][0, 0]
        return (np.maximum(rows, self.floor_decibels) / 10 + 2).astype(np.float32)

    def embed(self, windows: Float32[np.ndarray, "batch 76 32"]) -> Float32[np.ndarray, "batch 96"]:
        """Embeddings of stretches of 76 mel rows."""
        return self._network.run(None, {"input_1": windows[..., None]})[0][:, 0, 0]

    @cached_property
    def _front_end(self) -> Any:
        # The calls are too small to gain from a second thread.
        return _session("speech-melspectrogram", threads=1)

    @cached_property
    def _network(self) -> Any:
        return _session("speech-embedding", self._threads)


class ArticulationEncoder(EmbeddingEncoder):
    """The same features; a person's articulation, told by the shared prior and adapted, is added to them."""

    name = "articulation"
    articulates = True

    @property
    def stored(self) -> str:
        """The embedding's: what a person's lips do is told anew from those."""
        return EmbeddingEncoder.name


ENCODERS: dict[str, Callable[[int | None], SpeechEncoder]] = {
    EmbeddingEncoder.name: EmbeddingEncoder,
    ArticulationEncoder.name: ArticulationEncoder,
    MelEncoder.name: MelEncoder,
}
"""Every encoder by name; each is made with a number of threads."""


def find_encoder(name: str, threads: int | None = None) -> SpeechEncoder:
    """The encoder ``name``.

    Raises:
        InputError: no encoder has this name; the message lists those that do.
    """
    if name not in ENCODERS:
        raise InputError(
            f"no speech encoder is called `{name}`; known: {', '.join(ENCODERS)}",
            hint="choose one of them with --speech",
        )
    return ENCODERS[name](threads)


def on_steps(around: Float32[np.ndarray, "padded channels"]) -> Float32[np.ndarray, "steps channels"]:
    """Values of frames on the 50 Hz grid, whose steps lie a quarter of a frame off the middle; linear interpolation.

    ``around``: the frames with one more before and one after them.
    """
    before, at, after = around[:-2], around[1:-1], around[2:]
    steps = np.stack([0.75 * at + 0.25 * before, 0.75 * at + 0.25 * after], axis=1)
    return steps.reshape(-1, around.shape[1])


def blocks_with_margins(
    chunks: Iterable[Float32[np.ndarray, "_"]], before: int, after: int
) -> Iterator[Float32[np.ndarray, " samples"]]:
    """Cut sound into blocks of :data:`BLOCK_FRAMES` whole frames, with ``before`` and ``after`` samples around them.

    The sound is preceded and followed by zeros; the last block holds as many frames as are left.

    Raises:
        UnsuitableSpeech: there were no samples.
    """
    size = BLOCK_FRAMES * SAMPLES_PER_FRAME
    held = [np.zeros(before, dtype=np.float32)]
    count, total = before, 0
    for chunk in chunks:
        held.append(chunk)
        count, total = count + len(chunk), total + len(chunk)
        if count < before + size + after:
            continue
        sound = np.concatenate(held)
        at = 0
        while len(sound) - at >= before + size + after:
            yield sound[at : at + before + size + after]
            at += size
        held, count = [sound[at:]], len(sound) - at
    if total == 0:
        raise UnsuitableSpeech("speech is empty: found 0 samples", hint="give a sound that holds some speech")
    sound = np.concatenate(held)
    frames = frames_covering(len(sound) - before)
    sound = np.pad(sound, (0, before + frames * SAMPLES_PER_FRAME + after - len(sound)))
    for first in range(0, frames, BLOCK_FRAMES):
        last = min(first + BLOCK_FRAMES, frames)
        yield sound[first * SAMPLES_PER_FRAME : before + last * SAMPLES_PER_FRAME + after]


def _session(name: str, threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(weights.find(name)), options, providers=["CPUExecutionProvider"])
