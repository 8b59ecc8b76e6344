"""Lanes side by side: which run at the same time, on how many threads, and who watches over them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Protocol, runtime_checkable

from talksplat.methods.method import Stage

Threads = Callable[[float], int]
"""How many threads a step may use, from the cost of what its lane has done."""


@runtime_checkable
class Worker(Protocol):
    """What is watched over: a lane."""

    gate: threading.Lock

    def work(self, turnstile: threading.Lock, stop: threading.Event) -> None:
        """Do all there is to do; see ``Lane.work``."""
        ...


def phases(stages: Sequence[Stage]) -> list[list[list[Stage]]]:
    """Stages in lanes, lanes in phases: those of one layer depend on no other layer's, those of several on all before.

    A phase begins when the one before has ended.
    """
    found: list[list[list[Stage]]] = []
    for stage in stages:
        alone = len(stage.layers) == 1
        if not found or not alone or len(found[-1][0][0].layers) > 1:
            found.append([])
        same = next((lane for lane in found[-1] if lane[0].layers == stage.layers), None)
        if same is None:
            found[-1].append([stage])
        else:
            same.append(stage)
    return found


def courses(
    lanes: Sequence[list[Stage]], threads: int, *, side_by_side: bool
) -> list[list[tuple[list[Stage], Threads]]]:
    """The lanes of a phase in at most two courses of like cost; ``threads`` is what they have together.

    Courses go side by side, within a course one lane follows the other. Two steps side by side on a thread each take
    less time than one after the other on two: mouth and face of TalkingGaussian do 1.1 times the steps on two cores
    with their first Gaussians (benchmarks/lanes.py). Where a course has ended, the other has all threads.
    """
    count = min(2, len(lanes), threads) if side_by_side else 1
    divided: list[list[list[Stage]]] = [[] for _ in range(count)]
    for lane in sorted(lanes, key=_cost, reverse=True):
        min(divided, key=lambda course: sum(map(_cost, course))).append(lane)
    ends = [sum(map(_cost, course)) for course in divided]

    def share(begin: float) -> Threads:
        return lambda cost: max(1, threads // max(1, sum(end > begin + cost for end in ends)))

    found: list[list[tuple[list[Stage], Threads]]] = []
    for course in divided:
        begins = [sum(map(_cost, course[:place]), 0.0) for place in range(len(course))]
        found.append([(lane, share(begin)) for lane, begin in zip(course, begins, strict=True)])
    return found


def work_through(courses: Sequence[Sequence[Worker]], seconds: float, save: Callable[[], None]) -> None:
    """Run all lanes to their ends; ``save`` every so many seconds, and when interrupted, with no lane within a step.

    Raises:
        KeyboardInterrupt: after the steps under way have ended and ``save`` was called.
        TrainingDiverged: whatever a lane raised; nothing is saved then.
    """
    turnstile, stop = threading.Lock(), threading.Event()
    lanes = [lane for course in courses for lane in course]

    def follow(course: Sequence[Worker]) -> None:
        try:
            for lane in course:
                lane.work(turnstile, stop)
        except BaseException:
            stop.set()
            raise

    def pause_and_save() -> None:
        with ExitStack() as held:
            for lock in (turnstile, *(lane.gate for lane in lanes)):
                held.enter_context(lock)
            save()

    with ThreadPoolExecutor(len(courses), "lane") as pool:
        running = [pool.submit(follow, course) for course in courses]
        try:
            while wait(running, timeout=seconds, return_when=FIRST_EXCEPTION).not_done and not stop.is_set():
                pause_and_save()
        except KeyboardInterrupt:
            stop.set()
            wait(running)
            pause_and_save()
            raise
    try:
        for future in running:
            future.result()
    except KeyboardInterrupt:
        pause_and_save()
        raise


def _cost(lane: Sequence[Stage]) -> float:
    return sum((stage.cost * stage.steps for stage in lane), 0.0)
