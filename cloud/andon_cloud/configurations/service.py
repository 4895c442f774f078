"""Keep configurations, order them for their nodes, and take in what gateways tell about them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from andon_cloud.configurations.document import DocumentError, read_document, without_secret
from andon_cloud.configurations.lifecycle import LIFE, ConfigurationStatus
from andon_cloud.configurations.models import ConfigurationAudit, NodeConfiguration
from andon_cloud.configurations.schemas import (
    ConfigurationEvent,
    ConfigurationHistory,
    ConfigurationOut,
    ConfigurationReport,
)
from andon_cloud.orders.node_orders import NodeOrders, OrderKind
from andon_cloud.orders.schemas import OrderAuditOut
from andon_cloud.orders.table import OrderTable, Step, times_of
from andon_cloud.problems import Problem, not_found
from andon_cloud.registry.models import Node

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

KIND = OrderKind(
    "configuration",
    OrderTable(NodeConfiguration, ConfigurationAudit, "configuration_id"),
    LIFE,
    lambda row: f"configuration {row.revision}",
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What an engineer wants of a node.

    Attributes:
        document: The configuration, JSON, as it is signed.
        signature: 128 hexadecimal digits; None where the change needs none.
        reason: Why; kept in the audit log.
        actor: Who.
        expires_s: Failed when it is not over after so many seconds.
    """

    document: bytes
    signature: str | None
    reason: str
    actor: str
    expires_s: int


@dataclass(frozen=True, slots=True)
class Configurations:
    """The nodes' configurations. Methods raise `Problem` 404, 409 and 422."""

    orders: NodeOrders[NodeConfiguration, ConfigurationAudit, ConfigurationStatus]
    site_key: str | None = None

    async def order(self, node_id: str, wish: Wish) -> ConfigurationOut:
        """Keep a document durably and wake the node's gateway."""
        try:
            info = read_document(wish.document, node_id, wish.signature, self.site_key)
        except DocumentError as error:
            raise Problem(422, str(error)) from None

        async def make(_session: AsyncSession, now_ms: int) -> NodeConfiguration:
            return NodeConfiguration(
                id=str(uuid.uuid4()),
                node_id=node_id,
                revision=info.revision,
                sha256=info.sha256,
                size=info.size,
                signature=wish.signature,
                content=wish.document,
                reason=wish.reason,
                actor=wish.actor,
                expires_ms=now_ms + wish.expires_s * 1000,
                status=ConfigurationStatus.REQUESTED,
                requested_ms=now_ms,
                detail="",
            )

        return _out(await self.orders.place(node_id, make))

    async def get(self, configuration_id: str) -> ConfigurationHistory:
        """One configuration with its audit log."""
        row, entries = await self.orders.get(configuration_id)
        return ConfigurationHistory(
            **_out(row).model_dump(), audit=[OrderAuditOut.model_validate(entry) for entry in entries]
        )

    async def document(self, configuration_id: str) -> bytes:
        """The document without its secret."""
        query = select(NodeConfiguration.content).where(NodeConfiguration.id == configuration_id)
        async with self.orders.database.reading() as session:
            content: bytes | None = await session.scalar(query)
        if content is None:
            raise not_found(KIND.name, configuration_id)
        return without_secret(content)

    async def of_node(self, node_id: str, limit: int) -> list[ConfigurationOut]:
        """The newest configurations of a node, newest first."""
        return [_out(row) for row in await self.orders.of_node(node_id, limit)]

    async def cancel(self, configuration_id: str, reason: str, actor: str) -> ConfigurationOut:
        """End one that the node has not taken yet: its gateway drops it."""
        return _out(await self.orders.cancel(configuration_id, reason, actor))

    # --- the gateways' side -----------------------------------------------------------------------------------------

    async def content(self, gateway_id: str, configuration_id: str) -> tuple[bytes, str]:
        """The document's bytes and their SHA-256, for the gateway that serves the node."""
        query = (
            select(NodeConfiguration.content, NodeConfiguration.sha256)
            .join(Node, Node.id == NodeConfiguration.node_id)
            .where(NodeConfiguration.id == configuration_id, Node.gateway_id == gateway_id)
        )
        async with self.orders.database.reading() as session:
            row = (await session.execute(query)).one_or_none()
        if row is None:
            raise not_found(KIND.name, f"{configuration_id} for gateway {gateway_id}")
        return row.content, row.sha256

    async def report(self, gateway_id: str, configuration_id: str, report: ConfigurationReport) -> None:
        """Take in what the node's gateway tells; repeated and late reports change nothing."""
        step = Step(ConfigurationStatus(report.state), f"gateway:{gateway_id}", report.at_ms, report.detail)
        await self.orders.report(gateway_id, configuration_id, step)

    async def sweep(self) -> None:
        """End what is overdue."""
        await self.orders.sweep()


async def configurations_of_gateway(session: AsyncSession, gateway_id: str) -> list[ConfigurationEvent]:
    """The open configurations of the nodes that a gateway serves now, oldest first."""
    return [
        ConfigurationEvent(
            id=row.id,
            node=row.node_id,
            revision=row.revision,
            sha256=row.sha256,
            size=row.size,
            signature=row.signature,
            told=row.status == ConfigurationStatus.TRIAL,
            expires_ms=row.expires_ms,
        )
        for row in await KIND.of_gateway(session, gateway_id)
    ]


def _out(row: NodeConfiguration) -> ConfigurationOut:
    return ConfigurationOut(
        id=row.id,
        node=row.node_id,
        revision=row.revision,
        sha256=row.sha256,
        size=row.size,
        signed=row.signature is not None,
        reason=row.reason,
        actor=row.actor,
        expires_ms=row.expires_ms,
        status=ConfigurationStatus(row.status),
        times=times_of(row, ConfigurationStatus),
        detail=row.detail,
    )
