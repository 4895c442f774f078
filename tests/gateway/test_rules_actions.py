"""Relay actions of rules on the real spool and its SQLite file: when a command is issued, renewed, repeated, and when not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from gateway.rules_plant import HIGH, LIMIT_S, NODE, OPEN, SILENT, T0, Plant

from andon_gateway.commands.queue import CommandStore, Execution

if TYPE_CHECKING:
    from andon_gateway.commands.queue import RelayCommand


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


def test_a_clock_that_is_set_back_does_not_blind_a_rule(plant: Plant) -> None:
    """The gateway came up an hour ahead, then reached a time server; the nodes' clocks follow it."""
    plant.use(1, {**HIGH, "action": OPEN})
    plant.take((T0 + 3_600_000, 81.0))
    assert len(plant.issued) == 1
    plant.now_ms = T0
    plant.take((T0 + 1000, 82.0))
    assert len(plant.issued) == 2, "the lease of an active alarm is renewed, as nobody knows how old it is"
    assert plant.told() == [(3_600_000, True)]
    plant.take((T0 + 2000, 79.0))
    plant.take((T0 + 3000, 83.0))
    times, states = zip(*plant.told(), strict=True)
    assert states == (True, False, True)
    assert list(times) == sorted(set(times)), "the newest point of the store is the present state"


def test_a_clock_that_is_set_back_does_not_hide_a_silence(plant: Plant) -> None:
    plant.now_ms = T0 + 3_599_000
    plant.use(1, {**SILENT, "action": OPEN})
    plant.take((T0 + 3_600_000, 20.0))
    plant.look(T0 + 3_601_000)
    plant.rules.recheck()  # as the app does when it sees its clock go back
    plant.look(T0 + 1000)
    assert plant.told() == []
    plant.look(T0 + 62_000)
    assert plant.told() == [(61_000, True)]
    assert len(plant.issued) == 1
