import threading
import time
from collections.abc import Iterator

import pytest

from talksplat.ahead import ahead


def test_items_come_in_order_and_all_of_them() -> None:
    assert list(ahead(range(1000), depth=3)) == list(range(1000))
    assert list(ahead([])) == []


def test_work_is_done_before_it_is_asked_for_but_no_further_than_the_depth() -> None:
    made: list[int] = []

    def work() -> Iterator[int]:
        for item in range(100):
            made.append(item)
            yield item

    reader = ahead(work(), depth=4)
    assert next(reader) == 0
    time.sleep(0.3)
    assert 4 <= len(made) <= 7
    reader.close()


def test_an_exception_comes_after_the_items_before_it() -> None:
    def work() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("third")

    seen = []
    with pytest.raises(ValueError, match="third"):
        seen.extend(ahead(work()))
    assert seen == [1, 2]


def test_the_thread_ends_when_the_reader_leaves() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 0

    for _ in ahead(endless(), depth=2):
        break
    names = [thread.name for thread in threading.enumerate()]
    assert "ahead" not in names
