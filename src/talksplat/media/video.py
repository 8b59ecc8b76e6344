"""Any video as pictures at exactly 25 frames a second, upright, square-pixelled, sRGB.

Picture k stands for the instant k/25 s after the first picture of the file (see :mod:`talksplat.media.timeline`);
colours are those of :mod:`talksplat.media.color`; rotation and mirror flags are applied; pictures with oblong
pixels are enlarged along their shorter side. Memory is constant, whatever the length.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8

from talksplat.errors import UnreadableMedia
from talksplat.media.color import as_srgb, is_hdr, needs_conversion, source_matrix, source_range
from talksplat.media.timeline import Timeline, timeline_of
from talksplat.storage import existing_file

SHARP = int(
    Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
)
"""Flags of swscale: chroma is interpolated, not repeated, which keeps the edges of lips clean."""

CONVERT_HINT = "open it in a video player to see whether it plays, or convert it to H.264 in an .mp4 file"


@dataclass(frozen=True)
class VideoInfo:
    """What a video is, as a viewer sees it."""

    width: int
    """Pixels of the upright picture with square pixels."""
    height: int
    frames: int
    """Number of pictures :func:`read_frames` gives."""
    seconds: float
    source_rate: float
    """Mean pictures a second in the file."""
    variable_rate: bool
    codec: str
    hdr: bool
    has_sound: bool


def probe(path: Path) -> VideoInfo:
    """Look at a video: one pass over its packets, one picture decoded.

    Raises:
        MissingInput: no such file.
        UnreadableMedia: not a video, or no picture in it can be decoded.
    """
    with _opened(path) as (container, stream):
        timeline = _scan(container, stream, path)
    with _opened(path) as (container, stream):
        first = next(_decoded(container, stream), None)
        if first is None:
            raise _undecodable(path)
        canvas = Canvas.of(first, stream)
        return VideoInfo(
            width=canvas.upright_size[0],
            height=canvas.upright_size[1],
            frames=timeline.frames,
            seconds=float(timeline.duration),
            source_rate=float(timeline.source_rate),
            variable_rate=timeline.is_variable,
            codec=stream.codec_context.name,
            hdr=is_hdr(first),
            has_sound=bool(container.streams.audio),
        )


def frame_count(path: Path) -> int:
    """The exact number of pictures :func:`read_frames` gives; nothing is decoded.

    Raises:
        MissingInput: no such file.
        UnreadableMedia: not a video.
    """
    return picture_timeline(path).frames


def picture_timeline(path: Path) -> Timeline:
    """When the pictures of a video are shown.

    Raises:
        MissingInput: no such file.
        UnreadableMedia: not a video.
    """
    with _opened(path) as (container, stream):
        return _scan(container, stream, path)


def read_frames(path: Path, start: int = 0) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Yield pictures ``start``, ``start + 1``, ... of a video at 25 frames a second; sRGB, C-contiguous.

    Damaged pictures are skipped: their ticks show the nearest picture that can be decoded.

    Raises:
        MissingInput: no such file.
        UnreadableMedia: not a video, or no picture in it can be decoded.
    """
    timeline = picture_timeline(path)
    with _opened(path) as (container, stream):
        pictures = _stamped(_decoded(container, stream), timeline)
        if start > 0 and timeline.stamped:
            pictures = _decoded_from(timeline.stamp_before(start), container, stream, timeline)
        canvas: Canvas | None = None
        drawn: tuple[int, UInt8[np.ndarray, "H W 3"]] | None = None
        for stamp, frame in _nearest(pictures, timeline, start):
            canvas = canvas or Canvas.of(frame, stream)
            if drawn is None or drawn[0] != stamp:
                drawn = stamp, canvas.draw(frame)
                yield drawn[1]
            else:
                yield drawn[1].copy()
        if drawn is None and start < timeline.frames:
            raise _undecodable(path)


class Canvas:
    """Turns decoded pictures of one stream into upright sRGB arrays of one size."""

    def __init__(self, size: tuple[int, int], turn: np.ndarray) -> None:
        self._size = size
        self._turn = turn
        self._reformatter = VideoReformatter()

    @classmethod
    def of(cls, frame: VideoFrame, stream: VideoStream) -> Canvas:
        """The canvas that fits a stream whose first picture is ``frame``."""
        return cls(_square_pixels(frame.width, frame.height, stream.sample_aspect_ratio), _turn_of(frame))

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of what is drawn."""
        width, height = self._size
        return (width, height) if self._turn[0, 0] else (height, width)

    def draw(self, frame: VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
        """``frame`` as an upright, C-contiguous sRGB array."""
        deep = needs_conversion(frame)
        picture = self._reformatter.reformat(
            frame,
            width=self._size[0],
            height=self._size[1],
            format="rgb48le" if deep else "rgb24",
            src_colorspace=source_matrix(frame),
            src_color_range=source_range(frame),
            interpolation=SHARP,
            threads=1,
        ).to_ndarray()
        if deep:
            picture = as_srgb(picture, frame.color_trc, frame.color_primaries)
        return np.ascontiguousarray(_turned(picture, self._turn))


def _nearest(
    pictures: Iterator[tuple[int, VideoFrame]], timeline: Timeline, start: int
) -> Iterator[tuple[int, VideoFrame]]:
    """For each tick from ``start`` on, the stamp and picture nearest to it; two pictures are held at a time."""
    current = next(pictures, None)
    if current is None:
        return
    following = next(pictures, None)
    for tick in range(start, timeline.frames):
        while following and timeline.lateness(following[0], tick) < -timeline.lateness(current[0], tick):
            current, following = following, next(pictures, None)
        yield current


def _stamped(frames: Iterator[VideoFrame], timeline: Timeline) -> Iterator[tuple[int, VideoFrame]]:
    """Decoded pictures with ascending stamps, counted off where the container holds none."""
    last = -(1 << 62)
    for count, frame in enumerate(frames):
        stamp = frame.pts if timeline.stamped else count
        if stamp is not None and stamp > last:
            last = stamp
            yield stamp, frame


def _decoded_from(
    stamp: int, container: InputContainer, stream: VideoStream, timeline: Timeline
) -> Iterator[tuple[int, VideoFrame]]:
    """Decoded pictures from ``stamp`` on, or from the file's start where it cannot seek so precisely."""
    for rewind in (stamp, int(timeline.stamps[0])):
        container.seek(rewind, stream=stream)
        pictures = _stamped(_decoded(container, stream), timeline)
        first = next(pictures, None)
        if first is not None and first[0] <= stamp:
            yield first
            break
    yield from pictures


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """All pictures that can be decoded; damaged packets are passed over."""
    for packet in _packets(container, stream):
        try:
            yield from packet.decode()  # type: ignore[misc]
        except FFmpegError:
            continue


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """All packets up to the end of the file or the place where it is cut off."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:
            return
        if packet is None:
            return
        yield packet


def _scan(container: InputContainer, stream: VideoStream, path: Path) -> Timeline:
    pictures = [
        (packet.pts, packet.duration or 0)
        for packet in _packets(container, stream)
        if packet.size and not packet.is_discard
    ]
    if not pictures:
        raise _undecodable(path)
    return timeline_of(pictures, stream.time_base or Fraction(1, 25), stream.guessed_rate)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    path = existing_file(path, "video")
    try:
        container = av.open(str(path))
    except (FFmpegError, OSError) as error:
        raise UnreadableMedia(
            f"`{path}` is not a video that can be read: {error.strerror or error}", hint=CONVERT_HINT
        ) from error
    with container:
        yield container, _video_stream(container, path)


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not a cover picture."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            stream.thread_type = "AUTO"
            return stream
    found = ", ".join(sorted({stream.type for stream in container.streams})) or "no streams"
    raise UnreadableMedia(f"`{path}` holds no video: found {found}", hint="give a file with moving pictures")


def _undecodable(path: Path) -> UnreadableMedia:
    return UnreadableMedia(f"`{path}` holds a video stream, but no picture in it can be decoded", hint=CONVERT_HINT)


def _square_pixels(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Size with square pixels: one side is enlarged, none is shrunk."""
    if not aspect or aspect <= 0:
        return width, height
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))


def _turn_of(frame: VideoFrame) -> np.ndarray:
    """Signs of the picture's display matrix, the nearest turn or mirroring: out = turn @ (x, y), y down.

    The matrix (ISO/IEC 14496-12, 6.2.2) maps a point by x' = a x + c y, y' = b x + d y.
    """
    try:
        data = frame.side_data[SideDataType.DISPLAYMATRIX]  # type: ignore[reportGeneralTypeIssues]
    except KeyError:
        return np.eye(2, dtype=int)
    a, b, _, c, d = np.frombuffer(bytes(data), dtype=np.int32)[:5].astype(float)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return np.diag([-1 if a < 0 else 1, -1 if d < 0 else 1])
    return np.array([[0, -1 if c < 0 else 1], [-1 if b < 0 else 1, 0]])


def _turned(picture: UInt8[np.ndarray, "H W 3"], turn: np.ndarray) -> UInt8[np.ndarray, "H2 W2 3"]:
    """The picture after ``turn``."""
    if turn[0, 0] == 0:
        picture = picture.transpose(1, 0, 2)
    step_x, step_y = int(turn[0].sum()), int(turn[1].sum())
    return picture[::step_y, ::step_x]
