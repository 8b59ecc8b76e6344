"""Writing videos that play everywhere: H.264 with AAC sound, tagged BT.709, of equal length, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from jaxtyping import Float32, UInt8

from talksplat.clock import FRAME_RATE
from talksplat.media.audio import SoundStream, Waveform, opened_sound, rechunked
from talksplat.storage import replacing

SHARP = int(
    Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
)
COMMON_TAGS = frozenset({"title", "comment", "artist", "album", "date", "genre", "copyright", "description"})
"""Metadata that every player of MP4 knows; other keys make the file use QuickTime's free-form tags."""
BIT_RATES = {1: 128_000, 2: 192_000}
"""AAC bits a second by number of channels."""


class VideoWriter:
    """Writes pictures, and the sound they belong to, as one MP4 file; a context manager.

    The file appears under its name when the block ends well, and not at all otherwise. The sound is cut or padded
    with silence to the length of the picture. Pictures of odd size get one more column or row, a copy of the last.

    Example:
        with VideoWriter(path, (512, 512), sound=Path("speech.wav"), metadata={"title": "Anna"}) as video:
            video.write(frame)
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        sound: Path | Waveform | None = None,
        metadata: Mapping[str, str] | None = None,
        *,
        crf: int = 18,
        preset: str = "veryfast",
    ) -> None:
        """Prepare to write ``path``; nothing is opened yet.

        Args:
            size: width and height of the pictures, pixels.
            sound: a file whose original sound is used (mono or stereo), or samples; None for a silent video.
            metadata: tags such as ``title`` and ``comment``, readable in players.
            crf: quality of x264, lower is better; 18 is visually lossless.
            preset: speed of x264.
        """
        self.path = Path(path)
        self.size = size
        self.frames = 0
        """Pictures written so far."""
        self._sound = sound
        self._metadata = dict(metadata or {})
        self._options = {"crf": str(crf), "preset": preset}
        self._stack = ExitStack()
        self._reformatter = VideoReformatter()

    def __enter__(self) -> VideoWriter:
        """Open the file.

        Raises:
            MissingInput, UnreadableMedia: the sound cannot be read.
            DiskFull: no space left; here, while writing, or at the end.
        """
        with ExitStack() as stack:
            sound = self._opened_sound(stack)
            temporary = stack.enter_context(replacing(self.path))
            self._container = av.open(str(temporary), "w", format="mp4", options={"movflags": self._flags()})
            stack.callback(self._container.close)
            self._container.metadata.update(self._metadata)
            self._picture = self._add_picture()
            self._track = None if sound is None else SoundTrack(self._container, sound)
            self._stack = stack.pop_all()
        return self

    def write(self, frame: UInt8[np.ndarray, "H W 3"]) -> None:
        """Append one picture (sRGB) and the sound up to its end.

        Raises:
            ValueError: the picture has another size than announced.
            UnsuitableSpeech: the sound turns out to be NaN or infinite.
            DiskFull: no space left (raised when the ``with`` block ends).
        """
        width, height = self.size
        if frame.shape != (height, width, 3):
            raise ValueError(f"expected a picture of shape {(height, width, 3)}, got {frame.shape}")
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=SHARP,
            threads=1,
        )
        picture.pts, picture.time_base = self.frames, Fraction(1, FRAME_RATE)
        self._container.mux(self._picture.encode(picture))
        self.frames += 1
        if self._track:
            self._track.advance(self.frames)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The stack closes the container first, then renames the file or, if anything failed, removes it.
        with self._stack:
            if error is not None:
                raise error
            if self.frames == 0:
                raise ValueError(f"no picture was written to `{self.path}`")
            self._container.mux(self._picture.encode(None))
            if self._track:
                self._track.finish()

    def _opened_sound(self, stack: ExitStack) -> SoundStream | None:
        if self._sound is None:
            return None
        if isinstance(self._sound, Waveform):
            return _stream_of(self._sound)
        rate = stack.enter_context(opened_sound(self._sound)).rate
        return stack.enter_context(opened_sound(self._sound, _encoded_rate(rate)))

    def _flags(self) -> str:
        return "+faststart" if COMMON_TAGS.issuperset(self._metadata) else "+faststart+use_metadata_tags"

    def _add_picture(self) -> Any:
        stream: Any = self._container.add_stream("libx264", rate=FRAME_RATE, options=self._options)
        stream.width, stream.height = (edge + edge % 2 for edge in self.size)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, FRAME_RATE)
        stream.codec_context.colorspace = 1  # FFmpeg's AVCOL_SPC_BT709, which PyAV does not name.
        stream.codec_context.color_range = ColorRange.MPEG
        stream.codec_context.color_primaries = ColorPrimaries.BT709
        stream.codec_context.color_trc = ColorTrc.BT709
        return stream


class SoundTrack:
    """The AAC stream of a video being written, kept in step with the picture."""

    def __init__(self, container: Any, sound: SoundStream) -> None:
        self._container = container
        self._per_frame = sound.rate // FRAME_RATE
        self._pieces = rechunked(sound.blocks, self._per_frame)
        self._channels, self._rate = sound.channels, sound.rate
        self._layout = "mono" if sound.channels == 1 else "stereo"
        self._stream = container.add_stream("aac", rate=sound.rate, layout=self._layout)
        self._stream.bit_rate = BIT_RATES[sound.channels]
        self._frames = 0

    def advance(self, frames: int) -> None:
        """Write the sound of the pictures before ``frames``; silence where there is no more."""
        while self._frames < frames:
            piece = next(self._pieces, np.zeros((0, self._channels), dtype=np.float32))
            samples = np.zeros((self._channels, self._per_frame), dtype=np.float32)
            samples[:, : len(piece)] = piece.T
            block = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self._layout)
            block.rate, block.pts = self._rate, self._frames * self._per_frame
            block.time_base = Fraction(1, self._rate)
            self._container.mux(self._stream.encode(block))
            self._frames += 1

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode(None))


def _encoded_rate(rate: int) -> int:
    """44,100 for its own family of rates, 48,000 for all others: what every player takes."""
    return 44_100 if rate % 11_025 == 0 else 48_000


def _stream_of(sound: Waveform) -> SoundStream:
    import soxr

    rate = _encoded_rate(sound.rate)
    samples: Float32[np.ndarray, " samples"] = sound.samples
    if rate != sound.rate:
        samples = soxr.resample(sound.samples, sound.rate, rate, "HQ")
    blocks: Iterator[Float32[np.ndarray, "samples channels"]] = iter([samples[:, None]])
    return SoundStream(rate=rate, channels=1, blocks=blocks)
