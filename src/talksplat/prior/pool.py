"""A pool: a folder of what clips tell of speech and lips, without a picture and without sound.

``index.json`` lists the clips; NAME.npz holds a clip's arrays, half precision, frame i being [0.04 i, 0.04 (i + 1)) s:

    mel          [4 T + 117, 32]  mel rows at 100 Hz; row 60 + 4 i begins at the middle of frame i
    embedding    [T, 96]          speech embedding, its 76 mel rows centred on the middle of frame i
    mouth        [T, 3]           opening, width, outer opening, by the distance of the outer eye corners
    lips         [T, 80]          the 40 lip landmarks as x, y, x, y, ..., see ``lip_shapes``
    blendshapes  [T, 52]          MediaPipe's, ``names`` says which

Arrays are as recorded: lips of frame n belong to the sound of frame n - ``lips_late_frames``.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from talksplat.clock import FRAME_RATE, SAMPLES_PER_FRAME
from talksplat.errors import InputError, PriorError
from talksplat.landmarks import BLENDSHAPES
from talksplat.model.articulation import lip_shapes
from talksplat.portrait import Portrait
from talksplat.prior.offset import av_offset, lagged
from talksplat.speech.encoders import EmbeddingEncoder, on_steps
from talksplat.speech.live import live_features
from talksplat.speech.prior import MEASURES, ArticulationPrior
from talksplat.speech.standardization import Standardization
from talksplat.storage import replacing, write_json

MARGIN_ROWS = 60
"""Mel rows before the first frame's middle and after the last's."""
ARRAYS = ("mel", "embedding", "mouth", "lips", "blendshapes", "names")
ADD_AGAIN = "copy the pool again, or add the clip anew with `talksplat prior add`"
SPOKEN = ("jaw", "mouth")
"""Blendshapes whose names begin so belong to articulation."""


@dataclass(frozen=True)
class PoolClip:
    """One clip of a pool."""

    name: str
    person: str
    """Clips of one person are never on both sides of a comparison."""
    lips_late_frames: float
    source: str
    consent: str
    mel: Float32[np.ndarray, "rows 32"]
    embedding: Float32[np.ndarray, "T 96"]
    mouth: Float32[np.ndarray, "T 3"]
    lips: Float32[np.ndarray, "T 80"]
    blendshapes: Float32[np.ndarray, "T 52"]
    names: tuple[str, ...]
    """Of the blendshapes."""

    def __len__(self) -> int:
        return len(self.mouth)

    @cached_property
    def features(self) -> Float32[np.ndarray, "steps 128"]:
        """Standardised features on the 50 Hz grid, as :class:`EmbeddingEncoder` makes them of sound."""
        rows = MARGIN_ROWS + 2 * np.arange(2 * len(self))
        mel = (self.mel[rows - 3] + self.mel[rows - 2]) / 2
        embedding = on_steps(np.pad(self.embedding, ((1, 1), (0, 0)), mode="edge"))
        raw = np.concatenate([mel, embedding], axis=1)
        return Standardization.of(raw).apply(raw)

    @cached_property
    def heard_live(self) -> Float32[np.ndarray, "steps 128"]:
        """Raw features of the live form."""
        return live_features(EmbeddingEncoder(1), self.mel, MARGIN_ROWS, len(self))

    def together(self) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Frames of lips, and the frames of sound that belong to them."""
        return lagged(len(self), round(self.lips_late_frames))

    def targets(self, components: Float32[np.ndarray, "K 80"]) -> Float32[np.ndarray, "T outputs"]:
        """Articulation, each output standardised; one that never moves is zero."""
        chosen = [index for index, name in enumerate(self.names) if name.startswith(SPOKEN)]
        shape = (self.lips - self.lips.mean(0)) @ components.T
        raw = np.concatenate([self.mouth, shape, self.blendshapes[:, chosen]], axis=1)
        return Standardization.of(raw).apply(raw)

    def output_names(self, components: int) -> tuple[str, ...]:
        """What :meth:`targets` are, in their order."""
        lips = (f"lips{number + 1}" for number in range(components))
        return (*MEASURES, *lips, *(name for name in self.names if name.startswith(SPOKEN)))


def read_pool(folder: Path) -> list[PoolClip]:
    """All clips of a pool.

    Raises:
        PriorError: no index, or a clip of it that is missing, damaged, of other shapes or with other blendshapes.
    """
    clips = [_read(Path(folder), row) for row in _index(Path(folder))]
    for clip in clips:
        if clip.names != clips[0].names:
            raise PriorError(
                f"clip `{clip.name}` of the pool `{folder}` has other blendshapes, or in another order, than "
                f"`{clips[0].name}`",
                hint=ADD_AGAIN,
            )
    return clips


def add_to_pool(portrait: Portrait, folder: Path, name: str, person: str, prior: ArticulationPrior) -> PoolClip:
    """Write what ``portrait`` tells of speech and lips into the pool ``folder`` (made if missing); consent goes along.

    Its lips are stated to be as late as ``prior`` finds them, or on time where that is not certain.

    Raises:
        InputError: a clip of that name is already there, or the name is no plain file name.
    """
    rows = _index(folder) if (folder / "index.json").exists() else []
    if name in {row["file"] for row in rows} or not name or Path(name).name != name:
        raise InputError(
            f"clip `{name}`: expected a plain name that is not in the pool `{folder}` yet",
            hint="choose another --name",
        )
    clip = _of_portrait(portrait, name, person, prior)
    arrays = {key: np.asarray(getattr(clip, key), None if key == "names" else np.float16) for key in ARRAYS}
    with replacing(folder / f"{name}.npz") as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)
    row = {
        "file": name,
        "person": person,
        "seconds": round(len(clip) / FRAME_RATE, 1),
        "lips_late_frames": round(clip.lips_late_frames, 2),
        "source": clip.source,
        "consent": clip.consent,
    }
    write_json(folder / "index.json", [*rows, row])
    return clip


def _of_portrait(portrait: Portrait, name: str, person: str, prior: ArticulationPrior) -> PoolClip:
    encoder, tracks = EmbeddingEncoder(), portrait.tracks
    margin = MARGIN_ROWS // encoder.rows_per_frame * SAMPLES_PER_FRAME
    mel = encoder.rows(np.pad(portrait.audio(), margin))[: 4 * len(portrait) + 2 * MARGIN_ROWS - 3]
    clip = PoolClip(
        name=name,
        person=person,
        lips_late_frames=0.0,
        source=portrait.info.provenance.source,
        consent=portrait.info.provenance.consent,
        mel=mel,
        embedding=embedded(mel, encoder),
        mouth=tracks.mouth.numpy(),
        lips=lip_shapes(tracks.landmarks[..., :2]).numpy(),
        blendshapes=tracks.blendshapes.numpy(),
        names=BLENDSHAPES,
    )
    seen = np.where(tracks.usable.numpy()[:, None], clip.mouth, np.nan)
    found = av_offset(clip.features, seen, prior)
    return dataclasses.replace(clip, lips_late_frames=found.lips_late_frames if found.is_certain else 0.0)


def embedded(mel: Float32[np.ndarray, "rows 32"], encoder: EmbeddingEncoder) -> Float32[np.ndarray, "T 96"]:
    """The embedding of every frame, from a clip's mel rows with their margins."""
    frames = (len(mel) - 2 * MARGIN_ROWS + 3) // encoder.rows_per_frame
    starts = MARGIN_ROWS - encoder.rows_before + encoder.rows_per_frame * np.arange(frames)
    return encoder.embed(np.stack([mel[at : at + encoder.rows_before + encoder.rows_after] for at in starts]))


def _index(folder: Path) -> list[dict[str, Any]]:
    path = folder / "index.json"
    try:
        rows = json.loads(path.read_text())
        if not isinstance(rows, list) or not all({"file", "lips_late_frames"} <= row.keys() for row in rows):
            raise ValueError("a clip without `file` or `lips_late_frames`")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise PriorError(
            f"`{path}` is not the list of a pool's clips (file, seconds, lips_late_frames, source): {error}",
            hint="make a pool with `talksplat prior add PORTRAIT --to DIR`",
        ) from error
    return rows


def _read(folder: Path, row: dict[str, Any]) -> PoolClip:
    path = folder / f"{row['file']}.npz"
    try:
        with np.load(path) as file:
            arrays: dict[str, Any] = {name: file[name].astype(np.float32) for name in ARRAYS if name != "names"}
            names = tuple(str(name) for name in file["names"])
        clip = PoolClip(
            name=row["file"],
            person=str(row.get("person", row["file"])),
            lips_late_frames=float(row["lips_late_frames"]),
            source=str(row.get("source", "")),
            consent=str(row.get("consent", "")),
            names=names,
            **arrays,
        )
    except (OSError, ValueError, KeyError) as error:
        raise PriorError(f"clip `{path}` cannot be read: {error}", hint=ADD_AGAIN) from error
    count = len(clip)
    expected = {"mel": (4 * count + 2 * MARGIN_ROWS - 3, 32), "embedding": (count, 96), "lips": (count, 80)}
    for name, shape in {**expected, "mouth": (count, 3), "blendshapes": (count, len(names))}.items():
        found = getattr(clip, name).shape
        if found != shape or not np.isfinite(getattr(clip, name)).all():
            raise PriorError(f"clip `{path}`: `{name}` is {found}; expected {shape}, all finite", hint=ADD_AGAIN)
    return clip
