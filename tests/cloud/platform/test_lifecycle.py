"""The command's life as a state machine: pure rules, and the service held against a model on a real database."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from andon_cloud.commands.confirmation import CLOCK_TOLERANCE_MS, Awaited, Readings, earliest_proof_ms
from andon_cloud.commands.lifecycle import FINAL, OPEN, REPORT_GRACE_MS, CommandStatus, may_step, overdue
from andon_cloud.commands.offers import mark_offered
from andon_cloud.commands.schemas import CommandHistory, CommandIn, CommandReport
from andon_cloud.commands.service import Commands
from andon_cloud.db.engine import Database
from andon_cloud.gateways.notifier import Notifier
from andon_cloud.registry.schemas import MachineIn, NodeIn
from andon_cloud.registry.service import Registry
from andon_cloud.telemetry.relay_readings import RelayReading

S = CommandStatus
statuses = st.sampled_from(list(CommandStatus))


def test_the_table_is_the_protocol_s() -> None:
    allowed = {(a, b) for a in CommandStatus for b in CommandStatus if may_step(a, b)}
    assert allowed == {
        (S.QUEUED, S.SENT),
        (S.QUEUED, S.ACKNOWLEDGED),
        (S.QUEUED, S.EXPIRED),
        (S.QUEUED, S.FAILED),
        (S.SENT, S.ACKNOWLEDGED),
        (S.SENT, S.EXPIRED),
        (S.SENT, S.FAILED),
        (S.ACKNOWLEDGED, S.CONFIRMED),
        (S.ACKNOWLEDGED, S.FAILED),
    }


@given(st.lists(statuses, max_size=20))
def test_no_sequence_of_reports_goes_back_or_leaves_a_final_status(reports: list[CommandStatus]) -> None:
    status, seen = S.QUEUED, [S.QUEUED]
    for report in reports:
        if may_step(status, report):
            assert status not in FINAL
            status = report
            seen.append(status)
    assert len(seen) == len(set(seen))
    assert not {S.EXPIRED, S.ACKNOWLEDGED} <= set(seen), "an expired command was executed"


@given(
    status=statuses,
    now_ms=st.integers(0, 400_000),
    expires_ms=st.integers(0, 200_000),
    updated_ms=st.integers(0, 200_000),
    offered=st.booleans(),
)
def test_the_cloud_s_own_verdict_is_a_legal_step_and_expires_only_what_nobody_was_offered(
    status: CommandStatus, now_ms: int, expires_ms: int, updated_ms: int, *, offered: bool
) -> None:
    verdict = overdue(
        status,
        now_ms=now_ms,
        expires_ms=expires_ms,
        updated_ms=updated_ms,
        offered=offered,
        confirm_timeout_ms=100_000,
    )
    if verdict is None:
        return
    assert may_step(status, verdict[0])
    if verdict[0] is S.EXPIRED:
        assert not offered
        assert now_ms >= expires_ms
    elif status is not S.ACKNOWLEDGED:
        assert now_ms >= expires_ms + REPORT_GRACE_MS


@pytest.mark.parametrize(
    ("sent_ms", "acknowledged_ms", "earliest_ms"),
    [
        (100_000, 100_040, 100_000 - CLOCK_TOLERANCE_MS),  # never older than the gateway's having it
        (None, 100_000, 55_000 - CLOCK_TOLERANCE_MS),  # else RFC 7252's MAX_TRANSMIT_SPAN before the answer
        (10_000, 100_000, 55_000 - CLOCK_TOLERANCE_MS),
        (200_000, 100_000, 100_000 - CLOCK_TOLERANCE_MS),  # a broken `sent` does not make proof impossible
    ],
)
def test_how_old_a_proof_may_be(sent_ms: int | None, acknowledged_ms: int, earliest_ms: int) -> None:
    assert earliest_proof_ms(sent_ms=sent_ms, acknowledged_ms=acknowledged_ms) == earliest_ms


readings = st.builds(
    RelayReading,
    machine=st.just("m"),
    node=st.just("n"),
    channel=st.integers(0, 1),
    on=st.booleans(),
    time_ms=st.integers(0, 20),
)


@given(
    seen=st.lists(readings, max_size=8), position=st.integers(0, 8), on=st.booleans(), not_before_ms=st.integers(0, 20)
)
def test_the_order_of_readings_and_acknowledgement_does_not_matter(
    *, seen: list[RelayReading], position: int, on: bool, not_before_ms: int
) -> None:
    item = Awaited("c", "g", "n", 0, on, not_before_ms)
    memory = Readings()
    # What another gateway says about the same node neither proves nor hides anything.
    assert memory.saw("other", seen[:position]) == []
    proved = bool(memory.saw("g", seen[:position])) or memory.wait_for(item)
    assert memory.saw("other", seen) == []
    proofs = memory.saw("g", seen[position:])
    assert not (proved and proofs), "proved twice"
    expected = any(one.channel == 0 and one.on is on and one.time_ms >= not_before_ms for one in seen)
    assert (proved or bool(proofs)) is expected
    assert (item in memory.waiting()) is not expected


class CommandOnADatabase(RuleBasedStateMachine):
    """Reports, readings, sweeps and time in any order; the model is the table above."""

    ORDER: ClassVar = [S.QUEUED, S.SENT, S.ACKNOWLEDGED]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="andon-test-")
        self.now_ms = 1_000_000
        self.runner.run(self._start())
        self.status = S.QUEUED
        self.offered = False
        self.before: CommandHistory | None = None
        self.checked = True

    async def _start(self) -> None:
        self.database = Database(f"sqlite:///{Path(self.folder.name) / 'db.sqlite'}")
        await self.database.upgrade()
        notifier = Notifier()
        registry = Registry(self.database, notifier, lambda: self.now_ms)
        await registry.bootstrap({"g": "t"})
        await registry.add_machine(MachineIn(id="m", name="m", site="s", area="a", line="l"))
        await registry.add_node(NodeIn(id="n", machine_id="m", gateway_id="g"))
        self.commands = Commands(self.database, notifier, lambda: self.now_ms, confirm_timeout_ms=30_000)
        wanted = CommandIn(state=True, lease_s=60, reason="r", expires_s=10)
        self.id = (await self.commands.issue("m", 0, wanted, actor="api")).id

    def teardown(self) -> None:
        self.runner.run(self.database.close())
        self.runner.close()
        self.folder.cleanup()

    def _step(self, wanted: CommandStatus) -> None:
        if may_step(self.status, wanted):
            self.status = wanted

    @rule()
    def offer(self) -> None:
        async def mark() -> set[str]:
            async with self.database.writing() as session:
                return await mark_offered(session, [self.id], self.now_ms)

        marked = self.runner.run(mark())
        assert bool(marked) is (self.status is S.QUEUED and self.now_ms < 1_010_000)
        self.offered = self.offered or bool(marked)

    @rule(state=st.sampled_from([S.SENT, S.ACKNOWLEDGED, S.EXPIRED, S.FAILED]), detail=st.text(max_size=5))
    def report(self, state: CommandStatus, detail: str) -> None:
        report = CommandReport.model_validate(
            {"state": state.value, "at_ms": self.now_ms, "contact": None, "detail": detail}
        )
        self.runner.run(self.commands.report("g", self.id, report))
        self._step(state)

    @precondition(lambda self: self.status is S.ACKNOWLEDGED)
    @rule(on=st.booleans())
    def reading(self, *, on: bool) -> None:
        self.runner.run(self.commands.saw_readings("g", [RelayReading("m", "n", 0, on, self.now_ms)]))
        if on:
            self._step(S.CONFIRMED)

    @rule(seconds=st.sampled_from([1, 9, 40, 100]))
    def time_passes_and_the_sweeper_runs(self, seconds: int) -> None:
        self.now_ms += seconds * 1000
        before = self._now()
        updated_ms = max(entry.recorded_ms for entry in before.audit if entry.applied)
        verdict = overdue(
            self.status,
            now_ms=self.now_ms,
            expires_ms=before.expires_ms,
            updated_ms=updated_ms,
            offered=self.offered,
            confirm_timeout_ms=30_000,
        )
        self.runner.run(self.commands.sweep())
        if verdict is not None:
            self._step(verdict[0])

    def _now(self) -> CommandHistory:
        return self.runner.run(self.commands.get(self.id))

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        now = self._now()
        assert now.status is self.status
        assert now.times.keys() == {entry.status for entry in now.audit if entry.applied}
        assert (now.status in OPEN) == (not FINAL & now.times.keys())
        if self.before is not None:
            assert now.audit[: len(self.before.audit)] == self.before.audit, "the log was rewritten"
            assert now.times.items() >= self.before.times.items()
        self.before = now


TestCommandOnADatabase = CommandOnADatabase.TestCase
TestCommandOnADatabase.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
