"""The synthetic speaker: a drawn person who says real speech, with everything about every frame known exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from talksplat.clock import FRAME_RATE, SAMPLE_RATE, SAMPLES_PER_FRAME
from talksplat.media.audio import Waveform
from talksplat.media.encode import VideoWriter
from talksplat.progress import Reporter
from talksplat.storage import replacing
from talksplat.synthetic.articulation import articulate
from talksplat.synthetic.background import background
from talksplat.synthetic.expression import Expression
from talksplat.synthetic.face import LOWER_LIDS, UPPER_LIDS
from talksplat.synthetic.motion import Motion, move
from talksplat.synthetic.person import Instant, Person, person
from talksplat.synthetic.renderer import project
from talksplat.synthetic.speech import Speech, Voice, speech_of

FOCAL = 1.74
"""Focal length by the picture's edge."""
WORKERS = 2
INNER_LIPS = (13, 14)


@dataclass(frozen=True)
class SyntheticFrame:
    """One picture and the truth about it."""

    index: int
    image: UInt8[np.ndarray, "H W 3"]
    """sRGB."""
    labels: UInt8[np.ndarray, "H W"]
    """:class:`talksplat.frame.Label` of every pixel, by majority of its subsamples."""
    landmarks: Float[np.ndarray, "468 2"]
    """The face mesh's vertices, MediaPipe's first 468 landmarks; pixels, centers at whole numbers plus a half."""
    landmarks_in_camera: Float[np.ndarray, "468 3"]
    """The same in camera axes, metres."""
    head_to_camera: Float[np.ndarray, "4 4"]
    """Head pose, metres; the head's world is the canonical face's."""
    mouth_opening: float
    """Distance of the inner rims of the lips in the middle (landmarks 13 and 14), metres; exactly 0 when shut."""
    eye_opening: float
    """Distance of the rims of the lids in the middle, mean of both eyes, metres."""
    expression: Expression
    """What the face does."""


class SyntheticSpeaker:
    """Person ``seed`` saying the shipped speech ``voice``; frame n is drawn for the middle of its 1/25 s."""

    def __init__(self, *, seed: int = 0, size: int = 512, voice: Voice = "a") -> None:
        self.seed, self.size, self.voice = seed, size, voice
        self.speech: Speech = speech_of(voice)
        self.intrinsics = np.array([[FOCAL * size, 0, size / 2], [0, FOCAL * size, size / 2], [0, 0, 1]])
        """3 x 3, pixels."""
        times = (np.arange(self.speech.frames) + 0.5) / FRAME_RATE
        self.motion: Motion = move(seed, self.speech, times)
        self._actions = articulate(self.speech, times)

    def __len__(self) -> int:
        """Frames of the speech."""
        return self.speech.frames

    @cached_property
    def person(self) -> Person:
        """The drawn person."""
        return person(self.seed)

    @cached_property
    def background(self) -> UInt8[np.ndarray, "H W 3"]:
        """The room without the person, sRGB."""
        return np.rint(255 * background(self.size, self.seed, self.person.palette)).astype(np.uint8)

    def scene(self, frame: int) -> Instant:
        """Everything that moves, at frame ``frame``.

        Raises:
            IndexError: the speech has no such frame.
        """
        if not 0 <= frame < len(self):
            raise IndexError(f"frame {frame} of a speech of {len(self)} frames")
        actions = {name: float(values[frame]) for name, values in self._actions.items()}
        motion = self.motion
        return Instant(
            expression=Expression(
                **actions,
                blink=float(motion.blink[frame]),
                brows=float(motion.brows[frame]),
                smile=float(motion.smile[frame]),
            ),
            gaze=motion.gaze[frame],
            head_to_camera=motion.head_to_camera[frame],
            trunk_to_camera=motion.trunk_to_camera[frame],
        )

    def render(self, frame: int) -> SyntheticFrame:
        """Draw frame ``frame``."""
        return self.draw(self.scene(frame), frame)

    def draw(self, instant: Instant, index: int = 0) -> SyntheticFrame:
        """Draw any scene, also one that the speech does not have."""
        drawing = self.person.draw(instant, self.intrinsics, self.size)
        behind = (1 - drawing.coverage)[..., None] * self.background
        points = drawing.landmarks
        upper, lower = (points[[row[3] for row in lids]] for lids in (UPPER_LIDS, LOWER_LIDS))
        return SyntheticFrame(
            index=index,
            image=np.clip(drawing.color + behind + 0.5, 0, 255).astype(np.uint8),
            labels=drawing.labels,
            landmarks=project(points, self.intrinsics),
            landmarks_in_camera=points,
            head_to_camera=instant.head_to_camera,
            mouth_opening=float(np.linalg.norm(points[INNER_LIPS[0]] - points[INNER_LIPS[1]])),
            eye_opening=float(np.linalg.norm(upper - lower, axis=1).mean()),
            expression=instant.expression,
        )

    def frames(self, indices: Sequence[int] | None = None) -> Iterator[SyntheticFrame]:
        """Draw frames in order, by default all, some at a time in parallel."""
        indices = range(len(self)) if indices is None else indices
        _ = self.person, self.background  # made before the threads ask for them
        with ThreadPoolExecutor(WORKERS) as pool:
            for start in range(0, len(indices), 2 * WORKERS):
                yield from pool.map(self.render, indices[start : start + 2 * WORKERS])

    def write_video(self, path: Path, reporter: Reporter | None = None, seconds: float | None = None) -> None:
        """Film the speech, or its first ``seconds``, as MP4 with sound (H.264, AAC).

        Raises:
            DiskFull: no space left.
        """
        count = len(self) if seconds is None else min(len(self), round(seconds * FRAME_RATE))
        sound = Waveform(self.speech.samples[: count * SAMPLES_PER_FRAME], SAMPLE_RATE)
        frames = (reporter or Reporter(quiet=True)).track(self.frames(range(count)), "filming", total=count)
        with VideoWriter(path, (self.size, self.size), sound, crf=16) as video:
            for frame in frames:
                video.write(frame.image)

    def truth(self, indices: Sequence[int] | None = None) -> dict[str, np.ndarray]:
        """The exact quantities of frames as arrays with a leading axis, under the names of :class:`SyntheticFrame`.

        Beside them ``intrinsics``, ``background`` and the actions of the face (``expression`` with ``actions``, their
        names).
        """
        columns: dict[str, list] = {name: [] for name in TRUTH}
        expressions = []
        for frame in self.frames(indices):
            for name, column in columns.items():
                column.append(getattr(frame, name))
            expressions.append([getattr(frame.expression, field.name) for field in fields(Expression)])
        arrays = {name: np.array(column) for name, column in columns.items()}
        names = np.array([field.name for field in fields(Expression)])
        shared = {"intrinsics": self.intrinsics, "background": self.background, "actions": names}
        return {**arrays, **shared, "expression": np.array(expressions)}

    def write_truth(self, path: Path, indices: Sequence[int] | None = None) -> None:
        """Write :meth:`truth` as a compressed ``.npz`` file."""
        arrays = self.truth(indices)
        with replacing(Path(path)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)


TRUTH = ("index", "labels", "landmarks", "landmarks_in_camera", "head_to_camera", "mouth_opening", "eye_opening")
