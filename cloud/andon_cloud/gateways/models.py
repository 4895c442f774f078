"""Tables of the gateways' channel."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, String
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
