"""What the uplink sends next: live data beside a backlog, at a rate, with replaced points ending right."""

from __future__ import annotations

import random
import sqlite3
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon_gateway.spool.database import open_database
from andon_gateway.spool.spool import read_after
from andon_gateway.uplink.lanes import BatchLimits, Lanes, Pace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMITS = BatchLimits(packs=10, points=1000, live_ms=1000)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_database(tmp_path / "lanes.sqlite3")
    yield connection
    connection.close()


def arrive(disk: sqlite3.Connection, now_ms: int, count: int, *, replaces: bool = False) -> None:
    row = ("a", 1, now_ms, f'[["temperature/0",{now_ms},1.0]]', replaces)
    disk.executemany(
        "INSERT INTO spool (node, boot, arrival_ms, readings, replaces) VALUES (?, ?, ?, ?, ?)", [row] * count
    )


def send(disk: sqlite3.Connection, lanes: Lanes, now_ms: int) -> tuple[str, list[int]]:
    batch = lanes.next(disk, now_ms)
    if batch is None:
        return "nothing", []
    ids = [pack.id for pack in batch.packs]
    disk.executemany("DELETE FROM spool WHERE id = ?", [(row,) for row in ids])
    lanes.done(batch)
    return batch.lane, ids


def test_fresh_packs_go_in_one_lane(disk: sqlite3.Connection) -> None:
    lanes = Lanes(LIMITS)
    arrive(disk, 0, 25)
    assert [send(disk, lanes, 500)[1] for _ in range(3)] == [[*range(1, 11)], [*range(11, 21)], [*range(21, 26)]]
    assert not lanes.catching_up
    assert lanes.next(disk, 500) is None


def test_live_packs_wait_for_at_most_one_batch_of_a_backlog(disk: sqlite3.Connection) -> None:
    lanes = Lanes(LIMITS)
    arrive(disk, 0, 500)
    sent: list[int] = []
    for step in range(80):
        now_ms = 10_000 + step * 100
        arrive(disk, now_ms, 3)
        lane, ids = send(disk, lanes, now_ms)
        sent += ids
        waited = [row[0] for row in disk.execute("SELECT min(arrival_ms) FROM spool WHERE id > 510 AND replaces = 0")]
        assert ids == sorted(ids)
        if lane == "live":
            assert waited == [None], "fresh packs were left"
    backlog = [row for row in sent if row <= 500]
    assert backlog == sorted(backlog), "the backlog lost its order"
    assert len(backlog) >= 350, "the backlog starves"


def test_when_live_falls_behind_it_starts_again_at_the_newest(disk: sqlite3.Connection) -> None:
    lanes = Lanes(LIMITS)
    arrive(disk, 0, 100)
    assert send(disk, lanes, 5000)[0] == "backlog"
    arrive(disk, 5000, 50)
    assert send(disk, lanes, 5100) == ("live", [*range(101, 111)])
    assert send(disk, lanes, 5200)[0] == "backlog"
    assert send(disk, lanes, 9000)[0] == "backlog", "the live lane's packs are old by now"
    arrive(disk, 9000, 1)
    assert send(disk, lanes, 9050) == ("live", [151])
    left = [send(disk, lanes, 9100)[1] for _ in range(20)]
    assert [row for ids in left for row in ids] == [*range(31, 101), *range(111, 151)]
    assert lanes.next(disk, 9100) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_replaced_point_ends_with_its_last_value(seed: int) -> None:
    """Each id writes a point; replacing ones write a point again that an earlier id wrote: the last id must win."""
    dice = random.Random(seed)
    disk = sqlite3.connect(":memory:")
    disk.execute(
        "CREATE TABLE spool (id INTEGER PRIMARY KEY AUTOINCREMENT, node TEXT, boot INT, arrival_ms INT,"
        " readings TEXT, replaces INT, numbers BLOB, form INT)"
    )
    disk.execute("CREATE TABLE form (id INTEGER PRIMARY KEY, text TEXT)")
    lanes = Lanes(BatchLimits(packs=4, points=1000, live_ms=50))
    points: dict[int, int] = {}
    expected: dict[int, int] = {}
    time_of: dict[int, int] = {}

    def write(limit: int) -> None:
        for _ in range(limit):
            batch = lanes.next(disk, now_ms)
            if batch is None:
                return
            if dice.random() < 0.2:  # the cloud is away, or the answer was lost: the same again
                for pack in batch.packs if dice.random() < 0.5 else []:
                    points[time_of[pack.id]] = pack.id
                continue
            for pack in batch.packs:
                points[time_of[pack.id]] = pack.id
                disk.execute("DELETE FROM spool WHERE id = ?", (pack.id,))
            lanes.done(batch)

    now_ms, row = 0, 0
    for _ in range(60):
        now_ms += dice.randrange(40)
        for _ in range(dice.randrange(6)):
            row += 1
            again = bool(expected) and dice.random() < 0.3
            time_of[row] = dice.choice(sorted(expected)) if again else row
            expected[time_of[row]] = row
            disk.execute("INSERT INTO spool VALUES (?, 'a', 1, ?, '[]', ?, NULL, NULL)", (row, now_ms, again))
        write(dice.randrange(3))
        if dice.random() < 0.05:
            lanes.restart()
    write(10_000)
    disk.close()
    assert points == expected


def test_a_batch_is_bounded_in_points_too(disk: sqlite3.Connection) -> None:
    readings = "[" + ",".join(f'["temperature/0",{at},1.0]' for at in range(40)) + "]"
    for _ in range(3):
        disk.execute("INSERT INTO spool (node, boot, arrival_ms, readings) VALUES ('a', 1, 0, ?)", (readings,))
    assert len(read_after(disk, 0, 10, most_points=100)) == 2
    assert len(read_after(disk, 0, 10, most_points=1)) == 1, "a pack above the bound must still go"


@settings(deadline=None)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.floats(1, 1000))
def test_the_rate_is_never_exceeded(batches: list[int], rate: float) -> None:
    pace, now_s, sent = Pace(rate), 100.0, 0
    for points in batches:
        now_s += pace.wait_s(now_s)
        pace.spend(points, now_s)
        # What is sent until a batch starts fits the rate, but for the kept second.
        assert sent <= rate * (now_s - 100.0 + 1.0) + 1e-6
        sent += points


def test_no_rate_is_no_wait() -> None:
    pace = Pace(0)
    pace.spend(10**9, 0.0)
    assert pace.wait_s(0.0) == 0
