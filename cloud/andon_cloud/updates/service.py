"""Keep bundles, order updates, take in what gateways tell about them, and end those that nobody tells about any more."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from andon_cloud.orders.node_orders import NodeOrders, OrderKind
from andon_cloud.orders.schemas import OrderAuditOut
from andon_cloud.orders.table import OrderTable, Step, times_of
from andon_cloud.problems import Problem, conflict, not_found
from andon_cloud.updates.bundle import BundleError, read_bundle
from andon_cloud.updates.lifecycle import LIFE, UpdateStatus
from andon_cloud.updates.models import Firmware, NodeUpdate, UpdateAudit
from andon_cloud.updates.schemas import (
    FirmwareOut,
    UpdateEvent,
    UpdateHistory,
    UpdateIn,
    UpdateOut,
    UpdateProgress,
    UpdateReport,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

KIND = OrderKind(
    "update",
    OrderTable(NodeUpdate, UpdateAudit, "update_id"),
    LIFE,
    lambda row: f"update to {row.version}",
)


@dataclass(frozen=True, slots=True)
class Updates:
    """Bundles and updates. Methods raise `Problem` 404, 409 and 422."""

    orders: NodeOrders[NodeUpdate, UpdateAudit, UpdateStatus]
    site_key: str | None = None

    # --- bundles ----------------------------------------------------------------------------------------------------

    async def keep(self, data: bytes, actor: str) -> tuple[FirmwareOut, bool]:
        """Keep a bundle and say whether it is new; the same one again is the one that is there."""
        try:
            info = read_bundle(data, self.site_key)
        except BundleError as error:
            raise Problem(422, f"body: {error}") from None
        async with self.orders.database.writing() as session:
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
                    uploaded_ms=self.orders.clock(),
                    actor=actor,
                    content=data,
                )
                session.add(row)
            return FirmwareOut.model_validate(row), is_new

    async def firmware(self) -> list[FirmwareOut]:
        """All bundles, newest first."""
        async with self.orders.database.reading() as session:
            rows = await session.scalars(select(Firmware).order_by(Firmware.uploaded_ms.desc(), Firmware.sha256))
            return [FirmwareOut.model_validate(row) for row in rows]

    async def content(self, sha256: str) -> bytes:
        """A bundle's bytes."""
        async with self.orders.database.reading() as session:
            content: bytes | None = await session.scalar(select(Firmware.content).where(Firmware.sha256 == sha256))
        if content is None:
            raise not_found("bundle", sha256)
        return content

    async def remove(self, sha256: str) -> None:
        """Remove a bundle that no open update needs."""
        async with self.orders.database.writing() as session:
            row = await session.get(Firmware, sha256)
            if row is None:
                raise not_found("bundle", sha256)
            query = select(NodeUpdate.node_id).where(NodeUpdate.sha256 == sha256, KIND.is_open())
            node = await session.scalar(query.limit(1))
            if node is not None:
                raise conflict(f"Node {node} is being updated with this bundle; cancel that first.")
            await session.delete(row)

    # --- updates ----------------------------------------------------------------------------------------------------

    async def order(self, node_id: str, wanted: UpdateIn, actor: str) -> UpdateOut:
        """Order an update durably and wake the node's gateway."""

        async def make(session: AsyncSession, now_ms: int) -> NodeUpdate:
            bundle = await session.get(Firmware, wanted.sha256)
            if bundle is None:
                raise Problem(422, "sha256: there is no such bundle; upload it first with POST /api/v1/firmware.")
            return NodeUpdate(
                id=str(uuid.uuid4()),
                node_id=node_id,
                sha256=bundle.sha256,
                version=bundle.version,
                size=bundle.size,
                reason=wanted.reason,
                actor=actor,
                expires_ms=now_ms + wanted.expires_s * 1000,
                status=UpdateStatus.REQUESTED,
                requested_ms=now_ms,
                received=0,
                detail="",
            )

        return _out(await self.orders.place(node_id, make))

    async def get(self, update_id: str) -> UpdateHistory:
        """One update with its audit log."""
        row, entries = await self.orders.get(update_id)
        return UpdateHistory(**_out(row).model_dump(), audit=[OrderAuditOut.model_validate(e) for e in entries])

    async def of_node(self, node_id: str, limit: int) -> list[UpdateOut]:
        """The newest updates of a node, newest first."""
        return [_out(row) for row in await self.orders.of_node(node_id, limit)]

    async def cancel(self, update_id: str, reason: str, actor: str) -> UpdateOut:
        """End an update that is not on trial: its gateway drops it, and the node if it still fetches."""
        return _out(await self.orders.cancel(update_id, reason, actor))

    # --- what gateways tell -----------------------------------------------------------------------------------------

    async def report(self, gateway_id: str, update_id: str, report: UpdateReport) -> None:
        """Take in what the node's gateway tells; repeated and late reports change nothing."""
        step = Step(UpdateStatus(report.state), f"gateway:{gateway_id}", report.at_ms, report.detail)
        await self.orders.report(gateway_id, update_id, step, _has_all)

    async def progress(self, gateway_id: str, update_id: str, progress: UpdateProgress) -> None:
        """Note how many bytes the node has."""
        async with self.orders.database.writing() as session:
            row = await self.orders.of_gateway(session, gateway_id, update_id)
            if UpdateStatus(row.status) not in LIFE.final:
                row.received, row.total = progress.received, progress.total

    async def sweep(self) -> None:
        """End what is overdue."""
        await self.orders.sweep()


def _has_all(row: NodeUpdate) -> None:
    """A node that runs the version has all of the bundle."""
    if row.status in (UpdateStatus.TRIAL, UpdateStatus.CONFIRMED):
        row.received = row.total = row.size


async def updates_of_gateway(session: AsyncSession, gateway_id: str) -> list[UpdateEvent]:
    """The open updates of the nodes that a gateway serves now, oldest first."""
    return [
        UpdateEvent(
            id=row.id,
            node=row.node_id,
            version=row.version,
            sha256=row.sha256,
            size=row.size,
            expires_ms=row.expires_ms,
        )
        for row in await KIND.of_gateway(session, gateway_id)
    ]


def _out(row: NodeUpdate) -> UpdateOut:
    return UpdateOut(
        id=row.id,
        node=row.node_id,
        sha256=row.sha256,
        version=row.version,
        reason=row.reason,
        actor=row.actor,
        expires_ms=row.expires_ms,
        status=UpdateStatus(row.status),
        times=times_of(row, UpdateStatus),
        received=row.received,
        total=row.total,
        detail=row.detail,
    )
