"""The nodes' OSCORE keys (docs/security.md): made here, shown once to the caller, given to the node's gateway by its stream."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import BigInteger, ForeignKey, String, delete, select, update
from sqlalchemy.orm import Mapped, mapped_column

from andon_cloud.db.base import Base, RowNumber
from andon_cloud.identifiers import EpochMs
from andon_cloud.problems import not_found
from andon_cloud.registry.models import Gateway, Node

if TYPE_CHECKING:
    from pydantic.config import JsonDict
    from sqlalchemy.ext.asyncio import AsyncSession

    from andon_cloud.registry.service import Registry

SECRET_BYTES: Final = 16  # the master secret: as strong as AES-CCM-16-64-128's keys
SALT_BYTES: Final = 8
GATEWAY_SENDER_ID: Final = "00"
"""The gateway's id in every context; numbers of nodes start at 1, so it is never a node's."""


class NodeCredentials(Base):
    """The keys of one node. `number` makes the node's sender id, so it is never used a second time."""

    __tablename__ = "node_credentials"
    __table_args__ = ({"sqlite_autoincrement": True},)

    number: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id", ondelete="CASCADE"), unique=True)
    secret: Mapped[str] = mapped_column(String(32))
    salt: Mapped[str] = mapped_column(String(16))
    created_ms: Mapped[int] = mapped_column(BigInteger)


_KEYS: JsonDict = {
    "secret": "<32 digits>",
    "salt": "<16 digits>",
    "sender_id": "01",
    "recipient_id": GATEWAY_SENDER_ID,
}


class Keys(BaseModel):
    """OSCORE parameters from the node's side, hexadecimal; this is the content of the node's `keys.json`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_KEYS]})

    secret: str = Field(description="Master secret")
    salt: str = Field(description="Master salt")
    sender_id: str = Field(description="The node's sender id, unique in this cloud")
    recipient_id: str = Field(description="The gateway's sender id")


_NEW_KEYS: JsonDict = {"node": "press-7", "created_ms": 1764000000000, **_KEYS}


class NewCredentials(Keys):
    """New keys of a node, shown this once."""

    model_config = ConfigDict(json_schema_extra={"examples": [_NEW_KEYS]})

    node: str
    created_ms: EpochMs


async def renew_credentials(registry: Registry, node_id: str) -> NewCredentials:
    """Make keys for a node, or new ones instead of those it has, which are worth nothing from now on."""
    async with registry.database.writing() as session:
        node = await session.get(Node, node_id)
        if node is None:
            raise not_found("node", node_id)
        await session.execute(delete(NodeCredentials).where(NodeCredentials.node_id == node_id))
        row = NodeCredentials(
            node_id=node_id,
            secret=secrets.token_hex(SECRET_BYTES),
            salt=secrets.token_hex(SALT_BYTES),
            created_ms=registry.clock(),
        )
        session.add(row)
        # The gateway's stream looks at this version to know that there is something new.
        query = update(Gateway).where(Gateway.id == node.gateway_id)
        await session.execute(query.values(assets_version=Gateway.assets_version + 1))
        await session.flush()
        result = NewCredentials(node=node_id, created_ms=row.created_ms, **_keys(row).model_dump())
        gateway = node.gateway_id
    registry.notifier.notify(gateway)
    return result


async def credentials_of_gateway(session: AsyncSession, gateway_id: str) -> dict[str, dict[str, str]]:
    """The keys of all nodes that a gateway serves, by node."""
    query = (
        select(NodeCredentials)
        .join(Node, Node.id == NodeCredentials.node_id)
        .where(Node.gateway_id == gateway_id)
        .order_by(Node.id)
    )
    return {row.node_id: _keys(row).model_dump() for row in await session.scalars(query)}


def _keys(row: NodeCredentials) -> Keys:
    sender_id = row.number.to_bytes((row.number.bit_length() + 7) // 8, "big")
    return Keys(secret=row.secret, salt=row.salt, sender_id=sender_id.hex(), recipient_id=GATEWAY_SENDER_ID)
