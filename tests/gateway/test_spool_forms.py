"""The names of packed readings are in the file once: forms through rollbacks, restarts, quarantine, damage and their bound."""

from __future__ import annotations

import json
import queue
import sqlite3
import struct
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from andon_gateway.senml.columns import Columns, Form
from andon_gateway.senml.pack import Pack, Reading
from andon_gateway.spool import database as database_module
from andon_gateway.spool import forms as forms_module
from andon_gateway.spool import shelf as shelf_module
from andon_gateway.spool.database import GroupCommit, open_reader
from andon_gateway.spool.spool import Spool, SpooledPack, SpoolLimits, read_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from andon_gateway.vocabulary import Value

NOW = 1_764_000_000_000
SPOOL_BYTES = "SELECT total(length(CAST(readings AS BLOB)) + coalesce(length(numbers), 0) + 64) FROM spool"
QUARANTINE_BYTES = "SELECT total(length(CAST(readings AS BLOB)) + coalesce(length(numbers), 0) + 64) FROM quarantine"
SHAPES: list[tuple[tuple[str, ...], tuple[Value, ...]]] = [
    (("temperature/0", "node/heap_free"), (1.5, 7)),
    (("temperature/0", "temperature/1"), (-0.0, 1e300)),
    (("temperature/0", "temperature/1", "node/heap_free"), (2.5, 3.5, 2**62)),
    (("node/heap_free", "node/uptime"), (1, 2)),
    (("temperature/0", "node/heap_free"), (9, 9)),  # the names of the first one, other types
]
FORMS = [  # the last one: another shape of the same names
    Form(names, "".join("d" if type(value) is float else "q" for value in values), ())
    for names, values in [*SHAPES, SHAPES[0]]
]


def packed(node: str, seq: int, which: int) -> Pack:
    """A pack as the quick decoder gives it."""
    values = SHAPES[which % len(SHAPES)][1]
    columns = Columns.of(FORMS[which], [NOW + seq + at for at in range(len(values))], values)
    return Pack(node, 1, seq, None, None, (), columns)


def worded(node: str, seq: int) -> Pack:
    """A pack that becomes JSON on disk."""
    return Pack(node, 1, seq, [Reading("temperature/0", NOW + seq, 1.5), Reading("temperature/0/fault", NOW, "ok")])


def expected(pack: Pack) -> str:
    """As `Opened.rows` gives it; takes the pack's columns away."""
    return repr((pack.node, [list(reading) for reading in pack.readings]))


class Opened:
    """A spool whose commits fail when told to, and a reader that stays open beside it."""

    def __init__(self, path: Path, limits: SpoolLimits | None = None) -> None:
        self.path, self.limits = path, limits
        self.failing = False
        self.open()
        self.reader = open_reader(path)

    def open(self) -> None:
        self.database = GroupCommit(self.path, lambda call: call())
        self.spool = Spool(self.database, self.limits)
        self.database.before_commit.append(self._fail)  # behind the spool's own: everything has been written by then
        self.database.start()
        self.run(lambda _connection: None)

    def close(self) -> None:
        self.database.close()

    def _fail(self, _connection: sqlite3.Connection) -> None:
        if self.failing:
            self.failing = False
            raise sqlite3.OperationalError("disk I/O error")

    def run(self, change: Callable[[sqlite3.Connection], Any]) -> Any:
        return self.database.run(change).result(60)

    def take(self, *packs: Pack, failing: bool = False) -> None:
        self.failing = failing
        answers: queue.SimpleQueue[list[bool] | None] = queue.SimpleQueue()
        self.spool.append_all(packs, NOW, lambda news, _error: answers.put(news))
        assert answers.get(timeout=60) == (None if failing else [True] * len(packs))

    def mount(self, *nodes: str) -> None:
        def change(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM asset")
            connection.executemany("INSERT INTO asset VALUES (?, 's', 'a', 'l', 'm')", [(node,) for node in nodes])
            self.spool.adopt(connection)

        self.run(change)

    def packs(self) -> list[SpooledPack]:
        return read_after(self.reader, 0, 100_000)

    def rows(self) -> list[str]:
        return [repr((pack.node, pack.readings)) for pack in self.packs()]

    def number(self, query: str) -> int:
        return int(self.reader.execute(query).fetchone()[0])

    def check_bytes(self) -> None:
        """The counts are what lies there."""
        assert self.spool.counts["spool_bytes"] == self.number(SPOOL_BYTES)
        assert self.spool.counts["quarantine_bytes"] == self.number(QUARANTINE_BYTES)

    def forms(self) -> dict[int, str]:
        return dict(self.reader.execute("SELECT id, text FROM form"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.sqlite3"


@pytest.fixture
def opened(path: Path) -> Iterator[Opened]:
    opened = Opened(path)
    yield opened
    opened.close()


def test_a_form_is_in_the_file_once(opened: Opened) -> None:
    packs = [packed("press-7", seq, seq % len(FORMS)) for seq in range(100)]
    opened.take(*packs[:50])
    opened.take(*packs[50:])
    assert opened.rows() == [expected(pack) for pack in packs]
    assert opened.number("SELECT count(*) FROM spool WHERE replaces = 0 AND boot = 1") == 100
    assert len(opened.forms()) == len(SHAPES)
    assert opened.number("SELECT count(*) FROM spool WHERE form IS NULL OR readings <> ''") == 0
    opened.check_bytes()


def test_an_id_of_a_transaction_that_failed_may_be_given_to_another_form(opened: Opened) -> None:
    opened.take(packed("press-7", 0, 0), failing=True)
    assert (opened.rows(), opened.forms()) == ([], {})
    packs = [packed("press-7", 1, 1), packed("press-7", 0, 0)]
    for pack in packs:
        opened.take(pack)
    assert opened.rows() == [expected(pack) for pack in packs]


STEPS = st.one_of(
    st.tuples(
        st.just("take"), st.lists(st.tuples(st.sampled_from("abc"), st.integers(-1, len(FORMS) - 1)), max_size=12)
    ),
    st.tuples(
        st.just("fail"), st.lists(st.tuples(st.sampled_from("abc"), st.integers(-1, len(FORMS) - 1)), max_size=4)
    ),
    st.tuples(st.just("send"), st.integers(0, 8)),
    st.tuples(st.just("mount"), st.sets(st.sampled_from("abc"))),
    st.tuples(st.just("reopen"), st.none()),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=14), most=st.integers(1, 6))
def test_what_is_written_is_read_and_counted(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, Any]], most: int
) -> None:
    monkeypatch.setattr(database_module, "FAILURE_PAUSE_S", 0)
    monkeypatch.setattr(forms_module, "MOST_FORMS", most)
    monkeypatch.setattr(shelf_module, "MOST_REFUSED", 3)
    opened = Opened(tmp_path_factory.mktemp("forms") / "spool.sqlite3")
    waiting: list[Pack] = []
    strangers: list[Pack] = []
    mounted: set[str] | None = None
    seq = 0
    meanings: dict[int, str] = {}
    try:
        for step, what in [*steps, ("mount", set("abc"))]:
            if step in {"take", "fail"}:
                packs = []
                for node, which in what:
                    seq += 1
                    packs.append(worded(node, seq) if which < 0 else packed(node, seq, which))
                opened.take(*packs, failing=step == "fail")
                if step == "take":
                    waiting += [pack for pack in packs if mounted is None or pack.node in mounted]
                    strangers += [pack for pack in packs if mounted is not None and pack.node not in mounted]
            elif step == "send":
                opened.spool.remove([pack.id for pack in opened.packs()[:what]])
                del waiting[:what]
            elif step == "reopen":
                opened.close()
                opened.open()
            else:
                mounted = what
                found = [pack for pack in strangers if pack.node in what]
                strangers = [pack for pack in strangers if pack.node not in what]
                # Nodes are adopted in any order, the packs of each in theirs.
                there = opened.rows()
                opened.mount(*what)
                adopted = opened.rows()[len(there) :]
                assert sorted(adopted) == sorted(map(expected, found))
                waiting += sorted(found, key=lambda pack: adopted.index(expected(pack)))
            assert opened.rows() == [expected(pack) for pack in waiting]
            opened.check_bytes()
            assert opened.number("SELECT count(*) FROM spool WHERE replaces <> 0 OR boot <> 1") == 0
            assert len(opened.forms()) <= most
            for number, text in opened.forms().items():
                assert meanings.setdefault(number, text) == text, "an id was given again"
        opened.spool.remove([pack.id for pack in opened.packs()])
        counts = opened.spool.counts
        assert (counts["spool_bytes"], counts["quarantine_bytes"], counts["quarantine_packs"]) == (0, 0, 0)
    finally:
        opened.close()


def test_a_node_that_invents_forms_does_not_grow_the_file(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms_module, "MOST_FORMS", 4)
    monkeypatch.setattr(shelf_module, "MOST_REFUSED", 10)
    forms = [Form((f"temperature/{at}",), "d", ()) for at in range(30)]
    packs = [
        Pack("press-7", 1, at, columns=Columns.of(form, [NOW], [1.5]), counted=()) for at, form in enumerate(forms)
    ]
    before: set[int] = set()
    for pack in packs[:12]:
        opened.take(pack)
        before |= set(opened.forms())
    assert opened.number("SELECT count(*) FROM spool WHERE form IS NULL AND numbers IS NOT NULL") == 8
    assert opened.rows() == [expected(pack) for pack in packs[:12]]
    opened.spool.remove([pack.id for pack in opened.packs()[1:]])
    for pack in packs[12:]:
        opened.take(pack)
    assert opened.rows() == [expected(pack) for pack in (packs[0], *packs[12:])]
    kept = opened.forms()
    assert len(kept) == 4
    assert len(set(kept) & before) == 1, "the form of a row that waits must stay, the others are not needed"
    assert min(set(kept) - before) > max(before), "an id was given again"
    packs.append(Pack("press-7", 1, 30, columns=Columns.of(forms[1], [NOW], [2.5]), counted=()))  # one that was removed
    opened.take(packs[-1])
    assert opened.rows() == [expected(pack) for pack in (packs[0], *packs[12:])]
    opened.check_bytes()


def test_forms_are_not_looked_for_among_too_many_rows(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms_module, "MOST_FORMS", 1)
    monkeypatch.setattr(shelf_module, "MOST_REFUSED", 1)
    monkeypatch.setattr(shelf_module, "MOST_SCANNED_BYTES", 64)
    opened.take(packed("press-7", 0, 0))
    (first,) = opened.forms()
    opened.spool.remove([opened.packs()[0].id])
    opened.take(packed("press-7", 1, 1))
    opened.take(packed("press-7", 2, 1))
    assert set(opened.forms()) == {first}
    opened.spool.remove([pack.id for pack in opened.packs()])
    assert first not in opened.forms()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE spool SET form = 99 WHERE id = 2",
        "UPDATE spool SET numbers = NULL WHERE id = 2",
        "UPDATE spool SET numbers = x'00' WHERE id = 2",
        "UPDATE form SET text = 'x' WHERE id = (SELECT form FROM spool WHERE id = 2)",
        "DELETE FROM form WHERE id = (SELECT form FROM spool WHERE id = 2)",
    ],
)
def test_a_damaged_row_is_given_as_such_and_counted_out(path: Path, damage: str) -> None:
    opened = Opened(path)
    packs = [packed("press-7", 0, 0), packed("press-7", 1, 1), packed("press-7", 2, 0)]
    opened.take(*packs)
    opened.close()
    with sqlite3.connect(path) as disk:
        numbers = disk.execute("SELECT numbers FROM spool WHERE id = 2").fetchone()[0]
        disk.execute(damage)
        # The tally as if the row had always been so: exactness is about the rows that are there.
        disk.execute("UPDATE tally SET value = ? WHERE name = 'spool_bytes'", disk.execute(SPOOL_BYTES).fetchone())
    disk.close()
    opened.open()
    rows = opened.packs()
    assert [repr((row.node, row.readings)) for row in rows[::2]] == [expected(pack) for pack in packs[::2]]
    ((what,),) = rows[1].readings
    assert str(what).startswith("damaged: ")
    if "numbers" not in damage:
        assert repr(numbers) in str(what), "the numbers are all that is left"
        assert f" form {99 if '99' in damage else 2} " in str(what)
    opened.close()
    opened.limits = SpoolLimits(quota_bytes=100)
    opened.open()
    opened.take(worded("press-7", 3))
    counts = opened.spool.counts
    known = 2 if "SET numbers" in damage else 0
    assert (counts["dropped_packs"], counts["dropped_readings"]) == (4, 2 + known + 2 + 2)
    assert counts["spool_bytes"] == 0
    opened.close()


def old_file(path: Path) -> list[str]:
    """A file as version 8 left it: packed, JSON and quarantined rows; gives the rows of the spool, then those of the quarantine."""
    disk = sqlite3.connect(path)
    package = resources.files("andon_gateway.spool")
    for name in ("schema.sql", *(f"upgrade_{step}.sql" for step in range(2, 9))):
        disk.executescript(package.joinpath(name).read_text())
    shapes = [
        ('["dq","temperature/0","node/heap_free"]', "<2qdq", (NOW, NOW + 1, 1.5, 7)),
        ('["dd","temperature/0","temperature/1"]', "<2qdd", (NOW, NOW + 2, -0.0, 2.5)),
    ]
    rows: list[tuple[object, ...]] = []
    found = []
    for boot in range(20):
        if boot % 3 == 2:
            readings = [["temperature/0", NOW + boot, 1.5], ["temperature/0/fault", NOW, "ok"]]
            rows.append(("press-7", boot, NOW, json.dumps(readings), 0, None))
        else:
            text, layout, fields = shapes[boot % 3]
            names = json.loads(text)[1:]
            readings = [[*row] for row in zip(names, fields[:2], fields[2:], strict=True)]
            rows.append(("press-7", boot, NOW, text, 0, struct.pack(layout, *fields)))
        found.append(repr(("press-7", readings)))
    columns = "(node, boot, arrival_ms, readings, replaces, numbers) VALUES (?, ?, ?, ?, ?, ?)"
    disk.executemany(f"INSERT INTO spool {columns}", rows)
    disk.executemany(f"INSERT INTO quarantine {columns}", [("oven-1", *row[1:]) for row in rows])
    disk.execute("INSERT INTO asset VALUES ('press-7', 's', 'a', 'l', 'm')")
    disk.execute("DELETE FROM tally")
    disk.execute("INSERT INTO tally VALUES ('spool_bytes', ?)", disk.execute(SPOOL_BYTES).fetchone())
    disk.execute("INSERT INTO tally VALUES ('assets_received', 1)")
    disk.execute("INSERT INTO dead_letter (at_ms, line, reason) VALUES (1, 'bad', '400')")
    disk.execute("PRAGMA user_version=8")
    disk.commit()
    disk.close()
    return found + [row.replace("press-7", "oven-1") for row in found]


def test_a_file_of_version_8_keeps_its_rows_and_its_bytes(path: Path) -> None:
    found = old_file(path)
    opened = Opened(path)
    assert opened.rows() == found[:20]
    opened.check_bytes()
    new = [packed("press-7", 1000, 0), packed("oven-1", 1001, 1)]
    opened.take(*new)
    opened.check_bytes()
    assert opened.spool.counts["quarantine_packs"] == 21
    opened.mount("press-7", "oven-1")
    assert opened.rows() == [*found[:20], expected(new[0]), *found[20:], expected(new[1])]
    opened.check_bytes()
    opened.spool.remove([pack.id for pack in opened.packs()])
    counts = opened.spool.counts
    assert (counts["spool_bytes"], counts["quarantine_bytes"], counts["quarantine_packs"]) == (0, 0, 0)
    assert opened.number("SELECT count(*) FROM dead_letter") == 1
    opened.close()


def test_old_and_new_rows_are_dropped_with_their_number_of_readings(path: Path) -> None:
    old_file(path)
    opened = Opened(path, SpoolLimits(quota_bytes=64))
    opened.take(packed("press-7", 1000, 0), packed("press-7", 1001, 2))
    counts = opened.spool.counts
    assert (counts["dropped_packs"], counts["dropped_readings"], counts["spool_bytes"]) == (22, 2 * 20 + 2 + 3, 0)
    opened.close()
