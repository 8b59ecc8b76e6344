"""Foreign voices: an avatar says what somebody else said, and its lips are judged by that person's own.

Cross-driven speech has no recording of the right person to compare with, so published figures of it need a network's
opinion (SyncNet). But other people's recordings hold lips that went with just this sound: standardised, a truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from talksplat.errors import InputError
from talksplat.evaluate.spoken import spoken_mouth
from talksplat.methods.avatar_file import SavedAvatar
from talksplat.metrics.sync import correlation_interval, lagged_correlation
from talksplat.portrait import Portrait
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import Rasterizer
from talksplat.report.figures import ForeignVoice

MOST_FRAMES = 500
"""Frames of a foreign recording that are said: twenty seconds."""


def open_foreign(saved: SavedAvatar, folders: Sequence[Path]) -> list[Portrait]:
    """Portraits whose speech the avatar can be made to say.

    Raises:
        MissingInput, PortraitError: a portrait is missing or incomplete.
        InputError: one is the avatar's own.
    """
    portraits = [Portrait(folder) for folder in folders]
    for portrait in portraits:
        if portrait.info.provenance.source_sha256 == saved.provenance.source_sha256:
            raise InputError(
                f"portrait `{portrait.folder}` is the one the avatar was made from; expected another person's",
                hint="its own speech is judged anyway; give portraits of other people to --foreign",
            )
    return portraits


def foreign_voices(
    saved: SavedAvatar,
    portraits: Sequence[Portrait],
    rasterizer: Rasterizer,
    reporter: Reporter,
    device: str,
    seed: int,
) -> list[ForeignVoice]:
    """How the avatar's lips follow the speech of other portraits."""
    found = []
    for portrait in portraits:
        sound = portrait.folder / "audio.wav"
        mouth = spoken_mouth(saved, sound, rasterizer, reporter, device, most=min(MOST_FRAMES, len(portrait)))
        found.append(judged_voice(portrait, mouth[:, 0], seed))
    return found


def judged_voice(portrait: Portrait, opening: Float[np.ndarray, " T"], seed: int) -> ForeignVoice:
    """A rendered lip ``opening`` (NaN without a face) beside that of whoever spoke."""
    tracks = portrait.tracks
    true = np.where(tracks.usable.numpy(), tracks.mouth[:, 0].double().numpy(), np.nan)[: len(opening)]
    lagged = lagged_correlation(opening, true)
    return ForeignVoice(
        portrait=portrait.folder.resolve().name,
        source=portrait.info.provenance.source,
        frames=len(opening),
        correlation=correlation_interval([opening], [true], seed=seed),
        best=lagged.best,
        lag=lagged.lag,
    )
