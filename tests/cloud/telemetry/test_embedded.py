"""The embedded store beyond the contract: durability, faults, restart, and that it never holds up the event loop."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from andon_cloud.telemetry.embedded import SCHEMA_VERSION, EmbeddedStore
from andon_cloud.telemetry.store import (
    BodyTooLargeError,
    FieldTypeConflictError,
    LinesRejectedError,
    Precision,
    RangeQuery,
    Sample,
    StoreBusyError,
    StoreUnavailableError,
    Value,
)

T0 = 1_764_000_000_000
WRITER = Path(__file__).with_name("durable_writer.py")
EVER = RangeQuery("m", 0, 2**40)


def start_writer(path: Path, first: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, WRITER, path, str(first)], stdout=subprocess.PIPE, text=True)


async def write(store: EmbeddedStore, text: str) -> None:
    await store.write(text.encode(), Precision.MS)


async def values(store: EmbeddedStore, measurement: str = "m") -> list[Value]:
    found = await store.range(RangeQuery(measurement, 0, 2**45))
    return sorted((sample.value for series in found for sample in series.samples), key=float)


async def test_everything_is_there_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "t.sqlite"
    first = EmbeddedStore(path)
    await first.open()
    await write(first, f'm,a=1 v=1.5,b=true,s="x" {T0}\nm,a=1 v=2.5 {T0 + 1}\nm,a=2 i=3i {T0}')
    before = await first.latest("m")
    await first.close()
    second = EmbeddedStore(path)
    await second.open()
    try:
        after = await second.latest("m")
        assert sorted(map(repr, after)) == sorted(map(repr, before))
        assert len(after) == 4
        with pytest.raises(FieldTypeConflictError):
            await write(second, f"m,a=3 v=1i {T0}")
        await write(second, f"m,a=1 v=3.5 {T0 + 2}")
        found = {series.field: series.samples[0] for series in await second.latest("m", {"a": "1"})}
        assert found["v"] == Sample(T0 + 2, 3.5)
    finally:
        await second.close()


async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    acknowledged: set[int] = set()
    for round_ in range(4):
        process = start_writer(path, round_ * 1_000_000)
        assert process.stdout is not None
        for _ in range(40 + 37 * round_):
            acknowledged.add(int(process.stdout.readline()))
        process.kill()
        acknowledged.update(int(line) for line in process.stdout.read().splitlines() if line)
        process.wait(60)
        store = EmbeddedStore(path)
        await store.open()
        try:
            stored = await values(store)
            assert acknowledged <= set(stored)
            assert len(set(stored)) == len(stored)
            # A body is stored whole or not at all.
            assert await values(store, "n") == stored
        finally:
            await store.close()
    assert len(acknowledged) > 300


async def test_a_second_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    with start_writer(path, 0) as process:
        assert process.stdout is not None
        process.stdout.readline()
        store = EmbeddedStore(path)
        with pytest.raises(StoreUnavailableError, match="open in another process"):
            await store.open()
        process.kill()
    await store.open()
    await store.close()


async def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreUnavailableError, match="newer Andon"):
        await EmbeddedStore(path).open()
    assert sqlite3.connect(path).execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)


async def test_a_file_that_is_no_database_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    path.write_bytes(b"this is a text file, not a database " * 100)
    with pytest.raises(StoreUnavailableError, match=r"cannot open the telemetry store .*t\.sqlite"):
        await EmbeddedStore(path).open()


def test_the_file_is_durable_by_default(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "t.sqlite")
    connection = store._connect()
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


async def test_a_full_disk_fails_the_write_and_not_the_store(tmp_path: Path) -> None:
    """SQLite's max_page_count stands for the end of the disk: the same SQLITE_FULL, at a place of our choosing."""
    store = EmbeddedStore(tmp_path / "t.sqlite")
    connect = store._writer._connect
    connections: list[sqlite3.Connection] = []

    def small() -> sqlite3.Connection:
        connection = connect()
        connection.execute("PRAGMA max_page_count = 24")
        connections.append(connection)
        return connection

    store._writer._connect = small
    await store.open()
    try:
        await write(store, f"m,k=first v=1 {T0}")
        big = "\n".join(f"m,k=big{n} v={n} {T0 + n}" for n in range(5_000))
        with pytest.raises(StoreUnavailableError, match="full"):
            await write(store, big)
        assert [series.tags["k"] for series in await store.latest("m")] == ["first"]
        # What fits is still taken, with ids that the failed transaction did not spoil.
        await write(store, f"m,k=big7 v=7 {T0}\nm,k=first v=2 {T0 + 1}")
        found = {series.tags["k"]: series.samples for series in await store.range(RangeQuery("m", T0, T0 + 10))}
        assert found == {"big7": [Sample(T0, 7.0)], "first": [Sample(T0, 1.0), Sample(T0 + 1, 2.0)]}
        assert await store.healthy()
    finally:
        await store.close()


async def test_an_unexpected_fault_fails_the_write_and_not_the_writer(
    embedded: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:

        def broken(*_arguments: object) -> None:
            raise RuntimeError("a bug")

        patched.setattr(embedded._writer._parser, "parse", broken)
        with pytest.raises(StoreUnavailableError, match="a bug"):
            await write(embedded, f"m v=1 {T0}")
    await write(embedded, f"m v=2 {T0}")
    assert await values(embedded) == [2.0]


async def test_writes_that_wait_together_share_a_transaction(embedded: EmbeddedStore) -> None:
    sizes: list[int] = []
    store_group = embedded._writer._store

    def counting(connection: sqlite3.Connection, group: list[object]) -> object:
        sizes.append(len(group))
        return store_group(connection, group)  # type: ignore[arg-type]  # passed on

    embedded._writer._store = counting  # type: ignore[method-assign,assignment]  # counts and passes on
    await asyncio.gather(*(write(embedded, f"m,k={n} v={n} {T0}") for n in range(200)))
    assert sum(sizes) == 200
    assert len(sizes) < 100
    assert len(await embedded.latest("m")) == 200


async def test_one_bad_body_in_a_group_fails_alone(embedded: EmbeddedStore) -> None:
    bodies = [f"m,k=1 v=1 {T0}".encode(), b"bad", gzip.compress(b"cut")[:-4], f"m,k=2 v=2 {T0}".encode()]
    encodings = ["identity", "identity", "gzip", "identity"]
    results = await asyncio.gather(
        *(embedded.write(body, Precision.MS, encoding) for body, encoding in zip(bodies, encodings, strict=True)),  # type: ignore[arg-type]  # literals in a list
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), LinesRejectedError, LinesRejectedError, type(None)]
    assert len(await embedded.latest("m")) == 2


async def test_too_much_waiting_is_refused_at_once(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "t.sqlite", synchronous="OFF", max_waiting=1_000, max_body=10_000)
    await store.open()
    try:
        body = "\n".join(f"m v={n} {T0 + n}" for n in range(40))
        results = await asyncio.gather(*(write(store, body) for _ in range(5)), return_exceptions=True)
        assert results[0] is None
        assert any(isinstance(result, StoreBusyError) for result in results)
        await write(store, body)
        with pytest.raises(BodyTooLargeError):
            await store.write(gzip.compress(b"m v=1 1\n" * 10_000), Precision.MS, "gzip")
    finally:
        await store.close()


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "t.sqlite")
    assert not await store.healthy()
    with pytest.raises(StoreUnavailableError, match="not open"):
        await write(store, "m v=1 1")
    await store.open()
    await write(store, "m v=1 1")
    await store.close()
    assert not await store.healthy()
    for attempt in (write(store, "m v=1 1"), store.range(EVER)):
        with pytest.raises(StoreUnavailableError, match="not open"):
            await attempt


async def test_close_stores_what_waits(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "t.sqlite", synchronous="OFF")
    await store.open()
    waiting = [asyncio.create_task(write(store, f"m,k={n} v={n} {T0}")) for n in range(20)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*waiting)
    await store.open()
    assert len(await store.latest("m")) == 20
    await store.close()


async def test_a_cancelled_request_harms_nobody(embedded: EmbeddedStore) -> None:
    cancelled = asyncio.create_task(write(embedded, f"m,k=1 v=1 {T0}"))
    await asyncio.sleep(0)
    cancelled.cancel()
    await write(embedded, f"m,k=2 v=2 {T0}")
    assert {series.tags["k"] for series in await embedded.latest("m")} == {"1", "2"}


async def test_the_event_loop_runs_on_during_writes_and_queries(embedded: EmbeddedStore) -> None:
    body = "\n".join(f"m,k={n % 50} v={n} {T0 + n}" for n in range(40_000))
    turns = 0

    async def work() -> None:
        await write(embedded, body)
        await embedded.range(RangeQuery("m", T0, T0 + 100_000, window_ms=10))

    working = asyncio.create_task(work())
    while not working.done():
        await asyncio.sleep(0.001)
        turns += 1
    await working
    # Held up by the work, the loop would turn a handful of times.
    assert turns > 20


async def test_latest_costs_no_query(embedded: EmbeddedStore) -> None:
    await write(embedded, "\n".join(f"m,k={n} v={n} {T0}" for n in range(100)))
    start = time.process_time()
    for _ in range(100):
        assert len(await embedded.latest("m")) == 100
    assert (time.process_time() - start) / 100 < 0.01


async def test_large_unsigned_integers_are_refused_by_name(embedded: EmbeddedStore) -> None:
    await write(embedded, f"m v={2**63 - 1}u {T0}")
    with pytest.raises(FieldTypeConflictError, match="holds integers up to 9223372036854775807"):
        await write(embedded, f"m v={2**63}u {T0 + 1}")
    assert await values(embedded) == [2**63 - 1]
