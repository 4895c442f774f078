"""What was taken, on disk after each commit and in memory: against a plain model, whatever happens in between."""

from __future__ import annotations

import copy
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from gateway.taken_model import Known, Limits, on_disk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from andon_gateway.senml.columns import Columns, Form
from andon_gateway.senml.pack import Pack, Reading
from andon_gateway.spool import cycles as cycles_module
from andon_gateway.spool import database as database_module
from andon_gateway.spool import identity as identity_module
from andon_gateway.spool import taken as taken_module
from andon_gateway.spool.database import GroupCommit, open_database, open_reader
from andon_gateway.spool.spool import Spool, read_after

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = 1_764_000_000_000
SMALL = Limits(boots=3, ranges=3, open_boots=2)
FORMS = (
    Form(("temperature/0", "cycles/0"), "dq", (1,)),
    Form(("cycles/1", "temperature/0", "cycles/0"), "qdq", (0, 2)),
    Form(("temperature/0", "temperature/1"), "dd", ()),
    Form(("cycles/0", "temperature/0", "cycles/0"), "qdq", (0, 2)),  # a channel twice
)


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bound is reached within a few packs; kills of the process are the subject, not of the machine."""

    def without_fsync(path: Path) -> sqlite3.Connection:
        connection = open_database(path)
        connection.execute("PRAGMA synchronous=OFF")
        return connection

    monkeypatch.setattr(database_module, "open_database", without_fsync)
    monkeypatch.setattr(database_module, "FAILURE_PAUSE_S", 0.0)
    monkeypatch.setattr(taken_module, "MOST_BEHIND", 4)
    monkeypatch.setattr(taken_module, "LEAST_NODES", 1)
    monkeypatch.setattr(taken_module, "MOST_CACHED", 9)
    monkeypatch.setattr(taken_module, "MAX_BOOTS", SMALL.boots)
    monkeypatch.setattr(identity_module, "MAX_RANGES", SMALL.ranges)
    monkeypatch.setattr(cycles_module, "MAX_OPEN_BOOTS", SMALL.open_boots)


class Plant:
    """A spool on a file, and what it should know."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known = Known(SMALL)
        self.points: list[tuple[str, int, list[list[object]]]] = []
        self.failing = False
        self.reader: sqlite3.Connection | None = None
        self.open()

    def open(self) -> None:
        """Start a gateway's spool."""
        self.database = GroupCommit(self.path, lambda call: call())
        self.spool = Spool(self.database)
        self.database.before_commit.append(self._fail)
        self.database.start()
        self.reader = open_reader(self.path)

    def close(self) -> None:
        """As after a kill: closing writes nothing that was not committed with a group."""
        self.database.close()
        if self.reader is not None:
            self.reader.close()

    def _fail(self, _connection: sqlite3.Connection) -> None:
        if self.failing:
            raise sqlite3.OperationalError("disk I/O error")

    def group(self, actions: list[Any], event: str = "commit") -> None:
        """Let one group take packs (lists of them) and forget nodes (their names); compare what it says and leaves with the model."""
        failing = event.startswith("failing")
        expected = copy.deepcopy(self.known)
        expected.begin_group()
        points: list[tuple[str, int, list[list[object]]]] = []
        should: list[list[bool]] = []
        for action in actions:
            if isinstance(action, str):
                expected.forget_node(action)
                continue
            should.append([])
            for make in action:
                pack = make()
                new, found = expected.append(pack)
                should[-1].append(new)
                points += [(pack.node, pack.boot, found)] if found else []
        said = self._commit(actions, event)
        if failing:
            assert said == [None] * len(should)
        else:
            assert said == should
            self.known = expected
            self.points += points
        assert self.reader is not None
        assert on_disk(self.reader, SMALL).all() == self.known.all()

    def _commit(self, actions: list[Any], event: str) -> list[list[bool] | None]:
        """What one group says about its packs; all actions wait for the writer, so that they come in one group."""
        busy, free, done = threading.Event(), threading.Event(), threading.Event()

        def occupy(_connection: sqlite3.Connection) -> None:
            busy.set()
            assert free.wait(60)

        def fail(_connection: sqlite3.Connection) -> None:
            self.failing = event == "failing flush"
            if event == "failing change":
                raise sqlite3.OperationalError("disk I/O error")

        blocked = self.database.run(occupy)
        assert busy.wait(60)
        said: list[list[bool] | None] = []
        for action in actions:
            if isinstance(action, str):
                self.spool.forget_node(action)
            else:
                self.spool.append_all([make() for make in action], NOW, lambda news, _error: said.append(news))
        self.database.submit(
            fail, lambda _result, _error: done.set()
        )  # the last of the group, answered after the others
        free.set()
        blocked.result(60)
        assert done.wait(60)
        self.failing = False
        return said

    def assert_rows(self) -> None:
        """The points in the spool are the model's."""
        assert self.reader is not None
        assert [(row.node, row.boot, row.readings) for row in read_after(self.reader, 0, 100_000)] == self.points


def a_pack(node: str, boot: int, seq: int, form: Form, raw: int, at: int, *, columns: bool) -> Callable[[], Pack]:
    """Makes the pack anew each time: who reads it may turn its columns into readings."""

    def make() -> Pack:
        counted = form.counted or ()
        step = 1 if at % 2 else -1
        times = [NOW + at + step * place for place in range(len(form.names))]
        values = tuple(raw + place if place in counted else float(raw) for place in range(len(form.names)))
        if columns:
            return Pack(node, boot, seq, counted=form.counted, columns=Columns.of(form, times, values))
        return Pack(node, boot, seq, list(map(Reading, form.names, times, values)))

    return make


def packs(nodes: str, boots: st.SearchStrategy[int]) -> st.SearchStrategy[Callable[[], Pack]]:
    """Packs of few nodes, numbers and moments: many are there twice, late, or leave holes."""
    node, form = st.sampled_from(nodes), st.sampled_from(FORMS)
    return st.builds(
        a_pack, node, boots, st.integers(0, 9), form, st.integers(0, 20), st.integers(0, 30), columns=st.booleans()
    )


@st.composite
def runs(draw: st.DrawFn, nodes: str, boots: st.SearchStrategy[int]) -> list[Callable[[], Pack]]:
    """Packs as they really come: of one node and boot, in order."""
    node, boot, form = draw(st.sampled_from(nodes)), draw(boots), draw(st.sampled_from(FORMS))
    first = draw(st.integers(0, 12))
    return [
        a_pack(node, boot, seq, form, seq, 5 * seq, columns=True)
        for seq in range(first, first + draw(st.integers(1, 5)))
    ]


EVENTS = st.sampled_from(["commit"] * 15 + ["failing flush", "failing change", "restart"])
ANY_BOOT = st.integers(0, 6)
ONE_BOOT = st.just(1)
"""A group with a new boot writes everything: without any, the tables follow in parts."""
NODE = st.sampled_from("ab")
SOME = st.lists(packs("ab", ANY_BOOT), max_size=4) | runs("abc", ANY_BOOT)
WILD = st.lists(SOME | SOME | SOME | NODE, min_size=1, max_size=3)
FEW = st.lists(packs("abcdef", ONE_BOOT), max_size=3) | runs("abcdef", ONE_BOOT)
CALM = st.lists(FEW | FEW | FEW | FEW | FEW | FEW | NODE, min_size=1, max_size=1)


def play(path: Path, groups: list[tuple[list[Any], str]]) -> None:
    """Let groups come; with each the disk is compared with the model (`Plant.group`)."""
    plant = Plant(path)
    try:
        for actions, event in groups:
            plant.group(actions, event)
            if event == "restart":
                plant.close()
                plant.open()
        plant.assert_rows()
    finally:
        plant.close()


EXAMPLES = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@EXAMPLES
@given(groups=st.lists(st.tuples(WILD, EVENTS), min_size=5, max_size=25))
def test_after_each_commit_the_disk_says_what_the_model_says(tmp_path: Path, groups: list[Any]) -> None:
    play(tmp_path / f"{time.monotonic_ns()}.sqlite3", groups)


@EXAMPLES
@given(groups=st.lists(st.tuples(CALM, EVENTS), min_size=10, max_size=40))
def test_the_same_while_the_tables_follow_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: list[Any]
) -> None:
    monkeypatch.setattr(taken_module, "MOST_CACHED", 1000)
    monkeypatch.setattr(taken_module, "MOST_BEHIND", 8)
    first = [a_pack(node, 1, 0, FORMS[1], 0, 0, columns=True) for node in "abcdef"]
    play(tmp_path / f"{time.monotonic_ns()}.sqlite3", [([first], "commit"), *groups])


@pytest.mark.parametrize("event", ["failing change", "failing flush", "restart"])
def test_a_failure_at_each_moment_of_a_round_of_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    monkeypatch.setattr(taken_module, "MOST_CACHED", 1000)
    monkeypatch.setattr(taken_module, "MOST_BEHIND", 8)

    def packs_of(nodes: str, seq: int) -> list[Callable[[], Pack]]:
        return [a_pack(node, 1, seq, FORMS[1], seq, 5 * seq, columns=True) for node in nodes]

    for before in range(14):  # groups of one pack: of six nodes, two are written with each as soon as they are due
        groups = [([packs_of("abcdef", 0)], "commit")]
        groups += [([packs_of("abcdef"[number % 6], 1 + number // 6)], "commit") for number in range(before)]
        groups += [([packs_of("abcdef", 9)], event), ([packs_of("abcdef", 7)], "commit")]
        play(tmp_path / f"{before}.sqlite3", groups)


def test_nodes_that_were_silent_for_longest_leave_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taken_module, "MOST_CACHED", 20)  # a node has a boot and a total: ten nodes
    monkeypatch.setattr(taken_module, "MOST_BEHIND", 3)
    plant = Plant(tmp_path / "spool.sqlite3")

    def send(seq: int, nodes: list[int]) -> None:
        plant.group([[a_pack(f"n{node}", 1, seq, FORMS[0], seq, seq, columns=True) for node in nodes]])

    for node in range(10):
        send(0, [node])
    for seq in range(1, 4):
        send(seq, [*range(6), 9])  # 6, 7 and 8 are silent
    send(0, [10])  # too many
    asked: list[str] = []
    plant.database.run(lambda connection: connection.set_trace_callback(asked.append)).result(60)
    send(4, [*range(6), 9, 10])
    assert not [query for query in asked if query.startswith("SELECT seen")], "they are in memory"
    for node in (6, 7):
        send(4, [node])
    assert len([query for query in asked if query.startswith("SELECT seen")]) == 2, "they were not"
    plant.assert_rows()
    plant.close()


def test_boots_that_are_too_old_leave_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taken_module, "MOST_CACHED", 20)
    plant = Plant(tmp_path / "spool.sqlite3")

    def send(node: str, boot: int, seq: int) -> None:
        plant.group([[a_pack(node, boot, seq, FORMS[0], seq, seq, columns=True)]])

    for node in "abcd":
        send(node, 1, 0)
    for boot in range(40):
        send("e", boot, 0)
    asked: list[str] = []
    plant.database.run(lambda connection: connection.set_trace_callback(asked.append)).result(60)
    for node in "abcd":
        send(node, 1, 1)
    assert not [query for query in asked if query.startswith("SELECT seen")], "three boots of e pushed them out"
    plant.close()


def test_the_first_group_after_a_start_writes_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taken_module, "MOST_CACHED", 1000)
    monkeypatch.setattr(taken_module, "MOST_BEHIND", 1000)
    plant = Plant(tmp_path / "spool.sqlite3")
    waiting = []
    for seq in range(6):
        plant.group([[a_pack("a", 1, seq, FORMS[0], seq, seq, columns=True)]])
        assert plant.reader is not None
        waiting.append(plant.reader.execute("SELECT count(*) FROM taken").fetchone()[0])
        if seq == 2:
            plant.close()
            plant.open()
    assert waiting == [0, 1, 2, 0, 1, 2], "else each start would have more to apply again than the one before"
    plant.close()
