"""Progress bars of copies."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.console import Console


class CopyProgress:
    """One bar over all files; the file under way stands beside it."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)
        self._total: int | None = None
        self._before = 0
        self._current = ("", 0)

    def total(self, count: int) -> None:
        """How many bytes there are in all."""
        self._total = count
        self._bar.update(self._task, total=count)

    def file(self, path: str, done: int, size: int) -> None:
        """`done` of `size` bytes of a file are over."""
        if path != self._current[0]:
            self._before += self._current[1]
        self._current = (path, size)
        self._bar.update(
            self._task,
            description=path,
            completed=self._before + done,
            total=self._total if self._total is not None else size,
        )


@contextlib.contextmanager
def copying(console: Console) -> Generator[CopyProgress]:
    """Show a bar on a terminal, nothing in a log; it goes when the work is done."""
    columns = (TextColumn("{task.description:<32}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield CopyProgress(bar)
