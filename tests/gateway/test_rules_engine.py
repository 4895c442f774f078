"""Rules on the real spool and its SQLite file, under a simulated clock: restarts, failing commits, versions, actions."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gateway.rules_plant import HIGH, NODE, SILENT, T0, Plant
from gateway.rules_reference import events as expected_events
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from andon_gateway.rules.document import RulesError
from andon_gateway.rules.evaluation import Memory, Transition, take
from andon_gateway.senml.pack import Pack, Reading
from andon_gateway.spool.database import open_database, open_reader
from andon_gateway.spool.spool import read_after
from andon_gateway.uplink.lineprotocol import Asset, render

if TYPE_CHECKING:
    from andon_gateway.rules.document import SampleRule


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
    plant.use(
        2,
        {**kept, "description": "another text is the same rule", "deadband": 0, "action": None},
        {**changed, "setpoint": 85},
    )
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


# --- the end of a node ---------------------------------------------------------------------------------------------------
def test_a_forgotten_node_leaves_nothing(plant: Plant) -> None:
    plant.use(1, HIGH)
    plant.take((T0, 81.0), node="press-8")
    plant.spool.forget_node("press-8")
    plant.settle()
    reader = open_reader(plant.path)
    assert reader.execute("SELECT count(*) FROM rule_memory").fetchone() == (0,)
    reader.close()
    assert plant.rules.counts.active == 0
