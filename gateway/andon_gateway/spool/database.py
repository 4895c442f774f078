"""The one SQLite file of the gateway and the thread that writes it: many small changes, one fsync (group commit)."""

from __future__ import annotations

import errno
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeVar

from prometheus_client import Histogram

from andon_gateway.errors import GatewayError, StorageUnavailable

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

SCHEMA_VERSION: Final = 9
BASE_VERSION: Final = 1  # of schema.sql; a new file gets the upgrades as well, so each table is written down once
PRIVATE: Final = 0o600
_ROWS_AT_ONCE: Final = (64, 32, 16, 8, 4, 2, 1)
"""Few sizes, so that the statements stay prepared. A statement for more rows has its values all over a processor's cache."""
COMMIT_BUCKETS_S: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
_NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EIO))
_TRANSIENT: Final = frozenset((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED))
FAILURE_PAUSE_S: Final = 0.2  # between attempts on a failing disk; waiting work is answered at once in between
T = TypeVar("T")

Change = Callable[[sqlite3.Connection], T]
Done = Callable[[T | None, StorageUnavailable | None], None]
Deliver = Callable[[Callable[[], None]], object]


def passes_by_itself(error: OSError | sqlite3.Error) -> bool:
    """Whether a file could not be opened for lack of room or for a failing disk, and not for what it is or where it is said to be."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF  # beyond that byte are the reasons (sqlite.org/rescode.html)
    return primary in _TRANSIENT


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file for writing, create or migrate its schema, and make every commit durable (WAL, FULL).

    Raises:
        GatewayError: The file was written by a newer version.
        sqlite3.Error: The file cannot be opened.
    """
    # The nodes' keys are in it; SQLite gives its other files the same mode.
    path.touch(mode=PRIVATE)
    path.chmod(PRIVATE)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise GatewayError(
            f"{path} has schema {version}, this gateway knows {SCHEMA_VERSION}; install the newer gateway"
        )
    if version < SCHEMA_VERSION:
        names = [] if version else ["schema.sql"]
        names += [f"upgrade_{step}.sql" for step in range((version or BASE_VERSION) + 1, SCHEMA_VERSION + 1)]
        script = "".join(resources.files(__package__).joinpath(name).read_text() for name in names)
        connection.executescript(f"BEGIN;{script}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
    return connection


def write_rows(
    connection: sqlite3.Connection, statement: str, rows: Sequence[Sequence[object]], constants: str = ""
) -> None:
    """Write many rows with few statements.

    Each step of SQLite gives up Python's lock and has to wait for it again, which under load costs more than the row.

    Args:
        connection: Inside a transaction.
        statement: `INSERT ... VALUES`, without the values.
        rows: All of the same length.
        constants: SQL of further values that are the same in all rows: `, 0`.
    """
    at = 0
    for count in _ROWS_AT_ONCE:
        while count <= len(rows) - at:
            values = list(chain.from_iterable(rows[at : at + count]))
            connection.execute(_for_rows(statement, len(rows[at]), count, constants), values)
            at += count


@cache
def _for_rows(statement: str, columns: int, count: int, constants: str) -> str:
    one = f"({', '.join('?' * columns)}{constants})"
    return f"{statement} {', '.join([one] * count)}"


def open_reader(path: Path) -> sqlite3.Connection:
    """Open the file for reading beside the writer."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5)
    connection.execute("PRAGMA query_only=1")
    return connection


@dataclass(slots=True)
class _Work:
    change: Change[Any]
    done: Done[Any]
    direct: bool  # call done in the writer thread
    weight: int = 0


@dataclass(frozen=True, slots=True)
class CommitLimits:
    """How long and how far a group commit may grow.

    Attributes:
        linger_s: Longest wait for more changes once the last group showed that they come in numbers. Packs of the fast path come together
            in one change and have waited before (coap/watch.py).
        most_changes: Weight of the changes in one transaction.
        most_waiting: Weight of the changes in the queue before new ones are turned away.
    """

    linger_s: float = 0.005
    most_changes: int = 512
    most_waiting: int = 4096


class GroupCommit:
    """Applies changes in the order of their submission, many per transaction, each answered only after its commit.

    A quiet gateway commits at once; under load the fsync itself collects the next group. When a commit fails, all changes in its
    group are answered with `StorageUnavailable`, nothing of them stays, and the next group tries again.

    Args:
        path: The database file.
        deliver: Carries a callback to the event loop, such as `loop.call_soon_threadsafe`.
        limits: Bounds of a group.
    """

    def __init__(self, path: Path, deliver: Deliver, limits: CommitLimits | None = None) -> None:
        self._path = path
        self._deliver = deliver
        self._limits = limits or CommitLimits()
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = open_database(path)
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._closed = False
        self._busy = False
        # Weight put into the queue, counted in the event loop, and taken out of it, counted in the writer thread.
        self._given = 0
        self._taken = 0
        self.on_rollback: list[Callable[[], None]] = []
        """Called in the writer thread after a failed commit: drop whatever mirrors the database in memory."""
        self.before_commit: list[Change[None]] = []
        """Called in the writer thread inside the transaction, after the group's changes."""
        self.after_commit: list[Callable[[], None]] = []
        """Called in the writer thread after each durable group."""
        self.healthy = True
        self.commits = 0
        self.durations = Histogram(
            "andon_gateway_commit_seconds",
            "How long the disk took to make a group durable: no answer is quicker",
            buckets=COMMIT_BUCKETS_S,
            registry=None,
        )

    def start(self) -> None:
        """Start the writer thread."""
        self._thread.start()

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    def submit(self, change: Change[T], done: Done[T], weight: int = 1) -> None:
        """Queue a change; `done(result, None)` or `done(None, error)` runs in the event loop after the commit.

        Args:
            change: Applied in the writer thread, inside the group's transaction.
            done: Called once; at once when too much waits.
            weight: How many packs it stands for.
        """
        if self._closed or self._given - self._taken >= self._limits.most_waiting:
            done(None, StorageUnavailable("the gateway has too much to write at this moment; try again"))
            return
        self._given += weight
        self._queue.put(_Work(change, done, direct=False, weight=weight))

    def run(self, change: Change[T]) -> Future[T]:
        """Queue a change and get a future that is settled in the writer thread after the commit."""
        future: Future[T] = Future()

        def settle(result: T | None, error: StorageUnavailable | None) -> None:
            if not future.set_running_or_notify_cancel():
                return  # whoever waited was cancelled (a stop); the change itself stands
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # None only where T allows it

        if self._closed:
            settle(None, StorageUnavailable("the gateway is stopping"))
        else:
            self._queue.put(_Work(change, settle, direct=True))
        return future

    def close(self) -> None:
        """Commit what is queued, then stop the thread and close the file."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while self._serve():
            pass
        if self._connection is not None:
            self._connection.close()

    def _serve(self) -> bool:
        """Commit the next group; False: it was the last one.

        A function of its own, so that a group's packs are given back before the next one is waited for, which then lies in the same memory.
        """
        first = self._queue.get()
        group = [] if first is None else [first]
        stopping = first is None or not self._collect(group, busy=self._busy)
        self._taken += sum(work.weight for work in group)
        self._busy = len(group) > 1  # many packs in one change have been gathered before
        if group:
            self._commit(group)
        return not stopping

    def _collect(self, group: list[_Work], *, busy: bool) -> bool:
        """Fill the group; False when the end of the queue was reached."""
        deadline = time.monotonic() + (self._limits.linger_s if busy else 0)
        weight = sum(work.weight for work in group)
        while max(len(group), weight) < self._limits.most_changes:
            try:
                work = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return True
            if work is None:
                return False
            group.append(work)
            weight += work.weight
        return True

    def _commit(self, group: list[_Work]) -> None:
        results: list[Any] = []
        error: StorageUnavailable | None = None
        try:
            connection = self._connection = self._connection or open_database(self._path)
            connection.execute("BEGIN IMMEDIATE")
            results = [work.change(connection) for work in group]
            for hook in self.before_commit:
                hook(connection)
            began = time.monotonic()
            connection.execute("COMMIT")
            self.durations.observe(time.monotonic() - began)
        except Exception as failure:  # noqa: BLE001 -- whatever failed, no change of this group may count as durable
            error = StorageUnavailable(f"the gateway's disk does not take data now ({failure}); try again")
            self._roll_back(failure)
        else:
            self.commits += 1
            if not self.healthy:
                log.info("storage works again")
            self.healthy = True
            for call in self.after_commit:
                call()
        self._answer(group, results, error)
        if error is not None:
            time.sleep(FAILURE_PAUSE_S)

    def _roll_back(self, failure: Exception) -> None:
        if self.healthy or not isinstance(failure, sqlite3.Error):
            log.error("cannot commit, answering 'try again': %r", failure, exc_info=failure)
        self.healthy = False
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            # A connection that cannot even roll back is replaced; closing it discards the transaction.
            if self._connection is not None:
                self._connection.close()
            self._connection = None
        for hook in self.on_rollback:
            hook()

    def _answer(self, group: list[_Work], results: list[Any], error: StorageUnavailable | None) -> None:
        outcomes = results if error is None else [None] * len(group)
        later: list[tuple[Done[Any], Any]] = []
        for work, result in zip(group, outcomes, strict=True):
            if work.direct:
                work.done(result, error)
            else:
                later.append((work.done, result))
        if later:

            def answer_all() -> None:
                for done, result in later:
                    done(result, error)

            self._deliver(answer_all)
