"""Any sound as float samples: files and the sound of videos, resampled, on the picture's clock where it has one.

libsndfile reads what it knows (WAV, FLAC, OGG, MP3); everything else goes through PyAV. Channels are averaged;
rates are converted by soxr (HQ), block by block with the same result as at once, so memory can stay constant.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from talksplat.clock import SAMPLE_RATE, SAMPLES_PER_FRAME
from talksplat.errors import UnreadableMedia, UnsuitableSpeech
from talksplat.storage import existing_file

BLOCK = 1 << 16
"""Samples read at a time."""
GAP_SECONDS = 0.01
"""Stamps that differ from the running count of samples by more mean lost or doubled sound, not rounding."""
GATE_SECONDS = 0.4
"""Length of the shortest sound whose loudness is defined (ITU-R BS.1770, one gating block)."""
SILENT = 1e-5
"""Sound that never exceeds this (-100 dB of full scale) is silence."""


@dataclass(frozen=True)
class Waveform:
    """Mono sound."""

    samples: Float32[np.ndarray, " samples"]
    """Full scale is -1 to 1."""
    rate: int
    """Samples a second."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class SoundStream:
    """Sound that is read as it is consumed."""

    rate: int
    channels: int
    blocks: Iterator[Float32[np.ndarray, "samples channels"]]


def read_audio(path: Path, rate: int = SAMPLE_RATE) -> Waveform:
    """All sound of a file, mono, at ``rate`` samples a second.

    Raises:
        MissingInput: no such file.
        UnreadableMedia: not a sound, or a video without sound.
        UnsuitableSpeech: no samples, or samples that are NaN or infinite.
    """
    with opened_sound(path) as sound:
        parts = list(_resampled(_mono(sound.blocks), sound.rate, rate))
    return Waveform(samples=np.concatenate(parts)[:, 0], rate=rate)


def stream_audio(path: Path, chunk: int = SAMPLE_RATE) -> Iterator[Float32[np.ndarray, " samples"]]:
    """The sound of a file as 16 kHz mono chunks of ``chunk`` samples (the last may be shorter), in constant memory.

    Together they equal ``read_audio(path).samples``.

    Raises:
        MissingInput: no such file.
        UnreadableMedia: not a sound, or a video without sound.
        UnsuitableSpeech: no samples, or samples that are NaN or infinite; found while reading.
    """
    with opened_sound(path) as sound:
        for part in rechunked(_resampled(_mono(sound.blocks), sound.rate, SAMPLE_RATE), chunk):
            yield part[:, 0]


@contextmanager
def opened_sound(path: Path, rate: int | None = None) -> Iterator[SoundStream]:
    """The sound of a file, mono or stereo as recorded (more channels are averaged), at ``rate`` or its own rate.

    Raises:
        MissingInput: no such file.
        UnreadableMedia: not a sound, or a video without sound.
        UnsuitableSpeech: no samples, or samples that are NaN or infinite; found while reading.
    """
    path = existing_file(path, "sound")
    with ExitStack() as stack:
        stream = _by_soundfile(path, stack) or _by_pyav(path, stack, origin=None)
        blocks = _checked(stream.blocks, stream.rate, path)
        channels = stream.channels
        if channels > 2:
            blocks, channels = _mono(blocks), 1
        if rate is not None:
            blocks = _resampled(blocks, stream.rate, rate)
        yield SoundStream(rate=rate or stream.rate, channels=channels, blocks=blocks)


def read_soundtrack(path: Path, frames: int, delay: float = 0.0) -> Waveform:
    """The sound that belongs to the first ``frames`` pictures of a video: 16 kHz mono, exactly 640 samples a frame.

    Sample 0 is the instant of the first picture, or ``delay`` frames before it (to the nearest sample): sound that
    starts later is preceded by silence, sound that starts earlier is cut; a sound too short is padded with silence.
    Gaps in the sound's stamps are filled with silence.

    Raises:
        MissingInput: no such file.
        UnreadableMedia: not a video, or a video without sound.
        UnsuitableSpeech: no samples, or samples that are NaN or infinite.
    """
    from talksplat.media.video import picture_timeline

    origin = picture_timeline(path).start - Fraction(round(delay * SAMPLES_PER_FRAME), SAMPLE_RATE)
    wanted = frames * SAMPLES_PER_FRAME
    samples = np.zeros(wanted, dtype=np.float32)
    filled = 0
    with ExitStack() as stack:
        stream = _by_pyav(path, stack, origin=origin)
        blocks = _mono(_checked(stream.blocks, stream.rate, path))
        for part in _resampled(blocks, stream.rate, SAMPLE_RATE):
            part = part[: wanted - filled, 0]
            samples[filled : filled + len(part)] = part
            filled += len(part)
            if filled == wanted:
                break
    return Waveform(samples=samples, rate=SAMPLE_RATE)


def loudness(samples: Float32[np.ndarray, " samples"], rate: int = SAMPLE_RATE) -> float | None:
    """Integrated loudness in LUFS (ITU-R BS.1770-4), None where it is not defined: silence, or under 0.4 s."""
    if len(samples) < GATE_SECONDS * rate or is_silent(samples):
        return None
    import pyloudnorm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = float(pyloudnorm.Meter(rate).integrated_loudness(samples.astype(np.float64)))
    return value if np.isfinite(value) else None


def is_silent(samples: Float32[np.ndarray, " samples"]) -> bool:
    """Whether nothing can be heard: no sample exceeds -100 dB of full scale."""
    return len(samples) == 0 or float(np.abs(samples).max()) < SILENT


def rechunked(
    blocks: Iterator[Float32[np.ndarray, "samples channels"]], size: int
) -> Iterator[Float32[np.ndarray, "samples channels"]]:
    """The same sound cut into pieces of ``size`` samples; the last may be shorter."""
    held: list[np.ndarray] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += len(block)
        if count < size:
            continue
        joined = np.concatenate(held)
        whole = count - count % size
        for at in range(0, whole, size):
            yield joined[at : at + size]
        held, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(held)


def _by_soundfile(path: Path, stack: ExitStack) -> SoundStream | None:
    """What libsndfile can read, else None."""
    import soundfile

    try:
        file = stack.enter_context(soundfile.SoundFile(path))
    except soundfile.LibsndfileError:
        return None
    blocks = file.blocks(BLOCK, dtype="float32", always_2d=True)
    return SoundStream(rate=file.samplerate, channels=file.channels, blocks=blocks)


def _by_pyav(path: Path, stack: ExitStack, origin: Fraction | None) -> SoundStream:
    """What FFmpeg can read; sample 0 lies at ``origin`` on the container's clock (None: at the sound's start)."""
    import av
    from av.error import FFmpegError

    try:
        container = stack.enter_context(av.open(str(path)))
    except (FFmpegError, OSError) as error:
        raise UnreadableMedia(
            f"`{path}` is neither a sound nor a video that can be read: {error.strerror or error}",
            hint="give a WAV, FLAC, MP3 or M4A file, or a video with sound",
        ) from error
    if not container.streams.audio:
        raise UnreadableMedia(
            f"`{path}` has no sound: found {', '.join(sorted({s.type for s in container.streams})) or 'no streams'}",
            hint="give a file with a sound track; of a silent video nothing can be learned about speech",
        )
    stream = container.streams.audio[0]
    return SoundStream(
        rate=stream.rate, channels=stream.codec_context.channels, blocks=_on_clock(container, stream, origin)
    )


def _on_clock(
    container: Any, stream: Any, origin: Fraction | None
) -> Iterator[Float32[np.ndarray, "samples channels"]]:
    """Decoded blocks put where their stamps say: silence is filled in, what overlaps or precedes is dropped."""
    rate = stream.rate
    count = 0
    for stamp, block in _decoded(container, stream):
        if stamp is not None:
            origin = stamp if origin is None else origin
            ahead = round((stamp - origin) * rate) - count
            if ahead > GAP_SECONDS * rate or (count == 0 and ahead > 0):
                yield from _zeros(ahead, block.shape[1])
                count += ahead
            elif -ahead > GAP_SECONDS * rate or (count == 0 and ahead < 0):
                block = block[-ahead:]
        if len(block):
            count += len(block)
            yield block


def _decoded(container: Any, stream: Any) -> Iterator[tuple[Fraction | None, Float32[np.ndarray, "samples channels"]]]:
    """Start (seconds on the container's clock) and samples of every block that can be decoded."""
    import av
    from av.error import FFmpegError

    planar = av.AudioResampler(format="fltp")
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except FFmpegError:
            continue
        for frame in frames:
            stamp = None if frame.pts is None else frame.pts * frame.time_base
            for converted in planar.resample(frame):
                yield stamp, converted.to_ndarray().T.astype(np.float32, copy=False)


def _zeros(count: int, channels: int) -> Iterator[Float32[np.ndarray, "samples channels"]]:
    for at in range(0, count, BLOCK):
        yield np.zeros((min(BLOCK, count - at), channels), dtype=np.float32)


def _checked(
    blocks: Iterator[Float32[np.ndarray, "samples channels"]], rate: int, path: Path
) -> Iterator[Float32[np.ndarray, "samples channels"]]:
    """The same blocks; raises :class:`UnsuitableSpeech` on NaN or infinity, and when there were no samples."""
    count = 0
    for block in blocks:
        bad = ~np.isfinite(block).all(axis=1)
        if bad.any():
            raise UnsuitableSpeech(
                f"sound `{path}` is not finite: NaN or infinity at {(count + int(bad.argmax())) / rate:.3f} s",
                hint="export the sound again, as 16-bit or 24-bit WAV",
            )
        count += len(block)
        yield block
    if count == 0:
        raise UnsuitableSpeech(
            f"sound `{path}` is empty: expected speech, found 0 samples",
            hint="give a file that holds some speech",
        )


def _mono(blocks: Iterator[Float32[np.ndarray, "samples channels"]]) -> Iterator[Float32[np.ndarray, "samples 1"]]:
    for block in blocks:
        yield block.mean(axis=1, keepdims=True)


def _resampled(
    blocks: Iterator[Float32[np.ndarray, "samples channels"]], source_rate: int, rate: int
) -> Iterator[Float32[np.ndarray, "samples channels"]]:
    """The same sound at ``rate``; blocks that come out empty are left out."""
    if source_rate == rate:
        yield from blocks
        return
    import soxr

    converter: Any = None
    channels = 1
    for block in blocks:
        channels = block.shape[1]
        converter = converter or soxr.ResampleStream(source_rate, rate, channels, dtype="float32", quality="HQ")
        converted = converter.resample_chunk(np.ascontiguousarray(block))
        if len(converted):
            yield converted.reshape(-1, channels)
    if converter is not None:
        rest = converter.resample_chunk(np.zeros((0, channels), dtype=np.float32), last=True)
        if len(rest):
            yield rest.reshape(-1, channels)
