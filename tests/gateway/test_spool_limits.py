"""The spool's quota, quarantine, upgrade and its files after a torn write."""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from andon_gateway.senml.pack import Pack, Reading
from andon_gateway.spool.database import GroupCommit, open_database, open_reader
from andon_gateway.spool.dead_letters import DeadLetterBox
from andon_gateway.spool.shelf import ROW_BYTES
from andon_gateway.spool.spool import Spool, SpoolLimits, read_after

NOW = 1_764_000_000_000


class Opened:
    """A spool with its writer thread."""

    def __init__(self, path: Path, limits: SpoolLimits | None = None) -> None:
        self.database = GroupCommit(path, lambda call: call())
        self.spool = Spool(self.database, limits)
        self.database.start()
        self.seq = 0

    def take(self, count: int, node: str = "press-7") -> None:
        left = threading.Semaphore(0)
        for _ in range(count):
            pack = Pack(node, 1, self.seq, [Reading("temperature/0", NOW + self.seq, 1.5)] * 2)
            self.spool.append(pack, NOW, lambda _new, _error: left.release())
            self.seq += 1
        for _ in range(count):
            assert left.acquire(timeout=60)

    def mount(self, *nodes: str) -> None:
        def change(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM asset")
            connection.executemany("INSERT INTO asset VALUES (?, 's', 'a', 'l', 'm')", [(node,) for node in nodes])
            self.spool.adopt(connection)

        self.database.run(change).result(60)

    def packs(self) -> list[Any]:
        reader = open_reader(self.database.path)
        try:
            return read_after(reader, 0, 100_000)
        finally:
            reader.close()

    def bytes(self) -> int:
        reader = open_reader(self.database.path)
        try:
            query = "SELECT total(length(readings) + ?) FROM spool"
            return int(reader.execute(query, (ROW_BYTES,)).fetchone()[0])
        finally:
            reader.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.sqlite3"


def test_the_oldest_packs_go_at_the_quota_and_are_counted_exactly_across_restarts(path: Path) -> None:
    limits = SpoolLimits(quota_bytes=4000)
    dropped = 0
    for _ in range(3):
        opened = Opened(path, limits)
        opened.take(40)
        kept = opened.packs()
        assert opened.bytes() <= 4000
        assert opened.spool.counts["spool_bytes"] == opened.bytes()
        firsts = [pack.readings[0][1] - NOW for pack in kept]
        assert firsts == list(range(40 - len(kept), 40)), "not the oldest"
        dropped = opened.spool.counts["dropped_packs"]
        assert opened.spool.counts["dropped_readings"] == 2 * dropped
        for statement in ("DELETE FROM identity", "DELETE FROM taken"):  # so that the next turn is new
            opened.database.run(lambda c, text=statement: c.execute(text)).result(60)  # type: ignore[misc]  # a default argument
        opened.database.close()
    assert dropped == 3 * 40 - len(kept)


def test_a_smaller_quota_in_the_settings_drops_only_the_excess(path: Path) -> None:
    opened = Opened(path)
    opened.take(40)
    opened.database.close()
    opened = Opened(path, SpoolLimits(quota_bytes=4000))
    opened.database.run(lambda _c: None).result(60)
    assert 0 < opened.bytes() <= 4000
    assert len(opened.packs()) + opened.spool.counts["dropped_packs"] == 40
    opened.database.close()


def test_a_damaged_row_at_the_quota_stops_nobody(path: Path) -> None:
    opened = Opened(path, SpoolLimits(quota_bytes=4000))
    opened.take(20)
    opened.database.run(lambda c: c.execute("UPDATE spool SET readings = '[[' WHERE id = 1")).result(60)
    opened.take(40)
    assert opened.database.healthy
    assert opened.spool.counts["dropped_packs"] + len(opened.packs()) == 60
    opened.database.close()


def test_what_is_being_sent_is_not_dropped(path: Path) -> None:
    opened = Opened(path, SpoolLimits(quota_bytes=4000))
    opened.take(20)
    sending = opened.spool.claim(lambda: opened.packs()[:5], lambda found: found)
    opened.take(80)
    left = [pack.id for pack in opened.packs()]
    assert left[:5] == [pack.id for pack in sending]
    opened.spool.remove([pack.id for pack in sending])
    opened.spool.release()
    assert opened.spool.counts["dropped_packs"] + len(opened.packs()) + 5 == 100
    opened.database.close()


def test_removed_packs_make_room(path: Path) -> None:
    opened = Opened(path, SpoolLimits(quota_bytes=4000))
    for _ in range(20):
        opened.take(10)
        opened.spool.remove([pack.id for pack in opened.packs()])
    assert (opened.spool.counts["spool_bytes"], opened.spool.counts.get("dropped_packs", 0)) == (0, 0)
    opened.database.close()


def test_unknown_nodes_wait_apart_and_are_let_in_in_order(path: Path) -> None:
    opened = Opened(path)
    opened.take(2, "early")
    assert len(opened.packs()) == 2, "before the cloud was ever reached nobody is unknown"
    opened.mount("known")
    opened.take(3, "stranger")
    opened.take(2, "known")
    assert [pack.node for pack in opened.packs()] == ["early"] * 2 + ["known"] * 2
    assert opened.spool.counts["quarantine_packs"] == 3
    opened.database.close()
    opened = Opened(path)
    opened.take(1, "other")
    opened.mount("known", "stranger")
    assert [pack.node for pack in opened.packs()][-3:] == ["stranger"] * 3
    times = [pack.readings[0][1] for pack in opened.packs() if pack.node == "stranger"]
    assert times == sorted(times)
    assert opened.spool.counts["quarantine_packs"] == 1
    assert opened.spool.counts["spool_bytes"] == opened.bytes()
    opened.database.close()


def test_a_flood_of_a_stranger_displaces_only_its_own_packs(path: Path) -> None:
    opened = Opened(path, SpoolLimits(quarantine_bytes=6000))
    opened.mount("known")
    opened.take(5, "modest")
    opened.take(10, "known")
    opened.take(300, "flood")
    assert opened.spool.counts["quarantine_bytes"] <= 6000
    opened.mount("known", "modest", "flood")
    nodes = [pack.node for pack in opened.packs()]
    assert (nodes.count("known"), nodes.count("modest")) == (10, 5)
    assert nodes.count("flood") + opened.spool.counts["dropped_unknown_packs"] == 300
    assert opened.spool.counts.get("dropped_packs", 0) == 0
    opened.database.close()


def test_a_forgotten_stranger_leaves_nothing(path: Path) -> None:
    opened = Opened(path)
    opened.mount("known")
    opened.take(3, "stranger")
    opened.spool.forget_node("stranger")
    opened.database.run(lambda _c: None).result(60)
    opened.database.close()
    with sqlite3.connect(path) as connection:
        left = "\n".join(connection.iterdump())
    connection.close()
    assert "stranger" not in left
    assert opened.spool.counts["dropped_unknown_packs"] == 3


@pytest.mark.parametrize("damage", ["truncate", "flip", "garbage"])
def test_a_torn_end_of_the_log_costs_at_most_the_last_commit(path: Path, tmp_path: Path, damage: str) -> None:
    """A power cut in a write: the -wal file ends early, or its last part holds other bytes."""
    opened = Opened(path)
    opened.take(1)
    sizes = []
    for _ in range(12):
        opened.take(1)
        sizes.append(Path(f"{path}-wal").stat().st_size)
    dice = random.Random(damage)
    for turn in range(40):
        copy = tmp_path / f"{damage}-{turn}.sqlite3"
        shutil.copyfile(path, copy)
        log = bytearray(Path(f"{path}-wal").read_bytes()[: sizes[-1]])
        cut = dice.randrange(sizes[-2], sizes[-1])
        if damage == "truncate":
            del log[cut:]
        elif damage == "flip":
            log[cut] ^= 1 << dice.randrange(8)
        else:
            log[cut:] = dice.randbytes(len(log) - cut + dice.randrange(5000))
        Path(f"{copy}-wal").write_bytes(log)
        torn = Opened(copy)
        kept = [pack.readings[0][1] - NOW for pack in torn.packs()]
        assert kept in (list(range(12)), list(range(13))), "lost something that was committed before the last record"
        torn.seq = len(kept)
        torn.take(1)  # and goes on
        assert len(torn.packs()) == len(kept) + 1
        assert torn.database.run(lambda c: c.execute("PRAGMA integrity_check").fetchone()).result(60) == ("ok",)
        torn.database.close()
    opened.database.close()


def test_a_file_of_version_1_is_upgraded_and_keeps_everything(path: Path) -> None:
    old = sqlite3.connect(path)
    old.executescript((Path(__file__).parent / "schema_1.sql").read_text() + "PRAGMA user_version=1;")
    text = '[["temperature/0",1764000000000,1.5],["temperature/0/fault",1764000000000,"ok"]]'
    old.execute("INSERT INTO spool (node, boot, arrival_ms, readings) VALUES ('press-7', 3, 5, ?)", (text,))
    old.execute("INSERT INTO identity VALUES ('press-7', 3, '0-41')")
    old.execute("INSERT INTO asset VALUES ('press-7', 's', 'a', 'l', 'm')")
    old.execute("INSERT INTO dead_letter (at_ms, line, reason) VALUES (1, 'bad', '400')")
    old.commit()
    old.close()
    opened = Opened(path)
    taken: list[object] = []
    for seq in (41, 42):
        pack = Pack("press-7", 3, seq, [Reading("temperature/0", NOW, 2.5)])
        opened.spool.append(pack, NOW, lambda new, _error: taken.append(new))
    opened.database.run(lambda _c: None).result(60)
    assert taken == [False, True]
    assert [pack.readings[0][2] for pack in opened.packs()] == [1.5, 2.5]
    assert opened.spool.counts["spool_bytes"] == opened.bytes()
    with DeadLetterBox(path) as box:
        assert [letter.line for letter in box.letters()] == ["bad"]
    opened.take(1, "stranger")
    assert opened.spool.counts["quarantine_packs"] == 1, "the table of assets was there before the upgrade"
    opened.database.close()


def test_an_upgraded_file_has_the_schema_of_a_new_one(path: Path, tmp_path: Path) -> None:
    old = sqlite3.connect(path)
    old.executescript((Path(__file__).parent / "schema_1.sql").read_text() + "PRAGMA user_version=1;")
    old.close()

    def columns(connection: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        indexes = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")]
        found = {table: connection.execute(f"PRAGMA table_xinfo({table})").fetchall() for table in tables}
        return {**found, "indexes": sorted((name,) for name in indexes)}

    upgraded, new = open_database(path), open_database(tmp_path / "new.sqlite3")
    assert columns(upgraded) == columns(new)
    for connection in (upgraded, new):
        connection.close()
