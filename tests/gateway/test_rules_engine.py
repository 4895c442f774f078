"""Rules on the real spool and its SQLite file, under a simulated clock: restarts, failing commits, versions, actions."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gateway.rules_reference import events as expected_events
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from andon_gateway.commands import CommandStore, Execution, RelayCommand
from andon_gateway.database import GroupCommit, open_database, open_reader
from andon_gateway.lineprotocol import Asset, render
from andon_gateway.rules.actions import RelayActions
from andon_gateway.rules.document import RulesError
from andon_gateway.rules.engine import EdgeRules
from andon_gateway.rules.evaluation import Memory, Transition, take
from andon_gateway.senml import Pack, Reading
from andon_gateway.spool import Spool, read_after

if TYPE_CHECKING:
    from collections.abc import Iterator

    from andon_gateway.rules.document import SampleRule

T0 = 1_764_000_000_000
LIMIT_S = 60
NODE = "press-7"
HIGH = {
    "id": "hot",
    "type": "high",
    "nodes": ["press-*"],
    "channel": "temperature/0",
    "setpoint": 80,
    "priority": "high",
}
SILENT = {
    "id": "silent",
    "type": "no-data",
    "nodes": [NODE],
    "channel": "temperature/0",
    "timeout_s": 60,
    "priority": "low",
}
OPEN = {"relay": 0, "state": False, "lease_s": 100}


class Plant:
    """One gateway's disk with spool and rules; every method returns when its change is durable or refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now_ms = T0
        self.nodes = {NODE}
        self.issued: list[RelayCommand] = []
        self.fail = False
        self.seq = 0
        self.open()

    def open(self) -> None:
        self.database = GroupCommit(self.path, lambda call: call())
        with open_reader(self.path) as reader:
            actions = RelayActions("gateway-1", 30_000, lambda node: node in self.nodes)
            self.rules = EdgeRules(self.database, reader, actions, 5000, lambda: self.now_ms)
        reader.close()
        self.spool = Spool(self.database, observe=self.rules.observe)
        self.rules.put = self.spool.put
        self.spool.on_forget.append(self.rules.forget_node)
        self.rules.on_commands = self.issued.extend
        self.database.before_commit.append(self._fail)
        self.database.start()

    def _fail(self, _connection: sqlite3.Connection) -> None:
        if self.fail:
            self.fail = False
            raise sqlite3.OperationalError("database or disk is full")

    def restart(self) -> None:
        self.database.close()
        self.open()

    def close(self) -> None:
        self.database.close()

    def use(self, version: int, *rules: dict[str, Any]) -> None:
        text = json.dumps({"version": version, "rules": rules})
        self.rules.replace(text, f'"{version}"').result(LIMIT_S)

    def take(
        self, *readings: tuple[int, float], seq: int | None = None, node: str = NODE, late_ms: int = 0
    ) -> bool | None:
        """A pack of temperatures; None: the disk did not take it."""
        if seq is None:
            self.seq += 1
            seq = self.seq
        answer: Future[bool | None] = Future()
        pack = Pack(node, 1, seq, [Reading("temperature/0", time_ms, value) for time_ms, value in readings])
        self.now_ms = max(self.now_ms, *(time_ms for time_ms, _ in readings)) + late_ms
        self.spool.append(pack, self.now_ms, lambda new, _error: answer.set_result(new))
        return answer.result(LIMIT_S)

    def settle(self) -> None:
        self.database.run(lambda _connection: None).result(LIMIT_S)

    def look(self, now_ms: int) -> None:
        """The gateway's clock shows `now_ms`; act as the app does."""
        self.now_ms = now_ms
        if self.now_ms >= self.rules.due_ms:
            self.database.run(self.rules.check).result(LIMIT_S)

    def events(self, node: str = NODE) -> list[tuple[str, int, dict[str, Any]]]:
        reader = open_reader(self.path)
        try:
            rows = [row for row in read_after(reader, 0, 100_000) if row.node == node]
        finally:
            reader.close()
        return [(str(r[0]), int(str(r[1])), r[2]) for row in rows for r in row.readings if isinstance(r[2], dict)]

    def told(self) -> list[tuple[int, bool]]:
        return [(time_ms - T0, fields["active"]) for _, time_ms, fields in self.events()]


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    opened = Plant(tmp_path / "gateway.sqlite3")
    yield opened
    opened.close()


# --- exactly once, whatever happens -------------------------------------------------------------------------------------
class RestartsAndRepeats(RuleBasedStateMachine):
    """Readings are taken once, with repeats, restarts and failing commits in between: the events are the reference's."""

    @initialize(
        kind=st.sampled_from(["high", "low", "rate-of-change", "stuck"]),
        on_delay_s=st.sampled_from([0, 1, 3]),
        off_delay_s=st.sampled_from([0, 1, 3]),
        deadband=st.sampled_from([0, 1]),
    )
    def begin(self, kind: str, on_delay_s: int, off_delay_s: int, deadband: int) -> None:
        delays = {"on_delay_s": on_delay_s, "off_delay_s": off_delay_s}
        own = {
            "rate-of-change": {"setpoint": 30, "window_s": 4},
            "stuck": {"duration_s": 2, **delays},
            "high": {"setpoint": 2, **delays},
            "low": {"setpoint": 0, **delays},
        }[kind]
        common = {key: value for key, value in HIGH.items() if key != "setpoint"}
        self.rule: dict[str, Any] = {**common, "type": kind, "deadband": deadband, **own}
        self.folder = Path(tempfile.mkdtemp())
        self.plant = Plant(self.folder / "gateway.sqlite3")
        self.plant.use(1, self.rule)
        self.time_ms = T0
        self.taken: list[tuple[int, float]] = []
        self.last: list[tuple[int, float]] = []
        self.version = 1

    @rule(
        moves=st.lists(
            st.tuples(
                st.sampled_from([500, 1000, 1000, 2500, 7000]), st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
            ),
            min_size=1,
            max_size=4,
        )
    )
    def pack(self, moves: list[tuple[int, float]]) -> None:
        self.last = []
        for step_ms, value in moves:
            self.time_ms += step_ms
            self.last.append((self.time_ms, value))
        assert self.plant.take(*self.last) is True
        self.taken += self.last

    @rule()
    def repeated(self) -> None:
        if self.last:
            assert self.plant.take(*self.last, seq=self.plant.seq) is False

    @rule()
    def late(self) -> None:
        """An old reading in a new pack."""
        if self.taken:
            sample = (self.taken[0][0], 3.0)
            assert self.plant.take(sample) is True
            self.taken.append(sample)

    @rule(value=st.sampled_from([-2.0, 1.0, 3.0]))
    def not_committed(self, value: float) -> None:
        """The disk fails, the node repeats."""
        self.time_ms += 1000
        self.last = [(self.time_ms, value)]
        self.plant.fail = True
        assert self.plant.take(*self.last) is None
        assert self.plant.take(*self.last, seq=self.plant.seq) is True
        self.taken += self.last

    @rule()
    def restart(self) -> None:
        self.plant.restart()

    @rule()
    def another_version_with_the_same_rule(self) -> None:
        self.version += 1
        self.plant.use(self.version, self.rule, {**HIGH, "id": f"other-{self.version}", "nodes": ["mill-1"]})

    @invariant()
    def events_are_those_of_the_reference(self) -> None:
        if hasattr(self, "plant"):
            found = [(time_ms, fields["active"], fields["value"]) for _, time_ms, fields in self.plant.events()]
            assert found == expected_events(self.rule, self.taken)

    def teardown(self) -> None:
        if hasattr(self, "plant"):
            self.plant.close()
            shutil.rmtree(self.folder)


TestRestartsAndRepeats = RestartsAndRepeats.TestCase
TestRestartsAndRepeats.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


# --- what stands in the spool -------------------------------------------------------------------------------------------
def test_an_event_lies_with_its_pack_and_becomes_a_line(plant: Plant) -> None:
    plant.use(1, HIGH)
    plant.take((T0, 79.0), (T0 + 1000, 81.5))
    reader = open_reader(plant.path)
    (row,) = read_after(reader, 0, 10)
    reader.close()
    place = Asset("demo", "a 1", "l1", "m7")
    assert render(row.node, row.boot, place, row.readings)[-1] == (
        "alarm,area=a\\ 1,channel=0,line=l1,machine=m7,node=press-7,rule=hot,site=demo "
        f'active=true,priority=2i,quantity="temperature",setpoint=80.0,type="high",value=81.5 {T0 + 1000}'
    )
    assert [reading[0] for reading in row.readings] == ["temperature/0", "temperature/0", "alarm/hot/temperature/0"]


def test_several_rules_channels_and_nodes_are_told_apart(plant: Plant) -> None:
    urgent = {**HIGH, "id": "hotter", "type": "high-high", "setpoint": 90, "priority": "urgent"}
    plant.use(1, HIGH, urgent, {**HIGH, "id": "elsewhere", "nodes": ["oven-?"], "channel": "temperature/*"})
    plant.take((T0, 85.0))
    plant.take((T0, 95.0), node="press-8")
    plant.take((T0, 95.0), node="oven-1")
    plant.take((T0, 95.0), node="oven-11")
    assert [name for name, _, _ in plant.events()] == ["alarm/hot/temperature/0"]
    assert [name for name, _, _ in plant.events("press-8")] == ["alarm/hot/temperature/0", "alarm/hotter/temperature/0"]
    assert [name for name, _, _ in plant.events("oven-1")] == ["alarm/elsewhere/temperature/0"]
    assert plant.events("oven-11") == []
    assert plant.rules.counts.active == 4
    plant.restart()
    assert plant.rules.counts.active == 4


def test_a_backlog_is_judged_by_its_own_time_and_a_clock_ahead_is_set_right(plant: Plant) -> None:
    plant.use(1, {**HIGH, "on_delay_s": 60})
    plant.take(*[(T0 + second * 1000, 81.0) for second in range(0, 100, 20)], late_ms=7_200_000)
    assert plant.told() == [(60_000, True)]
    # The node's clock jumps a day ahead and comes back: the rule is not blind for a day.
    now = plant.now_ms
    pack = Pack(NODE, 2, 0, [Reading("temperature/0", now + 86_400_000, 20.0)])
    plant.spool.append(pack, now, lambda _new, _error: None)
    plant.settle()
    assert plant.told() == [(60_000, True), (now + 5000 - T0, False)]
    plant.take((now + 10_000, 81.0), (now + 70_000, 81.0))
    assert plant.told()[2:] == [(now + 70_000 - T0, True)]


def test_a_fault_in_a_rule_costs_no_reading(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.use(1, HIGH, {**HIGH, "id": "other", "type": "low"})

    def broken(rule: SampleRule, memory: Memory, time_ms: int, value: float) -> Transition | None:
        if rule.id == "hot":
            raise ZeroDivisionError
        return take(rule, memory, time_ms, value)

    monkeypatch.setattr("andon_gateway.rules.engine.take", broken)
    assert plant.take((T0, 20.0)) is True
    assert [name for name, _, _ in plant.events()] == ["alarm/other/temperature/0"]
    assert plant.rules.counts.errors == 1


# --- versions -----------------------------------------------------------------------------------------------------------
def test_a_bad_version_never_replaces_a_good_one(plant: Plant) -> None:
    plant.use(1, HIGH)
    for text in ("{", json.dumps({"version": 2, "rules": [{**HIGH, "setpoint": "80"}]})):
        with pytest.raises(RulesError):
            plant.rules.replace(text, '"2"')
    assert (plant.rules.version, plant.rules.etag, plant.rules.counts.refused_documents) == (1, '"1"', 2)
    plant.restart()
    assert (plant.rules.version, len(plant.rules)) == (1, 1)
    plant.take((T0, 90.0))
    assert plant.told() == [(0, True)]


def test_a_version_that_could_not_be_written_is_not_in_force(plant: Plant) -> None:
    plant.use(1, HIGH)
    plant.take((T0, 90.0))
    plant.fail = True
    with pytest.raises(Exception, match="disk is full"):
        plant.use(2, {**HIGH, "setpoint": 100})
    assert plant.rules.version == 1
    plant.take((T0 + 1000, 79.0))
    assert plant.told() == [(0, True), (1000, False)]


def test_a_new_version_keeps_what_is_the_same_and_ends_what_is_not(plant: Plant) -> None:
    kept = {**HIGH, "on_delay_s": 10}
    changed, gone = {**HIGH, "id": "changed"}, {**HIGH, "id": "gone"}
    plant.use(1, kept, changed, gone)
    plant.take((T0, 90.0))
    plant.now_ms = T0 + 500
    plant.use(2, {**kept, "description": "another text is the same rule"}, {**changed, "setpoint": 85})
    plant.restart()
    plant.take((T0 + 5000, 90.0), (T0 + 10_000, 90.0))
    found: dict[str, list[tuple[int, bool]]] = {}
    for name, time_ms, fields in plant.events():
        found.setdefault(name.split("/")[1], []).append((time_ms - T0, fields["active"]))
    assert found == {
        "hot": [(10_000, True)],  # its delay went on through the new version
        "changed": [(0, True), (500, False), (5000, True)],
        "gone": [(0, True), (500, False)],
    }


def test_rules_on_disk_that_a_newer_gateway_wrote(plant: Plant) -> None:
    plant.use(1, HIGH)
    plant.close()
    connection = open_database(plant.path)
    connection.execute("UPDATE rule_document SET text = replace(text, 'high', 'higher')")
    connection.close()
    plant.open()
    assert (plant.rules.version, plant.rules.etag) == (0, ""), "so the cloud's will be pulled again"
    assert plant.take((T0, 90.0)) is True
    plant.use(2, HIGH)
    plant.take((T0 + 1000, 90.0))
    assert plant.told() == [(1000, True)]


# --- no-data ------------------------------------------------------------------------------------------------------------
def test_silence_is_noticed_once_also_across_a_restart(plant: Plant) -> None:
    plant.use(1, SILENT)
    plant.take((T0, 20.0))
    plant.look(T0 + 59_999)
    assert plant.told() == []
    plant.look(T0 + 61_000)
    plant.look(T0 + 62_000)
    plant.restart()
    plant.look(T0 + 200_000)
    assert plant.told() == [(60_000, True)]
    plant.take((T0 + 201_000, 20.0))
    assert plant.told() == [(60_000, True), (201_000, False)]
    plant.look(T0 + 261_000)
    assert plant.told()[2:] == [(261_000, True)]


def test_a_named_node_is_awaited_and_an_unknown_one_is_not(plant: Plant) -> None:
    plant.nodes.clear()
    plant.use(1, SILENT)
    plant.look(T0 + 100_000)
    assert plant.told() == [], "the registry does not know it"
    plant.nodes.add(NODE)
    plant.rules.recheck()
    plant.look(T0 + 101_000)
    assert plant.told() == [(60_000, True)]


def test_between_time_outs_the_clock_costs_no_commit(plant: Plant) -> None:
    plant.use(1, SILENT)
    plant.take((T0, 20.0))
    plant.look(T0 + 1000)
    commits = plant.database.commits
    for second in range(2, 60):
        plant.look(T0 + second * 1000)
    assert plant.database.commits == commits


# --- relay actions ------------------------------------------------------------------------------------------------------
def wanted(command: RelayCommand) -> tuple[str, int, bool, int]:
    return command.node, command.relay, command.state, command.lease_s


def test_an_alarm_switches_and_renews_the_lease_while_it_is_active(plant: Plant) -> None:
    plant.use(1, {**HIGH, "action": OPEN})
    for second in range(0, 120, 10):
        plant.take((T0 + second * 1000, 81.0))
    assert [wanted(command) for command in plant.issued] == [(NODE, 0, False, 100)] * 3  # at 0, 50 and 100 s
    assert [command.expires_ms - T0 for command in plant.issued] == [30_000, 80_000, 130_000]
    assert len({command.id for command in plant.issued}) == 3
    plant.take((T0 + 200_000, 79.0))
    plant.take((T0 + 300_000, 79.0))
    assert len(plant.issued) == 3, "nothing is renewed after the return to normal"
    store = CommandStore(plant.database)
    reports = store.pending_reports(10).result(LIMIT_S)
    assert [report.state for report in reports] == ["sent"] * 3
    command, origin = reports[0].declared or (None, None)
    assert command == plant.issued[0]
    assert origin is not None
    assert (origin.rule, origin.reason) == ("hot", "alarm of high at press-7 temperature/0")
    assert store.open_commands().result(LIMIT_S) == plant.issued


def test_an_old_reading_raises_its_alarm_and_switches_nothing(plant: Plant) -> None:
    plant.use(1, {**HIGH, "action": OPEN})
    plant.take((T0, 81.0), late_ms=30_001)
    assert plant.told() == [(0, True)]
    assert plant.issued == []
    assert plant.rules.action_counts == {"too-old": 1}
    plant.take((plant.now_ms - 1000, 82.0))
    assert len(plant.issued) == 1, "still active by a fresh reading"


def test_only_known_nodes_are_switched(plant: Plant) -> None:
    plant.use(1, {**HIGH, "action": {**OPEN, "node": "mill-1"}})
    plant.take((T0, 81.0))
    assert plant.issued == []
    plant.nodes.add("mill-1")
    plant.take((T0 + 1000, 81.0))
    assert [command.node for command in plant.issued] == ["mill-1"]


def test_an_action_that_was_not_committed_is_not_executed(plant: Plant) -> None:
    plant.use(1, {**HIGH, "action": OPEN})
    plant.fail = True
    assert plant.take((T0, 81.0)) is None
    assert plant.issued == []
    plant.take((T0, 81.0), seq=plant.seq)
    assert len(plant.issued) == 1


@pytest.mark.parametrize(("result", "again_ms"), [("expired", 1000), ("failed", 30_000), ("acknowledged", 50_000)])
def test_what_did_not_switch_is_tried_again_while_the_alarm_is_active(plant: Plant, result: Any, again_ms: int) -> None:
    plant.use(1, {**HIGH, "action": OPEN})
    plant.take((T0, 81.0))
    plant.rules.command_ended(plant.issued[0], Execution(result, None, ""))
    plant.settle()
    for second in range(1, 60):
        plant.take((T0 + second * 1000, 81.0))
        if len(plant.issued) == 2:
            break
    assert plant.now_ms - T0 == again_ms


def test_a_silent_node_can_switch_another_ones_relay(plant: Plant) -> None:
    plant.nodes.add("beacon-1")
    plant.use(1, {**SILENT, "action": {**OPEN, "node": "beacon-1", "state": True}})
    plant.take((T0, 20.0))
    for second in range(1, 200):
        plant.look(T0 + second * 1000)
    assert [wanted(command) for command in plant.issued] == [("beacon-1", 0, True, 100)] * 3  # at 60, 110 and 160 s
    assert plant.told() == [(60_000, True)]


def test_a_forgotten_node_leaves_nothing(plant: Plant) -> None:
    plant.use(1, HIGH)
    plant.take((T0, 81.0), node="press-8")
    plant.spool.forget_node("press-8")
    plant.settle()
    reader = open_reader(plant.path)
    assert reader.execute("SELECT count(*) FROM rule_memory").fetchone() == (0,)
    reader.close()
    assert plant.rules.counts.active == 0
