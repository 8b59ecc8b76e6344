"""Synthetic clips whose every picture carries its number and whose sound is known."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

BITS = 8
CELL = 16


def numbered_picture(number: int) -> np.ndarray:
    """A picture of 128 x 32 pixels whose upper cells are the bits of ``number`` in black and white."""
    picture = np.full((2 * CELL, BITS * CELL, 3), 60, dtype=np.uint8)
    for bit in range(BITS):
        picture[:CELL, bit * CELL : (bit + 1) * CELL] = 235 if number >> bit & 1 else 20
    return picture


def number_of(picture: np.ndarray) -> int:
    """The number that :func:`numbered_picture` drew."""
    cells = picture[4 : CELL - 4].mean(axis=(0, 2)).reshape(BITS, CELL)[:, 4:-4].mean(axis=1)
    return sum(1 << bit for bit in range(BITS) if cells[bit] > 128)


@pytest.fixture
def write_clip() -> Callable[..., Path]:
    """A function that writes a clip: pictures with stamps, and optionally mono sound that starts at a time."""

    def write(
        path: Path,
        pictures: Sequence[tuple[int, av.VideoFrame]],
        *,
        time_base: Fraction = Fraction(1, 25),
        codec: str = "libx264",
        options: dict[str, str] | None = None,
        sound: np.ndarray | None = None,
        sound_rate: int = 16_000,
        sound_start: Fraction = Fraction(0),
        prepare: Callable[[Any], None] = lambda stream: None,
    ) -> Path:
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=25, options=options or {})
            stream.width, stream.height = pictures[0][1].width, pictures[0][1].height
            stream.pix_fmt = pictures[0][1].format.name
            stream.codec_context.time_base = time_base
            prepare(stream)
            track: Any = None
            if sound is not None:
                track = container.add_stream(
                    "aac" if path.suffix == ".mp4" else "pcm_s16le", rate=sound_rate, layout="mono"
                )
            for stamp, picture in pictures:
                picture.pts, picture.time_base = stamp, time_base
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
            if sound is not None:
                for at in range(0, len(sound), 1024):
                    block = np.round(sound[None, at : at + 1024] * 32767).astype(np.int16)
                    frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
                    frame.rate, frame.time_base = sound_rate, Fraction(1, sound_rate)
                    frame.pts = at + round(sound_start * sound_rate)
                    container.mux(track.encode(frame))
                container.mux(track.encode(None))
        return path

    return write


@pytest.fixture
def numbered() -> Callable[[Sequence[int]], list[tuple[int, av.VideoFrame]]]:
    """A function that makes numbered pictures with the given stamps."""

    def make(stamps: Sequence[int]) -> list[tuple[int, av.VideoFrame]]:
        return [
            (stamp, av.VideoFrame.from_ndarray(numbered_picture(number), format="rgb24").reformat(format="yuv420p"))
            for number, stamp in enumerate(stamps)
        ]

    return make


@pytest.fixture
def read_number() -> Callable[[np.ndarray], int]:
    """The function that reads a picture's number."""
    return number_of
