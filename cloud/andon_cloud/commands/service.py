"""Issue relay commands, take in reports and readings, and decide about those that nobody reports on any more."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from andon_cloud.commands.confirmation import Awaited, Readings, earliest_proof_ms
from andon_cloud.commands.lifecycle import OPEN, CommandStatus, may_step, overdue
from andon_cloud.commands.metrics import CommandMetrics
from andon_cloud.commands.models import AuditEntry, Command
from andon_cloud.commands.schemas import (
    CommandHistory,
    CommandIn,
    CommandOut,
    CommandReport,
    DeclaredCommand,
)
from andon_cloud.orders.schemas import OrderAuditOut
from andon_cloud.orders.table import CLOUD, OrderTable, Step, time_column, times_of
from andon_cloud.problems import Problem, conflict, not_found
from andon_cloud.registry.models import Gateway, Machine, Node
from andon_cloud.telemetry.store import RangeQuery, StoreError, TelemetryStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from andon_cloud.db.engine import Database
    from andon_cloud.gateways.notifier import Notifier
    from andon_cloud.identifiers import Clock
    from andon_cloud.telemetry.relay_readings import RelayReading

# Readings further in the future than this are refused by the gateway (docs/protocol.md, The pack).
_CLOCK_AHEAD_MS = 86_400_000
NOTE_EVERY_MS = 60_000
NOTED_FOR_MS = 3_600_000
"""How often it is noted that a gateway writes relay readings through us, and for how long that is believed."""
_OPEN = sorted(status.value for status in OPEN)


COMMANDS = OrderTable(Command, AuditEntry, "command_id")


@dataclass(frozen=True, slots=True)
class CommandStep(Step[CommandStatus]):
    """A step with the contact as the node read it back, if it told."""

    contact: bool | None = None


@dataclass(frozen=True, slots=True)
class Commands:
    """The relay commands. Methods raise `Problem` 404, 409 and 422."""

    database: Database
    notifier: Notifier
    clock: Clock
    confirm_timeout_ms: int
    store: TelemetryStore | None = None
    metrics: CommandMetrics = field(default_factory=CommandMetrics)
    readings: Readings = field(default_factory=Readings)
    noted_ms: dict[str, int] = field(default_factory=dict)

    async def issue(
        self, machine_id: str, relay: int, wanted: CommandIn, *, actor: str, idempotency_key: str | None = None
    ) -> CommandOut:
        """Queue a command durably and wake its gateway.

        With an idempotency key seen before, the first command is returned for the same wish, 409 for another.
        """
        try:
            async with self.database.writing() as session:
                command, is_new = await self._queue(session, machine_id, relay, wanted, actor, idempotency_key)
        except IntegrityError:
            # Another process queued the same key between our look and our insert; now it is there to be found.
            async with self.database.writing() as session:
                command, is_new = await self._queue(session, machine_id, relay, wanted, actor, idempotency_key)
        if is_new:
            self.notifier.notify(command.gateway_id)
            self.metrics.stepped(command.status)
        return command_out(command)

    async def _queue(
        self, session: AsyncSession, machine_id: str, relay: int, wanted: CommandIn, actor: str, key: str | None
    ) -> tuple[Command, bool]:
        if key is not None:
            first = await session.scalar(select(Command).where(Command.idempotency_key == key))
            if first is not None:
                _same_wish(first, machine_id, relay, wanted)
                return first, False
        node = await session.scalar(select(Node).where(Node.machine_id == machine_id))
        if node is None:
            if await session.get(Machine, machine_id) is None:
                raise not_found("machine", machine_id)
            raise conflict(f"Machine {machine_id} has no node yet; register one with POST /api/v1/nodes.")
        now = self.clock()
        command = Command(
            id=str(uuid.uuid4()),
            machine_id=machine_id,
            node_id=node.id,
            gateway_id=node.gateway_id,
            relay=relay,
            **wanted.model_dump(),
            actor=actor,
            expires_ms=now + wanted.expires_s * 1000,
            idempotency_key=key,
            status=CommandStatus.QUEUED,
            queued_ms=now,
            updated_ms=now,
            detail="",
        )
        session.add(command)
        await session.flush()
        step = CommandStep(CommandStatus.QUEUED, actor, now, wanted.reason)
        session.add(COMMANDS.entry(command.id, step, now, applied=True))
        return command, True

    async def get(self, command_id: str) -> CommandHistory:
        """One command with its audit log."""
        async with self.database.reading() as session:
            command = await COMMANDS.get(session, command_id)
            if command is None:
                raise not_found("command", command_id)
            audit = [OrderAuditOut.model_validate(entry) for entry in await COMMANDS.history(session, command_id)]
        return CommandHistory(**command_out(command).model_dump(), audit=audit)

    async def of_machine(self, machine_id: str, limit: int = 50) -> list[CommandOut]:
        """The newest commands of a machine, newest first."""
        async with self.database.reading() as session:
            found = await session.scalars(
                select(Command).where(Command.machine_id == machine_id).order_by(Command.number.desc()).limit(limit)
            )
            commands = [command_out(command) for command in found]
            if not commands and await session.get(Machine, machine_id) is None:
                raise not_found("machine", machine_id)
            return commands

    async def report(self, gateway_id: str, command_id: str, report: CommandReport) -> None:
        """Take in what a gateway tells about one of its commands; repeated and late reports change nothing."""
        step = CommandStep(
            CommandStatus(report.state), f"gateway:{gateway_id}", report.at_ms, report.detail, report.contact
        )
        async with self.database.writing() as session:
            command = await COMMANDS.locked(session, command_id)
            if command is None or command.gateway_id != gateway_id:
                raise not_found("command", f"{command_id} for gateway {gateway_id}")
            applied = await self._take(session, command, step)
            if applied and command.status == CommandStatus.ACKNOWLEDGED and self.readings.wait_for(_awaited(command)):
                await self._take(session, command, self._proof())
        if applied:
            self.metrics.stepped(command.status)

    async def declare(self, gateway_id: str, command_id: str, declared: DeclaredCommand) -> None:
        """Enter a command that a gateway has issued itself, for a rule; it is on the gateway's disk. Repeating it changes nothing."""
        async with self.database.writing() as session:
            known = await COMMANDS.locked(session, command_id)
            if known is not None:
                if known.gateway_id != gateway_id:
                    raise conflict(f"Command {command_id} is another gateway's.")
                return
            node = await session.get(Node, declared.node)
            if node is None or node.gateway_id != gateway_id:
                raise not_found("node", f"{declared.node} at gateway {gateway_id}")
            command = Command(
                id=command_id,
                machine_id=node.machine_id,
                node_id=node.id,
                gateway_id=gateway_id,
                **declared.model_dump(include={"relay", "state", "lease_s", "reason", "expires_ms"}),
                actor=f"rule:{declared.rule}",
                expires_s=max(0, declared.expires_ms - declared.at_ms) // 1000,
                status=CommandStatus.SENT,
                queued_ms=declared.at_ms,
                offered_ms=declared.at_ms,
                sent_ms=declared.at_ms,
                updated_ms=self.clock(),
                detail="",
            )
            session.add(command)
            await session.flush()
            step = CommandStep(CommandStatus.SENT, command.actor, declared.at_ms, declared.reason)
            session.add(COMMANDS.entry(command.id, step, self.clock(), applied=True))
        self.metrics.stepped(CommandStatus.SENT)

    async def saw_readings(self, gateway_id: str, readings: Iterable[RelayReading]) -> None:
        """Confirm the commands that these relay readings, now in the store, prove: commands of the gateway that wrote them."""
        await self._confirm(self.readings.saw(gateway_id, readings))
        now = self.clock()
        if now - self.noted_ms.get(gateway_id, -NOTE_EVERY_MS) >= NOTE_EVERY_MS:
            async with self.database.writing() as session:
                query = update(Gateway).where(Gateway.id == gateway_id)
                await session.execute(query.values(relays_ms=now))
            self.noted_ms[gateway_id] = now

    async def _confirm(self, proved: Sequence[Awaited]) -> None:
        for item in proved:
            async with self.database.writing() as session:
                command = await COMMANDS.locked(session, item.command_id)
                applied = command is not None and await self._take(session, command, self._proof())
            if applied:
                self.metrics.stepped(CommandStatus.CONFIRMED)

    def _proof(self) -> CommandStep:
        return CommandStep(CommandStatus.CONFIRMED, CLOUD, self.clock(), "a relay reading in the store shows the state")

    async def _is_stored(self, item: Awaited) -> bool:
        """Whether the store holds a proof that no process of ours saw, because the gateway writes to InfluxDB directly.

        The store does not say who wrote a reading. One of a gateway that writes through us is taken by `saw_readings` alone, which
        knows it; after a restart the node's next reading comes by.
        """
        if self.store is None or await self._writes_through_us(item.gateway):
            return False
        tags = {"node": item.node, "channel": str(item.channel)}
        stop_ms = self.clock() + _CLOCK_AHEAD_MS
        try:
            series = await self.store.range(RangeQuery("relay", item.not_before_ms, stop_ms, ("on",), tags))
        except StoreError:
            return False  # asked again at the next sweep
        return any(sample.value is item.on for one in series for sample in one.samples)

    async def _writes_through_us(self, gateway_id: str) -> bool:
        async with self.database.reading() as session:
            noted_ms = await session.scalar(select(Gateway.relays_ms).where(Gateway.id == gateway_id))
        return noted_ms is not None and self.clock() - noted_ms < NOTED_FOR_MS

    async def sweep(self) -> None:
        """End what is overdue, and pick up acknowledged commands that another process took the report of."""
        async with self.database.reading() as session:
            found = list(await session.scalars(select(Command).where(Command.status.in_(_OPEN))))
        acknowledged = {item.id: item for item in found if item.status == CommandStatus.ACKNOWLEDGED}
        for item in self.readings.waiting():
            if item.command_id not in acknowledged:
                self.readings.forget(item)
        awaited = [_awaited(command) for command in acknowledged.values()]
        await self._confirm([item for item in awaited if self.readings.wait_for(item) or await self._is_stored(item)])
        for command in found:
            if self._overdue(command) is not None:
                await self._end(command.id)

    def _overdue(self, command: Command) -> tuple[CommandStatus, str] | None:
        return overdue(
            CommandStatus(command.status),
            now_ms=self.clock(),
            expires_ms=command.expires_ms,
            updated_ms=command.updated_ms,
            offered=command.offered_ms is not None,
            confirm_timeout_ms=self.confirm_timeout_ms,
        )

    async def _end(self, command_id: str) -> None:
        async with self.database.writing() as session:
            command = await COMMANDS.locked(session, command_id)
            # Looked at again under the lock: a report may have arrived since.
            verdict = self._overdue(command) if command is not None else None
            if command is None or verdict is None:
                return
            await self._take(session, command, CommandStep(verdict[0], CLOUD, self.clock(), verdict[1]))
        self.metrics.stepped(verdict[0])

    async def _take(self, session: AsyncSession, command: Command, step: CommandStep) -> bool:
        """Apply one step and write it down; whether it moved the command."""
        applied = may_step(CommandStatus(command.status), step.status)
        now = self.clock()
        if applied:
            command.status = step.status
            setattr(command, time_column(step.status), step.at_ms)
            command.updated_ms = now
            command.detail = step.reason if step.status is not CommandStatus.CONFIRMED else ""
            if step.contact is not None:
                command.contact = step.contact
        elif await COMMANDS.is_recorded(session, command.id, step):
            return False  # the same report again: one entry in the log is enough
        session.add(COMMANDS.entry(command.id, step, now, applied=applied))
        return applied


def command_out(command: Command) -> CommandOut:
    """A command as the API shows it."""
    return CommandOut(
        id=command.id,
        machine=command.machine_id,
        node=command.node_id,
        relay=command.relay,
        state=command.state,
        lease_s=command.lease_s,
        reason=command.reason,
        actor=command.actor,
        expires_ms=command.expires_ms,
        status=CommandStatus(command.status),
        times=times_of(command, CommandStatus),
        contact=command.contact,
        detail=command.detail,
    )


def _awaited(command: Command) -> Awaited:
    acknowledged_ms = command.acknowledged_ms if command.acknowledged_ms is not None else command.updated_ms
    not_before = earliest_proof_ms(sent_ms=command.sent_ms, acknowledged_ms=acknowledged_ms)
    return Awaited(command.id, command.gateway_id, command.node_id, command.relay, command.state, not_before)


def _same_wish(first: Command, machine_id: str, relay: int, wanted: CommandIn) -> None:
    before = CommandIn(state=first.state, lease_s=first.lease_s, reason=first.reason, expires_s=first.expires_s)
    if (first.machine_id, first.relay, before) != (machine_id, relay, wanted):
        raise Problem(409, "This Idempotency-Key was used for another command; use a fresh key for each command.")
