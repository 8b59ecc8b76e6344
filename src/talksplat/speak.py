"""New speech out of an avatar's mouth: sound in, video with sound out, in constant memory for any length.

Two passes over the sound: the first gathers what standardises the features and tells speech from silence, the second
turns sound into windows of features and these into pictures. Drawing runs ahead of encoding on its own thread.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from talksplat import __version__
from talksplat.ahead import ahead
from talksplat.clock import FRAME_RATE
from talksplat.dataset import usable_frames
from talksplat.errors import InputError
from talksplat.frame import UNITS, Condition
from talksplat.media.contact_sheet import ContactSheet
from talksplat.media.encode import VideoWriter
from talksplat.methods.avatar_file import SavedAvatar, load_avatar, refuse_strangers
from talksplat.portrait import Portrait
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import Rasterizer
from talksplat.render import DrivingTrack, Renderer
from talksplat.speech.encoders import find_encoder
from talksplat.speech.hearing import Hearing
from talksplat.storage import replacing

LIPS_APART = UNITS.index("AU25")
LAYERS_EVERY = 5
"""Frames between two whose layers are written."""
LONGEST_MEMORY = 5_000
"""Frames whose times are kept for the figures: the last 200 s of the video."""


@dataclass(frozen=True)
class SpeakConfig:
    """What may differ between two videos of the same speech."""

    start: float = 0.0
    """Second of the recording at which the head's motion starts."""
    rest_in_silence: bool = True
    """Lead the speech features to the person's rest state where the sound is silent, so that the mouth closes."""
    preview: bool = True
    """Write a contact sheet beside the video."""
    device: str = "cpu"
    """Where the rasterizer draws."""
    recorded: Path | None = None
    """Portrait folder whose recorded torso lies behind the head, as the papers have it, instead of the avatar's own."""
    layers: Path | None = None
    """Folder for pictures of every layer, its alpha, and the method's attention, of every fifth frame."""


@dataclass(frozen=True)
class SpeakResult:
    """What was made, and how fast."""

    video: str
    preview: str | None
    frames: int
    seconds: float
    """Length of the video."""
    wall_seconds: float
    """Time it took, both passes over the sound included."""
    frames_per_second: float
    draw_ms: float
    """Median time to draw one picture (deformation, rasterizer, composition)."""
    draw_ms_p95: float
    encode_ms: float
    """Median time to encode one picture and its sound."""
    encode_ms_p95: float


def speak(
    avatar: Path | SavedAvatar,
    audio: Path,
    out: Path,
    config: SpeakConfig,
    rasterizer: Rasterizer,
    reporter: Reporter,
) -> SpeakResult:
    """Make ``avatar`` say ``audio``: write the video ``out``, as long as the sound, and a contact sheet beside it.

    Nothing appears under the names of the outputs before they are whole.

    Raises:
        MissingInput, AvatarError: no such file, or not a whole avatar.
        UnreadableMedia, UnsuitableSpeech: the sound cannot be read, is empty, or holds NaN.
        InputError: ``out`` is not an .mp4, or is the sound itself; the avatar has no torso of its own and no recording
            was given, or one of another video.
        PortraitError: the recording is damaged.
        DiskFull: no space left.
    """
    began = time.perf_counter()
    out = _checked(Path(out), Path(audio))
    saved = avatar if isinstance(avatar, SavedAvatar) else load_avatar(avatar)
    hearing = Hearing.of(audio, find_encoder(saved.speech_encoder, threads=1), reporter, saved.articulator)
    sheet = ContactSheet(hearing.frames)
    film = _Film(saved, hearing, config, rasterizer)
    camera, statement = saved.reference_camera, synthetic_statement(saved)
    with (
        VideoWriter(out, (camera.width, camera.height), sound=audio, metadata=statement) as video,
        closing(ahead(film.pictures())) as pictures,
        reporter.bar("speak", hearing.frames) as bar,
    ):
        encoding: deque[float] = deque(maxlen=LONGEST_MEMORY)
        for index, picture in enumerate(pictures):
            with _Stopwatch(encoding):
                video.write(picture)
            sheet.offer(index, picture)
            bar.advance()
    preview = out.with_suffix(".png") if config.preview else None
    if preview:
        sheet.save(preview, statement["comment"])
    return _result(out, preview, hearing.frames, time.perf_counter() - began, film.drawing, encoding)


def synthetic_statement(saved: SavedAvatar) -> dict[str, str]:
    """Tags of a video made from ``saved``: a sentence for people, and the same as JSON for programs."""
    source = saved.provenance
    record: dict[str, Any] = {
        "synthetic": True,
        "tool": f"talksplat {__version__}",
        "method": saved.method,
        "preset": saved.preset,
        "provenance": asdict(source),
    }
    comment = (
        f"Synthetic media: this video was computed, not recorded. Made with talksplat {__version__} ({saved.method}) "
        f"from {source.source} (SHA-256 {source.source_sha256}). Consent: {source.consent}"
    )
    return {"title": "Synthetic video of a speaking person", "comment": comment, "description": json.dumps(record)}


def held_expression(saved: SavedAvatar) -> Float[Tensor, "T unit"]:
    """The recorded expression without what it tells of the recorded lips.

    AU25 says how far they were apart. New lips must follow the new speech, so it is held still.
    """
    expression = saved.expression.clone()
    expression[:, LIPS_APART] = expression[:, LIPS_APART].median()
    return expression


class _Recording:
    """What was behind the head at every instant of an avatar's track."""

    def __init__(self, portrait: Portrait, frames: list[int]) -> None:
        self._portrait, self._frames = portrait, frames

    @classmethod
    def of(cls, saved: SavedAvatar, folder: Path | None) -> "_Recording | None":
        """The recording in ``folder``; None where the avatar's own torso is drawn."""
        if folder is None:
            if saved.config.torso == "recorded":
                raise InputError(
                    "this avatar was trained over its recorded torso and has none of its own",
                    hint="add --torso recorded --portrait FOLDER, or train it with --torso own",
                )
            return None
        portrait = Portrait(folder)
        refuse_strangers(saved, portrait, "avatar")
        return cls(portrait, usable_frames(portrait)[0])

    def behind_head(self, place: int) -> Float[Tensor, "H W 3"]:
        """Torso and background at ``place`` of the track."""
        return self._portrait.behind_head(self._frames[place])


class _Film:
    """The pictures of one video, one after the other."""

    def __init__(self, saved: SavedAvatar, hearing: Hearing, config: SpeakConfig, rasterizer: Rasterizer) -> None:
        self._track = DrivingTrack(saved.head_to_camera, held_expression(saved), start=config.start * FRAME_RATE)
        self._recording = _Recording.of(saved, config.recorded)
        self._windows = hearing.windows(saved.rest_speech if config.rest_in_silence else None)
        self._renderer = Renderer(saved, rasterizer, config.device)
        self._layers = config.layers
        self.drawing: deque[float] = deque(maxlen=LONGEST_MEMORY)
        """Milliseconds of the pictures drawn."""

    def pictures(self) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        for index, speech in enumerate(self._windows):
            # Behind the head lies a recorded instant or none: with a recording the track jumps to the nearest.
            place = round(self._track.place(index)) if self._recording else None
            pose, expression = self._track.at(index) if place is None else self._track.recorded(place)
            condition = Condition(speech=speech, expression=expression, head_pose=pose)
            with _Stopwatch(self.drawing):
                behind = self._recording.behind_head(place) if self._recording and place is not None else None
                picture = self._renderer.draw(condition, behind)
            if self._layers is not None and index % LAYERS_EVERY == 0:
                _write_layers(self._renderer, condition, self._layers / f"{index:06d}")
            yield picture


def _write_layers(renderer: Renderer, condition: Condition, stem: Path) -> None:
    """PNGs of one instant: every layer over nothing, its alpha, and attention (brightest place white)."""
    for name, drawn in renderer.layers(condition).items():
        _write_png(stem.with_name(f"{stem.name}-{name}.png"), drawn.colors.cpu().numpy())
        _write_png(stem.with_name(f"{stem.name}-{name}-alpha.png"), drawn.alpha.expand(-1, -1, 3).cpu().numpy())
    for name, drawn in renderer.attention(condition).items():
        values = drawn.colors.cpu().numpy()
        _write_png(stem.with_name(f"{stem.name}-{name}.png"), values / max(float(values.max()), 1e-6))


def _write_png(path: Path, values: Float32[np.ndarray, "H W 3"]) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    picture = (values.clip(0, 1) * 255).round().astype(np.uint8)
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


class _Stopwatch:
    """Appends the milliseconds of its block to ``times``."""

    def __init__(self, times: deque[float]) -> None:
        self._times = times

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._times.append(1000 * (time.perf_counter() - self._began))


def _checked(out: Path, audio: Path) -> Path:
    if out.suffix.lower() != ".mp4":
        raise InputError(
            f"`{out}` is not a name for a video: expected one that ends in .mp4", hint="use --out NAME.mp4"
        )
    if out.exists() and audio.exists() and out.samefile(audio):
        raise InputError(f"`{out}` is the sound itself", hint="choose another --out")
    return out


def _result(
    out: Path, preview: Path | None, frames: int, wall: float, drawing: deque[float], encoding: deque[float]
) -> SpeakResult:
    median_and_late = [[round(float(np.percentile(times, at)), 3) for at in (50, 95)] for times in (drawing, encoding)]
    (draw, draw_late), (encode, encode_late) = median_and_late
    return SpeakResult(
        video=str(out),
        preview=str(preview) if preview else None,
        frames=frames,
        seconds=frames / FRAME_RATE,
        wall_seconds=round(wall, 3),
        frames_per_second=round(frames / wall, 2),
        draw_ms=draw,
        draw_ms_p95=draw_late,
        encode_ms=encode,
        encode_ms_p95=encode_late,
    )
