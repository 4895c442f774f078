"""Tables of what gateways tell about nodes that cannot report."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from andon_cloud.db.base import Base


class QuarantinedNode(Base):
    """One unknown node at one gateway."""

    __tablename__ = "quarantined_nodes"

    gateway_id: Mapped[str] = mapped_column(ForeignKey("gateways.id", ondelete="CASCADE"), primary_key=True)
    node_id: Mapped[str] = mapped_column(String(63), primary_key=True)
    first_ms: Mapped[int] = mapped_column(BigInteger)
    last_ms: Mapped[int] = mapped_column(BigInteger)
    packs: Mapped[int] = mapped_column(BigInteger)
    address: Mapped[str] = mapped_column(String(200))
    sent: Mapped[str] = mapped_column(Text, default="{}", server_default="{}")
    """JSON: the newest value under each name."""


class UnknownKeys(Base):
    """Somebody who speaks to a gateway with OSCORE keys that it does not have."""

    __tablename__ = "unknown_keys"

    gateway_id: Mapped[str] = mapped_column(ForeignKey("gateways.id", ondelete="CASCADE"), primary_key=True)
    kid: Mapped[str] = mapped_column(String(14), primary_key=True)
    first_ms: Mapped[int] = mapped_column(BigInteger)
    last_ms: Mapped[int] = mapped_column(BigInteger)
    messages: Mapped[int] = mapped_column(BigInteger)
    address: Mapped[str] = mapped_column(String(200))
    node: Mapped[str | None] = mapped_column(String(63))
