"""Landmarks of many pictures, read on threads beside the drawing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from talksplat.evaluate.painter import Picture
from talksplat.prepare.face import LANDMARKS, Face, FaceTracker

Points = Float32[np.ndarray, "478 3"]


@runtime_checkable
class Tracker(Protocol):
    """Finds faces in a picture."""

    def detect(self, picture: Picture) -> list[Face]: ...

    def close(self) -> None: ...


class FaceReader:
    """A pool of threads with a face tracker each; a picture without a face gives NaN and is counted by the caller."""

    def __init__(self, workers: int, tracker: Callable[[], Tracker] = FaceTracker) -> None:
        self._threads = ThreadPoolExecutor(workers)
        self._new = tracker
        self._own = threading.local()
        self._all: list[Tracker] = []

    def __enter__(self) -> FaceReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._threads.shutdown(cancel_futures=True)
        for tracker in self._all:
            tracker.close()

    def read(self, picture: Picture) -> Future[Points]:
        """The landmarks of the largest face in ``picture``, pixels."""
        return self._threads.submit(self._read, picture)

    def _read(self, picture: Picture) -> Points:
        if not hasattr(self._own, "tracker"):
            self._own.tracker = self._new()
            self._all.append(self._own.tracker)
        faces = self._own.tracker.detect(picture)
        if not faces:
            return np.full((LANDMARKS, 3), np.nan, np.float32)
        return max(faces, key=lambda face: face.edge).landmarks


def film(readings: dict[int, Future[Points]], frames: Sequence[int]) -> Float32[np.ndarray, "T 478 3"]:
    """Readings by frame as one array over ``frames``; NaN where there is none."""
    landmarks = np.full((len(frames), LANDMARKS, 3), np.nan, np.float32)
    for row, frame in enumerate(frames):
        if frame in readings:
            landmarks[row] = readings[frame].result()
    return landmarks
