"""The embedded telemetry store: one SQLite file in WAL mode, no server to run.

One thread writes (`group_commit.py`), a few read; the event loop does neither. `latest` is answered from memory. One
process at a time may open a file: a lock beside it says so to a second one.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from andon_cloud.telemetry.catalog import Catalog, Column
from andon_cloud.telemetry.file_ids import from_sqlite, newest_in
from andon_cloud.telemetry.file_lock import FileLock
from andon_cloud.telemetry.group_commit import GroupCommitWriter
from andon_cloud.telemetry.lineprotocol import MAX_TIME_NS, MIN_TIME_NS
from andon_cloud.telemetry.store import (
    Aggregate,
    Encoding,
    Precision,
    RangeQuery,
    Sample,
    Series,
    StoreUnavailableError,
    TooManySamplesError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SCHEMA_VERSION: Final = 1
_NS_PER_MS: Final = 1_000_000
_NO_LIMIT: Final = 2**62
_NUMERIC: Final = frozenset({"float", "integer", "unsigned"})
_ANY_TYPE: Final = frozenset({Aggregate.LAST, Aggregate.COUNT})

# MAX() as the only aggregate makes SQLite take the bare column from the row of the maximum (lang_select.html, 2.5).
_AGGREGATES: Final = {
    Aggregate.MEAN: "AVG(value)",
    Aggregate.MIN: "MIN(value)",
    Aggregate.MAX: "MAX(value)",
    Aggregate.SUM: "SUM(value)",
    Aggregate.COUNT: "COUNT(*)",
    Aggregate.LAST: "value, MAX(time_ns)",
}
_RAW: Final = """
SELECT time_ns, value FROM point
WHERE series_id = ? AND field_id = ? AND time_ns >= ? AND time_ns < ? ORDER BY time_ns LIMIT ?
"""
# The window's start: division towards minus infinity, which SQLite's / is not for times before 1970.
_WINDOWED: Final = """
SELECT (time_ns / :w - (time_ns % :w < 0)) * :w AS window_ns, {aggregate} FROM point
WHERE series_id = :series AND field_id = :field AND time_ns >= :start AND time_ns < :stop
GROUP BY window_ns ORDER BY window_ns LIMIT :limit
"""

Synchronous = Literal["FULL", "NORMAL", "OFF"]
_T = TypeVar("_T")


class EmbeddedStore:
    """A `TelemetryStore` in one SQLite file.

    Args:
        path: The file; made with its folder when missing.
        synchronous: SQLite's durability. `FULL`: an acknowledged write survives a power cut. `NORMAL`: it survives a
            crash of the process, not always one of the machine. `OFF` is for tests.
        readers: Threads that answer range queries.
        max_waiting: Bytes of bodies that may wait for the disk before writes are refused.
        max_body: Bytes that a gzip body may grow to.
    """

    def __init__(
        self,
        path: Path,
        *,
        synchronous: Synchronous = "FULL",
        readers: int = 2,
        max_waiting: int = 64 * 1024 * 1024,
        max_body: int = 64 * 1024 * 1024,
    ) -> None:
        self._path = path
        self._synchronous = synchronous
        self._readers = readers
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        self._catalog = Catalog()
        self._writer = GroupCommitWriter(self._connect, self._catalog.apply, max_waiting=max_waiting, max_body=max_body)
        self._pool: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._reading: list[sqlite3.Connection] = []

    async def open(self) -> None:
        """Make or open the file, load what `latest` needs, start the threads.

        Raises:
            StoreUnavailableError: the file cannot be opened, belongs to another process or to a newer version.
        """
        try:
            self._catalog.apply(await asyncio.to_thread(self._prepare))
        except (sqlite3.Error, OSError) as error:
            self._lock.release()
            raise StoreUnavailableError(f"cannot open the telemetry store {self._path}: {error}") from error
        except StoreUnavailableError:
            self._lock.release()
            raise
        self._pool = ThreadPoolExecutor(self._readers, thread_name_prefix="telemetry-reader")
        self._writer.start(asyncio.get_running_loop())

    async def close(self) -> None:
        """Store what waits, end the threads, let go of the file."""
        await asyncio.to_thread(self._writer.stop)
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown)
            self._pool = None
        for connection in self._reading:
            connection.close()
        self._reading.clear()
        self._local = threading.local()
        self._lock.release()

    async def write(self, body: bytes, precision: Precision, encoding: Encoding = "identity") -> None:
        """See `TelemetryStore.write`; writes that wait at the same time share one transaction."""
        await self._writer.submit(body, precision, encoding)

    async def latest(self, measurement: str, tags: Mapping[str, str] | None = None) -> list[Series]:
        """See `TelemetryStore.latest`; answered from memory."""
        return self._catalog.latest(measurement, tags or {})

    async def range(self, query: RangeQuery) -> list[Series]:
        """See `TelemetryStore.range`."""
        columns = [column for column, _, _ in self._catalog.select(query.measurement, query.tags, query.fields)]
        if query.window_ms is not None and query.aggregate not in _ANY_TYPE:
            columns = [column for column in columns if column.type in _NUMERIC]
        if not columns or query.start_ms >= query.stop_ms:
            return []
        return await self._read(lambda connection: _read_columns(connection, columns, query))

    async def healthy(self) -> bool:
        """Whether the writer runs and the file can be read."""
        if not self._writer.alive:
            return False
        try:
            await self._read(lambda connection: connection.execute("SELECT 1 FROM series LIMIT 1").fetchall())
        except StoreUnavailableError:
            return False
        return True

    async def _read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        if self._pool is None:
            raise StoreUnavailableError("the telemetry store is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(self._reader()))
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"the telemetry store cannot read: {error}") from error

    def _reader(self) -> sqlite3.Connection:
        """This thread's own connection: readers in WAL mode wait for nobody."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
            self._local.connection = connection
            self._reading.append(connection)
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=10)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute("PRAGMA cache_size = -32768")  # KiB
        connection.execute("PRAGMA journal_size_limit = 67108864")
        return connection

    def _prepare(self) -> list[tuple[Column, int, float | int | bool | str]]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        connection = self._connect()
        try:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version > SCHEMA_VERSION:
                raise StoreUnavailableError(
                    f"{self._path} was written by a newer Andon (schema {version}, known {SCHEMA_VERSION}): update Andon"
                )
            if version == 0:
                schema = resources.files("andon_cloud.telemetry").joinpath("schema.sql").read_text("utf-8")
                connection.executescript(f"BEGIN IMMEDIATE;\n{schema}\nCOMMIT;")
            return list(newest_in(connection))
        finally:
            connection.close()


def _read_columns(connection: sqlite3.Connection, columns: list[Column], query: RangeQuery) -> list[Series]:
    """The samples of each column; one read transaction, so all columns are seen at the same moment."""
    room = _NO_LIMIT if query.limit is None else query.limit
    found: list[Series] = []
    connection.execute("BEGIN")
    try:
        for column in columns:
            samples = _read_column(connection, column, query, room + 1)
            room -= len(samples)
            if room < 0:
                raise TooManySamplesError(f"more than {query.limit} samples")
            if samples:
                found.append(Series(query.measurement, column.field, column.tags, samples))
    finally:
        connection.execute("COMMIT")
    return found


def _read_column(connection: sqlite3.Connection, column: Column, query: RangeQuery, limit: int) -> list[Sample]:
    start, stop = (min(max(ms * _NS_PER_MS, MIN_TIME_NS), MAX_TIME_NS) for ms in (query.start_ms, query.stop_ms))
    if query.window_ms is None:
        rows = connection.execute(_RAW, (column.series_id, column.field_id, start, stop, limit))
        kind = column.type
    else:
        window = {"w": query.window_ms * _NS_PER_MS, "series": column.series_id, "field": column.field_id}
        statement = _WINDOWED.format(aggregate=_AGGREGATES[query.aggregate])
        rows = connection.execute(statement, {**window, "start": start, "stop": stop, "limit": limit})
        kind = "integer" if query.aggregate is Aggregate.COUNT else column.type
    if kind == "boolean":
        return [Sample(row[0] // _NS_PER_MS, from_sqlite(kind, row[1])) for row in rows]
    return [Sample(row[0] // _NS_PER_MS, row[1]) for row in rows]
