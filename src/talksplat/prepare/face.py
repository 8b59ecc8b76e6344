"""Face landmarks and blendshapes by MediaPipe's Face Landmarker, one picture at a time or a whole clip in parallel."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from talksplat import weights
from talksplat.errors import MachineError, UnsuitableFace
from talksplat.progress import Reporter

Picture = UInt8[np.ndarray, "H W 3"]
Box = tuple[int, int, int]
"""Left, top and edge of a square part of a picture, pixels."""

LANDMARKS = 478
SYSTEM_LIBRARIES = "libegl1 libgles2 libgl1 libglib2.0-0"
LEAST_FOUND = 0.5
"""Of the frames of a clip, the part in which a face must be found."""
DOMINANCE = 2.5
"""Area ratio from which the larger of two faces is the speaker: 1.6 times nearer to the camera than the other."""
LEAST_TILE = 400
"""Edge of the smallest squares that are searched, pixels: in them the smallest face worth preparing is a fifth."""
COMPANY = 0.1
"""Two faces of like size are tolerated in up to this part of the frames."""


@dataclass(frozen=True)
class Face:
    """One face in one picture."""

    landmarks: Float32[np.ndarray, "478 3"]
    """x and y in pixels (pixel centres at whole numbers plus a half), z in pixels, towards the back."""
    blendshapes: Float32[np.ndarray, "52"]
    """Those of :data:`talksplat.landmarks.BLENDSHAPES`, 0 to 1."""

    @property
    def center(self) -> Float32[np.ndarray, "2"]:
        """Middle of the landmarks' bounding box, pixels."""
        return (self.landmarks[:, :2].min(0) + self.landmarks[:, :2].max(0)) / 2

    @property
    def edge(self) -> float:
        """Square root of the bounding box's area, pixels."""
        return float(np.sqrt(np.prod(np.ptp(self.landmarks[:, :2], axis=0))))


@dataclass(frozen=True)
class Detections:
    """The speaker's face in every frame of a clip."""

    landmarks: Float32[np.ndarray, "T 478 3"]
    """Pixels; interpolated in time where no face was found."""
    blendshapes: Float32[np.ndarray, "T 52"]
    """Those of :data:`talksplat.landmarks.BLENDSHAPES`, 0 to 1; interpolated where no face was found."""
    detected: Bool[np.ndarray, " T"]
    """Where the face was found."""


class FaceTracker:
    """MediaPipe Face Landmarker on single pictures (IMAGE mode: deterministic, no filter lag). Not thread safe."""

    def __init__(self, model: Path | None = None) -> None:
        """Load the landmarker from ``model``, by default the shipped file.

        Raises:
            MachineError: a system library that MediaPipe links against is missing.
            MissingWeights: the model file is missing.
        """
        self._landmarker, self._image = _landmarker(model or weights.find("face-landmarker"))

    def __enter__(self) -> FaceTracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()

    def close(self) -> None:
        """Free the model; MediaPipe raises at interpreter exit when this is left to the garbage collector."""
        self._landmarker.close()

    def detect(self, picture: Picture) -> list[Face]:
        """Up to two faces of an sRGB picture, in the order of the detector."""
        # The landmarker finds nothing, without an error, in arrays with padded rows.
        image = self._image(np.ascontiguousarray(picture))
        found = self._landmarker.detect(image)
        height, width = picture.shape[:2]
        return [
            Face(_landmark_array(points, height, width), np.array([shape.score for shape in shapes], np.float32))
            for points, shapes in zip(found.face_landmarks, found.face_blendshapes, strict=True)
        ]

    def search(self, picture: Picture, near: Face | None = None) -> list[Face]:
        """Faces that :meth:`detect` may miss: the detector is made for faces of at least a tenth of the picture.

        Looks around ``near`` (the face in a neighboring frame), then in overlapping squares of falling size.
        """
        height, width = picture.shape[:2]
        groups: list[list[Box]] = [[_box_around(near, height, width)]] if near else []
        edges = [min(height, width) // part for part in (1, 2, 4)]
        groups += [_tiles(height, width, edge) for edge in edges if edge >= LEAST_TILE or edge == edges[0]]
        for boxes in groups:
            found = [face for box in boxes for face in self._detect_in(picture, box)]
            if found:
                return _distinct(found)[:2]
        return []

    def _detect_in(self, picture: Picture, box: Box) -> list[Face]:
        left, top, edge = box
        offset = np.array([left, top, 0], np.float32)
        return [
            Face(face.landmarks + offset, face.blendshapes)
            for face in self.detect(picture[top : top + edge, left : left + edge])
        ]


def track(
    pictures: Callable[[int], Picture],
    count: int,
    *,
    workers: int = 2,
    reporter: Reporter | None = None,
    model: Path | None = None,
) -> Detections:
    """The speaker's face in ``count`` frames, found on ``workers`` threads with a landmarker each.

    ``pictures`` is called from several threads, in rising order of frames. The result does not depend on ``workers``.
    Where the whole picture shows no face, the surroundings of the face in the nearest frame are searched.

    Raises:
        UnsuitableFace: no face in half of the frames or more, or two faces of which none is clearly the speaker.
        MachineError, MissingWeights: as :class:`FaceTracker`.
    """
    reporter = reporter or Reporter(quiet=True)
    with _TrackerPool(workers, model) as pool:
        look = pool.run(lambda tracker, index: tracker.detect(pictures(index)), range(count))
        found = list(reporter.track(look, "finding the face", count))
        missing = [index for index, faces in enumerate(found) if not faces]
        near = _nearest_faces(found)
        again = pool.run(lambda tracker, index: tracker.search(pictures(index), near[index]), missing)
        for index, faces in zip(missing, reporter.track(again, "searching again", len(missing)), strict=True):
            found[index] = faces
    return _detections(speaker(found))


def speaker(found: Sequence[Sequence[Face]]) -> list[Face | None]:
    """Of the faces found in every frame, the one speaker's; None where there is none.

    Raises:
        UnsuitableFace: no face in half of the frames or more, or two faces of like size in over a tenth of them.
    """
    seen = [faces for faces in found if faces]
    if len(seen) <= LEAST_FOUND * len(found):
        raise UnsuitableFace(
            f"found a face in {len(seen)} of {len(found)} frames; expected one in more than half of them",
            hint="use a clip of one person who looks towards the camera, well lit and not covered",
        )
    company = [sorted((face.edge**2 for face in faces), reverse=True) for faces in seen if len(faces) > 1]
    rivals = sum(first < DOMINANCE * second for first, second in company)
    if rivals > COMPANY * len(found):
        raise UnsuitableFace(
            f"found two faces of like size in {rivals} of {len(found)} frames; expected one person",
            hint=f"crop the video to the speaker; other faces may have up to 1/{DOMINANCE:g} of the speaker's area",
        )
    largest = [max(faces, key=lambda face: face.edge) for faces in seen]
    center, edge = np.median([face.center for face in largest], axis=0), float(np.median([f.edge for f in largest]))
    return [_likest(faces, center, edge) for faces in found]


def _likest(faces: Sequence[Face], center: np.ndarray, edge: float) -> Face | None:
    """The face nearest in place and size to the clip's typical one; a far smaller one is somebody else."""
    alike = [face for face in faces if face.edge**2 * DOMINANCE**2 > edge**2]
    distances = [np.linalg.norm(f.center - center) / edge + abs(np.log(f.edge / edge)) for f in alike]
    return alike[int(np.argmin(distances))] if alike else None


def _detections(faces: Sequence[Face | None]) -> Detections:
    detected = np.array([face is not None for face in faces])
    known = np.flatnonzero(detected)
    landmarks = np.stack([face.landmarks for face in faces if face is not None])
    blendshapes = np.stack([face.blendshapes for face in faces if face is not None])
    return Detections(
        landmarks=fill_gaps(landmarks, known, len(faces)),
        blendshapes=fill_gaps(blendshapes, known, len(faces)),
        detected=detected,
    )


def fill_gaps(values: Float32[np.ndarray, "K *rest"], known: np.ndarray, count: int) -> Float32[np.ndarray, "T *rest"]:
    """Values of all ``count`` frames from those of the frames ``known``, linear between them, constant at the ends."""
    at = np.interp(np.arange(count), known, np.arange(len(known)))
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, len(known) - 1)
    part = (at - low).astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
    return values[low] * (1 - part) + values[high] * part


def _nearest_faces(found: Sequence[Sequence[Face]]) -> list[Face | None]:
    """For every frame the largest face of the nearest frame that has one."""
    known = np.array([index for index, faces in enumerate(found) if faces])
    if not len(known):
        return [None] * len(found)
    nearest = known[np.abs(np.arange(len(found))[:, None] - known[None]).argmin(1)]
    return [max(found[index], key=lambda face: face.edge) for index in nearest]


def _distinct(faces: Sequence[Face]) -> list[Face]:
    """Faces without repetitions from overlapping squares, largest first."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.edge):
        if all(np.linalg.norm(face.center - other.center) > other.edge / 2 for other in kept):
            kept.append(face)
    return kept


def _box_around(face: Face, height: int, width: int) -> Box:
    edge = min(int(3 * face.edge), height, width)
    left, top = (int(value - edge / 2) for value in face.center)
    return min(max(left, 0), width - edge), min(max(top, 0), height - edge), edge


def _tiles(height: int, width: int, edge: int) -> list[Box]:
    """Squares that cover the picture and overlap by half or more."""
    tops, lefts = (
        np.linspace(0, length - edge, 1 + -(-2 * (length - edge) // edge)).astype(int) for length in (height, width)
    )
    return [(int(left), int(top), edge) for top in tops for left in lefts]


def _landmark_array(points: Any, height: int, width: int) -> Float32[np.ndarray, "478 3"]:
    normalized = np.array([(point.x, point.y, point.z) for point in points], np.float32)
    return normalized * np.array([width, height, width], np.float32)


class _TrackerPool:
    """Threads with a landmarker each: one shared by threads gains no speed."""

    def __init__(self, workers: int, model: Path | None) -> None:
        self._threads = ThreadPoolExecutor(workers)
        self._model = model
        self._own = threading.local()
        self._all: list[FaceTracker] = []

    def __enter__(self) -> _TrackerPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._threads.shutdown(cancel_futures=True)
        for tracker in self._all:
            tracker.close()

    def run(self, work: Callable[[FaceTracker, int], list[Face]], indices: Sequence[int]) -> Iterator[list[Face]]:
        """Results of ``work`` in the order of ``indices``."""
        return self._threads.map(lambda index: work(self._tracker(), index), indices)

    def _tracker(self) -> FaceTracker:
        if not hasattr(self._own, "tracker"):
            self._own.tracker = FaceTracker(self._model)
            self._all.append(self._own.tracker)
        return self._own.tracker


def _landmarker(model: Path) -> tuple[Any, Callable[[Picture], Any]]:
    """A Face Landmarker and the function that wraps a picture for it."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        from mediapipe import Image, ImageFormat
        from mediapipe.tasks.python import BaseOptions, vision
    except (ImportError, OSError) as error:
        raise MachineError(
            f"MediaPipe cannot be loaded: {error}",
            hint=f"install the system libraries it links against: `sudo apt install {SYSTEM_LIBRARIES}`",
        ) from error

    def wrap(picture: Picture) -> Any:
        return Image(image_format=ImageFormat.SRGB, data=picture)

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.IMAGE,
        num_faces=2,
        output_face_blendshapes=True,
    )
    with quiet_stderr():
        landmarker = vision.FaceLandmarker.create_from_options(options)
        landmarker.detect(wrap(np.zeros((64, 64, 3), np.uint8)))  # The last of its start-up notes come with a picture.
    return landmarker, wrap


_stderr_lock = threading.Lock()


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop what native code writes to file descriptor 2: MediaPipe's start-up notes obey no log level."""
    with _stderr_lock:
        sys.stderr.flush()
        kept = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(nowhere)
            os.close(kept)
