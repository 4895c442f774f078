"""Progress bars of copies and of updates over the network."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

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


class UpdateProgress:
    """One bar for the bytes that the node has; on no terminal, a line for each status."""

    def __init__(self, bar: Progress, console: Console) -> None:
        self._bar = bar
        self._console = console
        self._task = bar.add_task("", total=None)
        self._status = ""

    def show(self, update: dict[str, Any]) -> None:
        """Show an update as the cloud sees it."""
        status, total = str(update["status"]), update["total"]
        if status != self._status and not self._console.is_terminal:
            self._console.print(f"{update['node']}: {update['version']} {status}", markup=False, highlight=False)
        self._status = status
        self._bar.update(
            self._task, description=f"{update['node']} {update['version']} {status}",
            completed=update["received"], total=total,
        )  # fmt: skip


@contextlib.contextmanager
def updating(console: Console) -> Generator[UpdateProgress]:
    """Show how an update goes; the bar goes when it is over."""
    columns = (TextColumn("{task.description:<32}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield UpdateProgress(bar, console)
