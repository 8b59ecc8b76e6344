"""The work of an evaluation: every test frame drawn, compared and read, figure by figure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from talksplat.evaluate.faces import FaceReader, Points, film
from talksplat.evaluate.judges import Judge
from talksplat.evaluate.painter import Drive, Painter, Picture
from talksplat.progress import Reporter
from talksplat.report.figures import AVATAR, NEAREST_POSE, NEAREST_SPEECH, TRUTH, UNDEFORMED
from talksplat.report.gallery import Exhibit, Gallery, Square, cut

WARM_UP = 2
"""First drawn frames whose time is not counted: caches are filled in them."""
TIMED = 25
"""Frames whose drawing is timed, with nothing else running."""
JUDGING_THREADS = 2
WAITING = 4
"""Frames whose pictures wait to be read and judged."""

Figures = dict[tuple[str, str, str], float]
"""Figures of one frame by candidate, area and metric."""


@dataclass(frozen=True)
class Plan:
    """Which frames are drawn, and what they are compared with. Frames are numbers within the whole clip."""

    test: range
    """The test part."""
    drawn: Sequence[int]
    """Its usable frames, which are drawn and read."""
    judged: Sequence[int]
    """Those among them whose pictures are compared."""
    shown: dict[int, str]
    """Frames of the contact sheet with their captions."""
    silent: Sequence[int]
    """Frames whose poses are drawn in silence."""
    blinks: Sequence[int]
    """Frames whose poses are drawn with closed eyes."""
    nearest_pose: dict[int, int]
    """Training frame of the nearest head pose, by drawn frame."""
    nearest_speech: dict[int, int]
    """Training frame of the nearest speech window, by drawn frame."""
    squares: dict[int, dict[str, Square]]
    """Judged squares by area, by drawn frame."""


@dataclass
class Observations:
    """What was seen, on the test part's own clock (row 0 is its first frame)."""

    landmarks: dict[str, Float32[np.ndarray, "T 478 3"]]
    """By candidate and of the truth; NaN where no face was found or nothing was drawn."""
    silent: Float32[np.ndarray, "S 478 3"]
    """In silence."""
    blinks: Float32[np.ndarray, "B 478 3"]
    """With closed eyes."""
    judgments: dict[tuple[str, str, str], Float[np.ndarray, " T"]]
    """By candidate, area and metric; NaN on frames that were not judged."""
    seconds: list[float]
    """Drawing time of each timed frame."""


def observe(
    plan: Plan,
    painter: Painter,
    recorded: Callable[[int], Picture],
    judges: dict[str, Judge],
    reader: FaceReader,
    reporter: Reporter,
) -> tuple[Observations, Gallery]:
    """Draw, compare and read all that ``plan`` names; pictures are dropped as soon as they are judged."""
    seconds = _drawing_times(painter, list(plan.drawn)[: WARM_UP + TIMED])
    with _one_thread():
        readings, judgments, gallery = _watch(plan, painter, recorded, judges, reader, reporter)
        silent = _silence(plan, painter, reader, gallery, reporter)
        blinks = film({index: reader.read(painter(index, Drive.BLINK)) for index in plan.blinks}, plan.blinks)
    landmarks = {name: film(by_frame, plan.test) for name, by_frame in readings.items()}
    return Observations(landmarks, silent, blinks, judgments, seconds), gallery


def _watch(
    plan: Plan,
    painter: Painter,
    recorded: Callable[[int], Picture],
    judges: dict[str, Judge],
    reader: FaceReader,
    reporter: Reporter,
) -> tuple[dict[str, dict[int, Future[Points]]], dict[tuple[str, str, str], np.ndarray], Gallery]:
    """Readings and judgments of every drawn frame, and the pictures that are kept."""
    readings: dict[str, dict[int, Future[Points]]] = {}
    judging: dict[int, Future[Figures]] = {}
    gallery = Gallery()
    judged = frozenset(plan.judged)
    with ThreadPoolExecutor(JUDGING_THREADS) as threads:
        for index in reporter.track(plan.drawn, "drawing and judging the test frames"):
            pictures = {
                TRUTH: recorded(index),
                AVATAR: painter(index, Drive.SPEECH),
                UNDEFORMED: painter(index, Drive.NOTHING),
                NEAREST_POSE: recorded(plan.nearest_pose[index]),
                NEAREST_SPEECH: recorded(plan.nearest_speech[index]),
            }
            for name, picture in pictures.items():
                readings.setdefault(name, {})[index] = reader.read(picture)
            if index in judged:
                judging[index] = threads.submit(_judge, pictures, plan.squares[index], judges)
            if index in plan.shown:
                gallery.add(Exhibit(index, plan.shown[index], pictures, plan.squares[index]["mouth"]))
            _settle(judging)
            for by_frame in readings.values():
                _settle(by_frame)
    return readings, _by_figure(judging, plan.test), gallery


@contextmanager
def _one_thread() -> Iterator[None]:
    """One core for each of torch's operations: reading and judging share the others better than one operation does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _drawing_times(painter: Painter, frames: Sequence[int]) -> list[float]:
    seconds = []
    for index in frames:
        start = time.perf_counter()
        painter(index, Drive.SPEECH)
        seconds.append(time.perf_counter() - start)
    return seconds[WARM_UP:] or seconds


@torch.no_grad()
def _judge(pictures: dict[str, Picture], squares: dict[str, Square], judges: dict[str, Judge]) -> Figures:
    """Every figure of one frame."""
    figures = {}
    for area, square in squares.items():
        truth = _tensor(cut(pictures[TRUTH], square))
        for metric, judge in judges.items():
            compare = judge(truth)
            for candidate in (name for name in pictures if name != TRUTH):
                figures[candidate, area, metric] = compare(_tensor(cut(pictures[candidate], square)))
    return figures


def _by_figure(judging: dict[int, Future[Figures]], test: range) -> dict[tuple[str, str, str], np.ndarray]:
    series: dict[tuple[str, str, str], np.ndarray] = {}
    for index, future in judging.items():
        for name, value in future.result().items():
            series.setdefault(name, np.full(len(test), np.nan))[index - test.start] = value
    return series


def _silence(
    plan: Plan, painter: Painter, reader: FaceReader, gallery: Gallery, reporter: Reporter
) -> Float32[np.ndarray, "S 478 3"]:
    readings = {}
    shown = set(plan.silent[:: max(len(plan.silent) // 4, 1)])
    for index in reporter.track(plan.silent, "drawing silence"):
        picture = painter(index, Drive.SILENCE)
        readings[index] = reader.read(picture)
        if index in shown:
            gallery.silent.append(cut(picture, plan.squares[index]["mouth"]))
    return film(readings, plan.silent)


def _settle(work: Mapping[int, Future[Any]]) -> None:
    """Wait for all but the last few frames' work, so that few pictures are held in memory."""
    for index in list(work)[-WAITING - 1 : -WAITING]:
        work[index].result()


def _tensor(picture: Picture) -> Float[Tensor, "H W 3"]:
    return torch.from_numpy(np.ascontiguousarray(picture)).float().div_(255)
