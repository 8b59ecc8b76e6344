"""Work that runs ahead: an iterator consumed on a thread of its own, a bounded number of items before its reader."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
_END = object()
PATIENCE_S = 0.1
"""How long a full queue is waited for before looking whether the reader has gone."""


def ahead(items: Iterable[T], depth: int = 8) -> Generator[T, None, None]:
    """The same items, produced on a thread up to ``depth`` before they are asked for.

    An exception of ``items`` is raised here, after the items before it. When the reader stops early, so does the
    thread, and it has ended before this generator is closed.
    """
    waiting: queue.Queue[object] = queue.Queue(depth)
    left = threading.Event()
    failure: list[BaseException] = []

    def put(item: object) -> bool:
        while not left.is_set():
            try:
                waiting.put(item, timeout=PATIENCE_S)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put(item):
                    break
        except BaseException as error:
            failure.append(error)
        put(_END)

    thread = threading.Thread(target=produce, name="ahead", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            yield item  # type: ignore[misc]
        if failure:
            raise failure[0]
    finally:
        left.set()
        thread.join()
