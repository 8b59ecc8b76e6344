"""Progress of long work on the terminal: one bar with rate and time left, silent when asked."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")


class Reporter:
    """Where progress and notes go: standard error, or nowhere when ``quiet``."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True, quiet=quiet, file=sys.stderr)
        self._lock = threading.Lock()
        self._progress: Progress | None = None

    def note(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, highlight=False, markup=False)

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Yield ``items`` while a bar named ``label`` shows how many are done."""
        with self.bar(label, total if total is not None else len(items)) as bar:  # type: ignore[arg-type]
            for item in items:
                yield item
                bar.advance()

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        """A bar of ``total`` steps; on terminals it moves in place, in log files only its end is printed.

        Several may run at the same time, on threads of their own.
        """
        with self._lock:
            if self._progress is None:
                self._progress = Progress(*_columns(), console=self.console, disable=self.quiet, transient=True)
                self._progress.start()
            progress = self._progress
            task = progress.add_task(label, total=total, status="")
        try:
            yield Bar(progress, task)
        finally:
            with self._lock:
                self._end(progress, task)

    def _end(self, progress: Progress, task: TaskID) -> None:
        """Leave the bar's last state as a line; the display ends with the last bar."""
        ended = [found for found in progress.tasks if found.id == task]
        self.console.print(progress.make_tasks_table(ended))
        progress.remove_task(task)
        if not progress.tasks:
            progress.stop()
            self._progress = None


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )


class Bar:
    """Handle of one running progress bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: int = 1, status: str | None = None) -> None:
        """Count ``steps`` more as done; ``status`` is shown at the end of the line."""
        fields = {} if status is None else {"status": status}
        self._progress.update(self._task, advance=steps, **fields)  # type: ignore[arg-type]
