"""What was taken survives restarts and failed commits at any point: against a spool that has neither."""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from andon_gateway.senml.pack import Pack, Reading
from andon_gateway.spool import database as database_module
from andon_gateway.spool import taken as taken_module
from andon_gateway.spool.database import GroupCommit, open_database, open_reader
from andon_gateway.spool.spool import Spool, read_after

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NOW = 1_764_000_000_000


class Disk:
    """A spool on a file, to be cut off and opened again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.failing = False
        self._open()

    def _open(self) -> None:
        self.database = GroupCommit(self._path, lambda call: call())
        self.spool = Spool(self.database)
        self.database.before_commit.append(self._fail)
        self.database.start()

    def _fail(self, _connection: sqlite3.Connection) -> None:
        if self.failing:
            raise sqlite3.OperationalError("disk I/O error")

    def append(self, packs: list[Pack]) -> list[bool] | None:
        """What the spool says about one group; None: the commit failed."""
        told: list[list[bool] | None] = []
        ready = threading.Event()

        def done(news: list[bool] | None, _error: Exception | None) -> None:
            told.append(news)
            ready.set()

        self.spool.append_all(packs, NOW, done)
        assert ready.wait(60)
        return told[0]

    def restart(self) -> None:
        """As after a kill: nothing is written that was not committed with a group."""
        self.database.close()
        self._open()

    def rows(self) -> list[Any]:
        reader = open_reader(self._path)
        try:
            return [(row.node, row.boot, row.readings) for row in read_after(reader, 0, 100_000)]
        finally:
            reader.close()


def a_pack(node: str, boot: int, seq: int, raw: int, at: int) -> Pack:
    readings = [Reading("temperature/0", NOW + at, float(raw)), Reading("cycles/0", NOW + at, raw)]
    return Pack(node, boot, seq, [*readings, Reading("cycles/0", NOW + at + 1, raw + 1)])


PACKS = st.builds(
    a_pack, st.sampled_from(["a", "b"]), st.integers(0, 5), st.integers(0, 6), st.integers(0, 50), st.integers(0, 50)
)
STEPS = st.lists(st.tuples(st.sampled_from(["take", "take", "take", "fail", "restart", "forget"]), st.lists(PACKS, max_size=4)), max_size=25)  # fmt: skip


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=STEPS)
def test_restarts_and_failures_leave_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[Any]
) -> None:
    monkeypatch.setattr(taken_module, "MOST_BEHIND", 5)
    monkeypatch.setattr(taken_module, "LEAST_NODES", 1)
    monkeypatch.setattr(taken_module, "MAX_BOOTS", 3)
    monkeypatch.setattr(database_module, "FAILURE_PAUSE_S", 0.0)
    stamp = time.monotonic_ns()
    troubled, calm = Disk(tmp_path / f"{stamp}-t.sqlite3"), Disk(tmp_path / f"{stamp}-c.sqlite3")
    for step, packs in steps:
        if step == "fail":
            troubled.failing = True
            assert troubled.append(packs) is None
            troubled.failing = False
        elif step == "restart":
            troubled.restart()
        elif step == "forget":
            for disk in (troubled, calm):
                disk.spool.forget_node("a")
                disk.database.run(lambda _connection: None).result(
                    60
                )  # committed, before a later step makes commits fail
        else:
            assert troubled.append(packs) == calm.append(packs)
    assert troubled.rows() == calm.rows()
    troubled.database.close()
    calm.database.close()


def test_the_tables_are_written_only_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taken_module, "MOST_BEHIND", 10)
    disk = Disk(tmp_path / "spool.sqlite3")
    reader = open_reader(disk.database.path)
    seen, waiting = [], []
    for seq in range(31):
        disk.append([a_pack("a", 1, seq, seq, seq)])
        seen.append(reader.execute("SELECT seen FROM identity").fetchone()[0])
        waiting.append(reader.execute("SELECT count(*) FROM taken").fetchone()[0])
    assert [text for number, text in enumerate(seen) if number == 0 or seen[number - 1] != text] == [
        "0-0",
        "0-10",
        "0-20",
        "0-30",
    ]
    assert max(waiting) == 9
    reader.close()
    disk.database.close()


def test_no_group_writes_the_tables_of_all_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taken_module, "MOST_BEHIND", 400)
    monkeypatch.setattr(taken_module, "LEAST_NODES", 1)
    written: list[int] = []
    write_rows = database_module.write_rows

    def counted(connection: sqlite3.Connection, statement: str, rows: list[tuple[object, ...]]) -> None:
        written[-1] += len(rows)
        write_rows(connection, statement, rows)

    disk = Disk(tmp_path / "spool.sqlite3")
    for node in range(400):  # a node's first pack writes everything
        disk.append([a_pack(f"node-{node}", 1, 0, 0, 0)])
    monkeypatch.setattr(taken_module, "write_rows", counted)
    for seq in range(1, 4):
        for first in range(0, 400, 10):
            written.append(0)
            disk.append([a_pack(f"node-{node}", 1, seq, seq, seq) for node in range(first, first + 10)])
    assert sum(written) >= 2 * 800, "identity and total of each node, again and again"
    assert max(written) <= 40, "four rows for each pack of the group"
    disk.restart()
    assert disk.append([a_pack("node-7", 1, seq, 9, 9) for seq in (3, 4)]) == [False, True]
    disk.database.close()


def test_a_file_of_schema_3_gets_the_new_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "spool.sqlite3"
    with monkeypatch.context() as older:
        older.setattr(database_module, "SCHEMA_VERSION", 3)
        connection = open_database(path)
        connection.execute("INSERT INTO identity VALUES ('a', 1, '0-4')")
        connection.close()
    disk = Disk(path)
    assert disk.append([a_pack("a", 1, 4, 7, 7), a_pack("a", 1, 5, 7, 7)]) == [False, True]
    disk.restart()
    assert disk.append([a_pack("a", 1, 5, 7, 7), a_pack("a", 1, 6, 8, 8)]) == [False, True]
    disk.database.close()
