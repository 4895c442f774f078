"""A lock file held by one process at a time; the operating system lets go of it when the process dies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from andon_cloud.telemetry.store import StoreUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover  # Windows: no such lock there, the documentation says one process per file
    fcntl = None  # type: ignore[assignment]


class FileLock:
    """An exclusive `flock` on a file of its own (SQLite locks ranges of the database file itself)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock now.

        Raises:
            StoreUnavailableError: another process has it.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(descriptor)
                raise StoreUnavailableError(
                    f"{self._path.with_suffix('')} is open in another process; stop that one or set another file"
                ) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; nothing happens if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
