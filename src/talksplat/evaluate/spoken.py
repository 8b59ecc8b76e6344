"""What an avatar's mouth does when it speaks: driven by any sound, drawn, and read back by the face tracker."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float

from talksplat.evaluate.faces import FaceReader, film
from talksplat.frame import Condition
from talksplat.methods.avatar_file import SavedAvatar
from talksplat.prepare.expression import mouth_measures
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import Rasterizer
from talksplat.render import DrivingTrack, Renderer
from talksplat.speak import held_expression
from talksplat.speech.encoders import find_encoder
from talksplat.speech.hearing import Hearing

READERS = 2
"""Threads that look for the face while the next picture is drawn."""


def spoken_mouth(
    saved: SavedAvatar,
    audio: Path,
    rasterizer: Rasterizer,
    reporter: Reporter,
    device: str = "cpu",
    most: int | None = None,
) -> Float[np.ndarray, "T 3"]:
    """Inner-lip opening, width and outer opening of every frame that ``speak`` would make of ``audio``.

    In distances of the outer eye corners; NaN where no face was found. At ``most`` so many frames are made.

    Raises:
        MissingInput, UnreadableMedia, UnsuitableSpeech: see :meth:`Hearing.of`.
    """
    hearing = Hearing.of(audio, find_encoder(saved.speech_encoder, threads=1), reporter, saved.articulator)
    track = DrivingTrack(saved.head_to_camera, held_expression(saved))
    renderer = Renderer(saved, rasterizer, device)
    frames = hearing.frames if most is None else min(most, hearing.frames)
    readings = {}
    with FaceReader(READERS) as reader, reporter.bar("read lips", frames) as bar:
        for index, speech in enumerate(islice(hearing.windows(saved.rest_speech), frames)):
            pose, expression = track.at(index)
            condition = Condition(speech=speech, expression=expression, head_pose=pose)
            readings[index] = reader.read(renderer.draw(condition))
            bar.advance()
        return mouth_measures(film(readings, range(frames)))
