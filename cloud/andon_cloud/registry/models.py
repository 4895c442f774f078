"""Tables of the registry. The hierarchy is ISA-95's: site > area > line > machine."""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from andon_cloud.db.base import Base, RowNumber


class Machine(Base):
    """A machine and its place in the plant."""

    __tablename__ = "machines"

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(63))
    site: Mapped[str] = mapped_column(String(63))
    area: Mapped[str] = mapped_column(String(63))
    line: Mapped[str] = mapped_column(String(63))
    ideal_cycle_s: Mapped[float | None] = mapped_column(Float)
    created_ms: Mapped[int] = mapped_column(BigInteger)


class Gateway(Base):
    """A gateway; of its token only the SHA-256 is kept."""

    __tablename__ = "gateways"

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    assets_version: Mapped[int] = mapped_column(Integer, default=1)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    relays_ms: Mapped[int | None] = mapped_column(BigInteger)
    """When it last wrote relay readings through our write endpoint, to about a minute."""


class Node(Base):
    """A node on a machine, served by a gateway. One node per machine: its relay n is channel n of that node.

    What it runs and when it was heard its gateway tells; None until then.
    """

    __tablename__ = "nodes"

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    machine_id: Mapped[str] = mapped_column(ForeignKey("machines.id", ondelete="RESTRICT"), unique=True)
    gateway_id: Mapped[str] = mapped_column(ForeignKey("gateways.id", ondelete="RESTRICT"), index=True)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    firmware: Mapped[str | None] = mapped_column(String(32))
    revision: Mapped[int | None] = mapped_column(BigInteger)
    seen_ms: Mapped[int | None] = mapped_column(BigInteger)


class NodeAudit(Base):
    """One thing that a person did to a node. Database triggers refuse UPDATE and DELETE."""

    __tablename__ = "node_audit"

    number: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    node_id: Mapped[str] = mapped_column(String(63), index=True)
    action: Mapped[str] = mapped_column(String(16))
    machine_id: Mapped[str] = mapped_column(String(63))
    gateway_id: Mapped[str] = mapped_column(String(63))
    actor: Mapped[str] = mapped_column(String(100))
    reason: Mapped[str] = mapped_column(String(200))
    at_ms: Mapped[int] = mapped_column(BigInteger)
