"""Keep bundles, order updates, take in what gateways tell about them, and end those that nobody tells about any more."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from andon_cloud.problems import Problem, conflict, not_found
from andon_cloud.registry.models import Node
from andon_cloud.updates.bundle import BundleError, read_bundle
from andon_cloud.updates.lifecycle import OPEN, UpdateStatus, may_step, overdue
from andon_cloud.updates.models import Firmware, NodeUpdate, UpdateAudit
from andon_cloud.updates.schemas import (
    FirmwareOut,
    UpdateAuditOut,
    UpdateEvent,
    UpdateHistory,
    UpdateIn,
    UpdateOut,
    UpdateProgress,
    UpdateReport,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from andon_cloud.db.engine import Database
    from andon_cloud.gateways.notifier import Notifier
    from andon_cloud.identifiers import Clock

CLOUD = "cloud"
_OPEN = sorted(status.value for status in OPEN)


@dataclass(frozen=True, slots=True)
class _Step:
    """Something that wants to move an update: who, whereto, when by whose clock, and why."""

    status: UpdateStatus
    actor: str
    at_ms: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Updates:
    """Bundles and updates. Methods raise `Problem` 404, 409 and 422."""

    database: Database
    notifier: Notifier
    clock: Clock
    site_key: str | None = None

    # --- bundles ----------------------------------------------------------------------------------------------------

    async def keep(self, data: bytes, actor: str) -> tuple[FirmwareOut, bool]:
        """Keep a bundle and say whether it is new; the same one again is the one that is there."""
        try:
            info = read_bundle(data, self.site_key)
        except BundleError as error:
            raise Problem(422, f"body: {error}") from None
        async with self.database.writing() as session:
            row = await session.get(Firmware, info.sha256)
            is_new = row is None
            if row is None:
                row = Firmware(
                    sha256=info.sha256,
                    version=info.version,
                    kind=info.kind,
                    mpy=info.mpy,
                    arch=info.arch,
                    downgrade=info.downgrade,
                    verified=self.site_key is not None,
                    size=info.size,
                    uploaded_ms=self.clock(),
                    actor=actor,
                    content=data,
                )
                session.add(row)
            return FirmwareOut.model_validate(row), is_new

    async def firmware(self) -> list[FirmwareOut]:
        """All bundles, newest first."""
        async with self.database.reading() as session:
            rows = await session.scalars(select(Firmware).order_by(Firmware.uploaded_ms.desc(), Firmware.sha256))
            return [FirmwareOut.model_validate(row) for row in rows]

    async def content(self, sha256: str) -> bytes:
        """A bundle's bytes."""
        async with self.database.reading() as session:
            content: bytes | None = await session.scalar(select(Firmware.content).where(Firmware.sha256 == sha256))
        if content is None:
            raise not_found("bundle", sha256)
        return content

    async def remove(self, sha256: str) -> None:
        """Remove a bundle that no open update needs."""
        async with self.database.writing() as session:
            row = await session.get(Firmware, sha256)
            if row is None:
                raise not_found("bundle", sha256)
            query = select(NodeUpdate.node_id).where(NodeUpdate.sha256 == sha256, NodeUpdate.status.in_(_OPEN))
            node = await session.scalar(query.limit(1))
            if node is not None:
                raise conflict(f"Node {node} is being updated with this bundle; cancel that first.")
            await session.delete(row)

    # --- updates ----------------------------------------------------------------------------------------------------

    async def order(self, node_id: str, wanted: UpdateIn, actor: str) -> UpdateOut:
        """Order an update durably and wake the node's gateway."""
        async with self.database.writing() as session:
            # FOR UPDATE lets two orders for one node wait for each other on PostgreSQL.
            node = await session.get(Node, node_id, with_for_update=True)
            if node is None:
                raise not_found("node", node_id)
            bundle = await session.get(Firmware, wanted.sha256)
            if bundle is None:
                raise Problem(422, "sha256: there is no such bundle; upload it first with POST /api/v1/firmware.")
            query = select(NodeUpdate).where(NodeUpdate.node_id == node_id, NodeUpdate.status.in_(_OPEN))
            other = await session.scalar(query.limit(1))
            if other is not None:
                raise conflict(
                    f"Node {node_id} is being updated to {other.version} ({other.status}); wait for its end, "
                    f"or cancel it: POST /api/v1/updates/{other.id}/cancel"
                )
            now = self.clock()
            row = NodeUpdate(
                id=str(uuid.uuid4()),
                node_id=node_id,
                sha256=bundle.sha256,
                version=bundle.version,
                size=bundle.size,
                reason=wanted.reason,
                actor=actor,
                expires_ms=now + wanted.expires_s * 1000,
                status=UpdateStatus.REQUESTED,
                requested_ms=now,
                received=0,
                detail="",
            )
            session.add(row)
            await session.flush()
            session.add(_entry(row, _Step(UpdateStatus.REQUESTED, actor, now, wanted.reason), now, applied=True))
            gateway, result = node.gateway_id, _out(row)
        self.notifier.notify(gateway)
        return result

    async def get(self, update_id: str) -> UpdateHistory:
        """One update with its audit log."""
        async with self.database.reading() as session:
            row = await session.scalar(select(NodeUpdate).where(NodeUpdate.id == update_id))
            if row is None:
                raise not_found("update", update_id)
            entries = await session.scalars(
                select(UpdateAudit).where(UpdateAudit.update_id == update_id).order_by(UpdateAudit.number)
            )
            return UpdateHistory(**_out(row).model_dump(), audit=[UpdateAuditOut.model_validate(e) for e in entries])

    async def of_node(self, node_id: str, limit: int) -> list[UpdateOut]:
        """The newest updates of a node, newest first."""
        async with self.database.reading() as session:
            query = select(NodeUpdate).where(NodeUpdate.node_id == node_id).order_by(NodeUpdate.number.desc())
            found = [_out(row) for row in await session.scalars(query.limit(limit))]
            if not found and await session.get(Node, node_id) is None:
                raise not_found("node", node_id)
            return found

    async def cancel(self, update_id: str, reason: str, actor: str) -> UpdateOut:
        """End an update that is not on trial: its gateway drops it, and the node if it still fetches."""
        async with self.database.writing() as session:
            row = await _locked(session, update_id)
            if row is None:
                raise not_found("update", update_id)
            if row.status == UpdateStatus.TRIAL or row.status not in _OPEN:
                raise conflict(f"The update is {row.status}; only one that is not tried yet can be cancelled.")
            self._take(session, row, _Step(UpdateStatus.FAILED, actor, self.clock(), f"cancelled: {reason}"))
            gateway = await session.scalar(select(Node.gateway_id).where(Node.id == row.node_id))
            result = _out(row)
        if gateway is not None:
            self.notifier.notify(gateway)
        return result

    # --- what gateways tell -----------------------------------------------------------------------------------------

    async def report(self, gateway_id: str, update_id: str, report: UpdateReport) -> None:
        """Take in what the node's gateway tells; repeated and late reports change nothing."""
        step = _Step(UpdateStatus(report.state), f"gateway:{gateway_id}", report.at_ms, report.detail)
        async with self.database.writing() as session:
            row = await _of_gateway(session, gateway_id, update_id)
            if not self._take(session, row, step) and not await _is_recorded(session, row, step):
                session.add(_entry(row, step, self.clock(), applied=False))
        self.notifier.notify(gateway_id)

    async def progress(self, gateway_id: str, update_id: str, progress: UpdateProgress) -> None:
        """Note how many bytes the node has."""
        async with self.database.writing() as session:
            row = await _of_gateway(session, gateway_id, update_id)
            if row.status in _OPEN:
                row.received, row.total = progress.received, progress.total

    async def sweep(self) -> None:
        """End what is overdue."""
        async with self.database.reading() as session:
            found = list(await session.scalars(select(NodeUpdate).where(NodeUpdate.status.in_(_OPEN))))
        for row in found:
            if self._overdue(row) is not None:
                await self._end(row.id)

    def _overdue(self, row: NodeUpdate) -> str | None:
        return overdue(UpdateStatus(row.status), now_ms=self.clock(), expires_ms=row.expires_ms)

    async def _end(self, update_id: str) -> None:
        async with self.database.writing() as session:
            row = await _locked(session, update_id)
            # Looked at again under the lock: a report may have arrived since.
            why = None if row is None else self._overdue(row)
            if row is not None and why is not None:
                self._take(session, row, _Step(UpdateStatus.FAILED, CLOUD, self.clock(), why))

    def _take(self, session: AsyncSession, row: NodeUpdate, step: _Step) -> bool:
        """Apply one step and write it down, if it moves the update."""
        if not may_step(UpdateStatus(row.status), step.status):
            return False
        row.status = step.status
        setattr(row, _time_column(step.status), step.at_ms)
        row.detail = step.reason
        if step.status in (UpdateStatus.TRIAL, UpdateStatus.CONFIRMED):
            row.received = row.total = row.size
        session.add(_entry(row, step, self.clock(), applied=True))
        return True


async def updates_of_gateway(session: AsyncSession, gateway_id: str) -> list[UpdateEvent]:
    """The open updates of the nodes that a gateway serves now, oldest first."""
    query = (
        select(NodeUpdate)
        .join(Node, Node.id == NodeUpdate.node_id)
        .where(Node.gateway_id == gateway_id, NodeUpdate.status.in_(_OPEN))
        .order_by(NodeUpdate.number)
    )
    return [
        UpdateEvent(
            id=row.id,
            node=row.node_id,
            version=row.version,
            sha256=row.sha256,
            size=row.size,
            expires_ms=row.expires_ms,
        )
        for row in await session.scalars(query)
    ]


async def end_updates_of_node(session: AsyncSession, node_id: str, now_ms: int) -> None:
    """End the open updates of a node that is removed."""
    query = (
        update(NodeUpdate)
        .where(NodeUpdate.node_id == node_id, NodeUpdate.status.in_(_OPEN))
        .values(status=UpdateStatus.FAILED, failed_ms=now_ms, detail="the node was removed from the registry")
        .returning(NodeUpdate.id)
    )
    session.add_all(
        UpdateAudit(
            update_id=update_id,
            status=UpdateStatus.FAILED,
            applied=True,
            actor=CLOUD,
            reason="the node was removed from the registry",
            at_ms=now_ms,
            recorded_ms=now_ms,
        )
        for update_id in list(await session.scalars(query))
    )


def _time_column(status: UpdateStatus) -> str:
    return f"{status.replace('-', '_')}_ms"


def _out(row: NodeUpdate) -> UpdateOut:
    times = {status: getattr(row, _time_column(status)) for status in UpdateStatus}
    return UpdateOut(
        id=row.id,
        node=row.node_id,
        sha256=row.sha256,
        version=row.version,
        reason=row.reason,
        actor=row.actor,
        expires_ms=row.expires_ms,
        status=UpdateStatus(row.status),
        times={status: time for status, time in times.items() if time is not None},
        received=row.received,
        total=row.total,
        detail=row.detail,
    )


async def _locked(session: AsyncSession, update_id: str) -> NodeUpdate | None:
    # FOR UPDATE serialises reports on PostgreSQL; on SQLite the transaction already is the only writer.
    row: NodeUpdate | None = await session.scalar(
        select(NodeUpdate).where(NodeUpdate.id == update_id).with_for_update()
    )
    return row


async def _of_gateway(session: AsyncSession, gateway_id: str, update_id: str) -> NodeUpdate:
    row = await _locked(session, update_id)
    serving = None if row is None else await session.scalar(select(Node.gateway_id).where(Node.id == row.node_id))
    if row is None or serving != gateway_id:
        raise not_found("update", f"{update_id} for gateway {gateway_id}")
    return row


async def _is_recorded(session: AsyncSession, row: NodeUpdate, step: _Step) -> bool:
    query = select(UpdateAudit.number).where(
        UpdateAudit.update_id == row.id, UpdateAudit.status == step.status, UpdateAudit.actor == step.actor
    )
    return await session.scalar(query.limit(1)) is not None


def _entry(row: NodeUpdate, step: _Step, now_ms: int, *, applied: bool) -> UpdateAudit:
    return UpdateAudit(
        update_id=row.id,
        status=step.status,
        applied=applied,
        actor=step.actor,
        reason=step.reason,
        at_ms=step.at_ms,
        recorded_ms=now_ms,
    )
