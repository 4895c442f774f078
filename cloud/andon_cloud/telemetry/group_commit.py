"""The embedded store's writer: one thread, one transaction for all writes that wait, an answer only after the commit."""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from andon_cloud.telemetry.file_ids import FieldConflict, FileIds
from andon_cloud.telemetry.gzip_body import MalformedGzipError, gunzip
from andon_cloud.telemetry.lineprotocol import LineParser
from andon_cloud.telemetry.store import (
    BodyTooLargeError,
    Encoding,
    FieldTypeConflictError,
    LineError,
    LinesRejectedError,
    Precision,
    StoreBusyError,
    StoreError,
    StoreUnavailableError,
    Value,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_cloud.telemetry.catalog import Column, Newest

_log = logging.getLogger(__name__)

# One transaction takes at most this many bytes of waiting bodies, so the first of them does not wait for all.
_GROUP_BYTES: Final = 4 * 1024 * 1024
_LINES_NAMED: Final = 100

_UPSERT: Final = """
INSERT INTO point (series_id, field_id, time_ns, value) VALUES (?, ?, ?, ?)
ON CONFLICT (series_id, field_id, time_ns) DO UPDATE SET value = excluded.value
"""


@dataclass(slots=True)
class Job:
    """One body that waits to be stored."""

    body: bytes
    precision: Precision
    encoding: Encoding
    done: asyncio.Future[None]
    failure: StoreError | None = None


class GroupCommitWriter:
    """Writes bodies in the order in which they arrive.

    Args:
        connect: Opens the connection; called in the writer's thread.
        committed: Called on the event loop after each commit with the newest sample of every column written to.
        max_waiting: Bytes of bodies that may wait; beyond that `submit` refuses.
        max_body: Bytes that a gzip body may grow to.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        committed: Callable[[list[Newest]], None],
        *,
        max_waiting: int,
        max_body: int,
    ) -> None:
        self._connect = connect
        self._committed = committed
        self._max_waiting = max_waiting
        self._max_body = max_body
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._parser = LineParser()
        self._ids: FileIds | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread; results are delivered on `loop`."""
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="telemetry-writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Store what waits, then end the thread. Blocks."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    async def submit(self, body: bytes, precision: Precision, encoding: Encoding) -> None:
        """Store a body; returns when it is durable.

        Raises:
            LinesRejectedError: some lines are wrong; the others are durable.
            BodyTooLargeError: the body is gzip and grows beyond `max_body`.
            StoreBusyError: too much waits already.
            StoreUnavailableError: the disk refused.
        """
        if not self.alive:
            raise StoreUnavailableError("the telemetry store is not open")
        if self._waiting and self._waiting + len(body) > self._max_waiting:
            raise StoreBusyError("too many writes are waiting for the disk; send again later", retry_after_s=1)
        job = Job(body, precision, encoding, asyncio.get_running_loop().create_future())
        self._waiting += len(body)
        self._queue.put(job)
        await job.done

    def _run(self) -> None:
        connection = self._connect()
        try:
            last = False
            while not last:
                group, last = self._next_group()
                if group:
                    self._deliver(group, self._store(connection, group))
        finally:
            connection.close()

    def _next_group(self) -> tuple[list[Job], bool]:
        """Wait for a job, take what else waits; the flag says that the writer is to stop afterwards."""
        job = self._queue.get()
        group: list[Job] = []
        size = 0
        while job is not None:
            group.append(job)
            size += len(job.body)
            if size >= _GROUP_BYTES:
                return group, False
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _store(self, connection: sqlite3.Connection, group: list[Job]) -> list[Newest]:
        """Store the good lines of all jobs in one transaction; all jobs fail if it fails."""
        try:
            if self._ids is None:
                self._ids = FileIds.load(connection)
            connection.execute("BEGIN IMMEDIATE")
            newest: dict[Column, Newest] = {}
            for job in group:
                self._store_job(connection, job, self._ids, newest)
            connection.execute("COMMIT")
            return list(newest.values())
        except Exception as error:  # noqa: BLE001  # the thread must outlive any fault: others wait for it
            self._forget(connection)
            _log.exception("a transaction of the telemetry store failed")
            for job in group:
                job.failure = StoreUnavailableError(f"the telemetry store cannot write: {error}")
            return []

    def _forget(self, connection: sqlite3.Connection) -> None:
        """Undo a failed transaction, and the ids that were made in it."""
        self._ids = None
        try:
            if connection.in_transaction:
                connection.rollback()
        except sqlite3.Error:
            _log.exception("the telemetry store could not roll back; the next transaction will tell")

    def _store_job(self, connection: sqlite3.Connection, job: Job, ids: FileIds, newest: dict[Column, Newest]) -> None:
        try:
            body = gunzip(job.body, self._max_body) if job.encoding == "gzip" else job.body
        except MalformedGzipError as error:
            job.failure = LinesRejectedError(str(error))
            return
        except BodyTooLargeError as error:
            job.failure = error
            return
        parsed = self._parser.parse(body, job.precision, time.time_ns())
        rows: list[tuple[int, int, int, Value]] = []
        conflicts: list[LineError] = []
        for number, series, fields, time_ns in parsed.points:
            columns = ids.columns_of(connection, series, fields)
            if isinstance(columns, FieldConflict):
                conflicts.append(LineError(number, columns.reason, series.text[:200]))
                continue
            for column, (_, value) in zip(columns, fields, strict=True):
                rows.append((column.series_id, column.field_id, time_ns, value))
                known = newest.get(column)
                if known is None or time_ns >= known[1]:
                    newest[column] = (column, time_ns, value)
        connection.executemany(_UPSERT, rows)
        job.failure = _failure(parsed.errors, conflicts, len(parsed.points) + len(parsed.errors))

    def _deliver(self, group: list[Job], newest: list[Newest]) -> None:
        assert self._loop is not None  # noqa: S101  # start() set it; tells the type checker
        try:
            self._loop.call_soon_threadsafe(self._finish, group, newest)
        except RuntimeError:
            # The loop is closed: nobody waits for the answer any more, and what was committed stays.
            return

    def _finish(self, group: list[Job], newest: list[Newest]) -> None:
        """On the event loop: publish the newest samples first, so whoever was answered also sees them."""
        if newest:
            self._committed(newest)
        for job in group:
            self._waiting -= len(job.body)
            if job.done.done():
                continue
            if job.failure is None:
                job.done.set_result(None)
            else:
                job.done.set_exception(job.failure)


def _failure(errors: list[LineError], conflicts: list[LineError], total: int) -> LinesRejectedError | None:
    """What to tell the sender, worded like InfluxDB, with line numbers; a line that cannot be read counts more than a conflict."""
    refused = sorted([*errors, *conflicts], key=lambda error: error.line)
    if not refused:
        return None
    first = (errors or conflicts)[0]
    reason = f"unable to parse {first.text!r}: {first.reason}" if errors else first.reason
    message = (
        f"partial write: {reason} (line {first.line}); dropped={len(refused)} of {total} lines, the others are stored"
    )
    kind = LinesRejectedError if errors else FieldTypeConflictError
    return kind(message, refused[:_LINES_NAMED])
