"""Nodes that gateways hear and that cannot report: told by the gateways, seen and adopted by people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from sqlalchemy import delete, select

from andon_cloud.gateways.models import QuarantinedNode, UnknownKeys
from andon_cloud.gateways.quarantine_schemas import UnknownKeysOut, UnknownNodeOut
from andon_cloud.problems import not_found
from andon_cloud.registry.credentials import NodeCredentials
from andon_cloud.registry.models import Node, NodeAudit
from andon_cloud.registry.schemas import NodeIn, NodeOut

if TYPE_CHECKING:
    from andon_cloud.db.engine import Database
    from andon_cloud.gateways.quarantine_schemas import Adoption, QuarantineReport
    from andon_cloud.registry.service import Registry

ADOPTED = "adopted"


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Who waits. Methods raise `Problem` 404, 409 and 422."""

    database: Database
    registry: Registry

    async def replace(self, gateway_id: str, report: QuarantineReport) -> None:
        """Take a gateway's report instead of its last one."""
        nodes = {item.node: item for item in report.nodes}
        keys = {item.kid: item for item in report.keys}
        async with self.database.writing() as session:
            for table in (QuarantinedNode, UnknownKeys):
                await session.execute(delete(table).where(table.gateway_id == gateway_id))
            session.add_all(
                QuarantinedNode(
                    gateway_id=gateway_id,
                    node_id=item.node,
                    sent=orjson.dumps(item.sent).decode(),
                    **item.model_dump(exclude={"node", "sent"}),
                )
                for item in nodes.values()
            )
            session.add_all(UnknownKeys(gateway_id=gateway_id, **item.model_dump()) for item in keys.values())

    async def nodes(self) -> list[UnknownNodeOut]:
        """Nodes that nobody has registered, by gateway and id."""
        query = (
            select(QuarantinedNode)
            .where(QuarantinedNode.node_id.not_in(select(Node.id)))
            .order_by(QuarantinedNode.gateway_id, QuarantinedNode.node_id)
        )
        async with self.database.reading() as session:
            return [
                UnknownNodeOut(
                    gateway=row.gateway_id,
                    node=row.node_id,
                    first_ms=row.first_ms,
                    last_ms=row.last_ms,
                    packs=row.packs,
                    address=row.address,
                    sent=orjson.loads(row.sent),
                )
                for row in await session.scalars(query)
            ]

    async def keys(self) -> list[UnknownKeysOut]:
        """Keys that the gateway that hears them does not have, by gateway and kid."""
        async with self.database.reading() as session:
            rows = list(await session.scalars(select(UnknownKeys).order_by(UnknownKeys.gateway_id, UnknownKeys.kid)))
            # A kid is the number of the keys (credentials.py); that of keys that are gone leads to nobody.
            numbers = {row.kid: int(row.kid or "0", 16) for row in rows if len(row.kid) < _LONGEST_KID}
            query = select(NodeCredentials.number, NodeCredentials.node_id, Node.gateway_id).join(
                Node, Node.id == NodeCredentials.node_id
            )
            found = await session.execute(query.where(NodeCredentials.number.in_(numbers.values())))
            owners = {number: (node, gateway) for number, node, gateway in found}
        return [_keys_out(row, owners.get(numbers.get(row.kid, 0))) for row in rows]

    async def adopt(self, gateway_id: str, node_id: str, adoption: Adoption, actor: str) -> NodeOut:
        """Mount a waiting node on a machine and write down who did it and why; its gateway hears of it at once."""
        async with self.database.reading() as session:
            if await session.get(QuarantinedNode, (gateway_id, node_id)) is None:
                raise not_found("waiting node", f"{node_id} at gateway {gateway_id}")
        adopted = await self.registry.add_node(
            NodeIn(id=node_id, machine_id=adoption.machine_id, gateway_id=gateway_id),
            NodeAudit(
                node_id=node_id,
                action=ADOPTED,
                machine_id=adoption.machine_id,
                gateway_id=gateway_id,
                actor=actor,
                reason=adoption.reason,
                at_ms=self.registry.clock(),
            ),
        )
        async with self.database.writing() as session:
            row = await session.get(QuarantinedNode, (gateway_id, node_id))
            if row is not None:
                await session.delete(row)
        return adopted


_LONGEST_KID = 2 * 7


def _keys_out(row: UnknownKeys, owner: tuple[str, str] | None) -> UnknownKeysOut:
    return UnknownKeysOut(
        gateway=row.gateway_id,
        kid=row.kid,
        first_ms=row.first_ms,
        last_ms=row.last_ms,
        messages=row.messages,
        address=row.address,
        node=row.node,
        owner=None if owner is None else owner[0],
        owner_gateway=None if owner is None else owner[1],
    )
