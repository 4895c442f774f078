"""Tables of the relay commands: the commands and their append-only audit log."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from andon_cloud.commands.lifecycle import CommandStatus
from andon_cloud.db.base import Base, RowNumber

_STATUSES = ", ".join(f"'{status.value}'" for status in CommandStatus)


class Command(Base):
    """One relay command. Machine, node and gateway are kept as text: the record outlives the registry's rows."""

    __tablename__ = "commands"
    __table_args__ = (
        CheckConstraint(f"status IN ({_STATUSES})", name="status"),
        Index(None, "gateway_id", "status"),
        Index(None, "machine_id", "number"),
        Index(None, "status"),
    )

    number: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(36), unique=True)
    machine_id: Mapped[str] = mapped_column(String(63))
    node_id: Mapped[str] = mapped_column(String(63))
    gateway_id: Mapped[str] = mapped_column(String(63))
    relay: Mapped[int] = mapped_column(Integer)
    state: Mapped[bool] = mapped_column(Boolean)
    lease_s: Mapped[int] = mapped_column(Integer)
    reason: Mapped[str] = mapped_column(String(200))
    actor: Mapped[str] = mapped_column(String(100))
    expires_s: Mapped[int] = mapped_column(Integer)
    expires_ms: Mapped[int] = mapped_column(BigInteger)
    idempotency_key: Mapped[str | None] = mapped_column(String(255), unique=True)

    status: Mapped[str] = mapped_column(String(16))
    queued_ms: Mapped[int] = mapped_column(BigInteger)
    offered_ms: Mapped[int | None] = mapped_column(BigInteger)  # first written to a gateway's stream
    sent_ms: Mapped[int | None] = mapped_column(BigInteger)
    acknowledged_ms: Mapped[int | None] = mapped_column(BigInteger)
    confirmed_ms: Mapped[int | None] = mapped_column(BigInteger)
    expired_ms: Mapped[int | None] = mapped_column(BigInteger)
    failed_ms: Mapped[int | None] = mapped_column(BigInteger)
    updated_ms: Mapped[int] = mapped_column(BigInteger)
    contact: Mapped[bool | None] = mapped_column(Boolean)
    detail: Mapped[str] = mapped_column(String(500), default="")


class AuditEntry(Base):
    """One thing that happened to a command. Database triggers refuse UPDATE and DELETE."""

    __tablename__ = "command_audit"

    number: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    command_id: Mapped[str] = mapped_column(ForeignKey("commands.id", ondelete="RESTRICT"), index=True)
    status: Mapped[str] = mapped_column(String(16))
    applied: Mapped[bool] = mapped_column(Boolean)
    actor: Mapped[str] = mapped_column(String(100))
    reason: Mapped[str] = mapped_column(String(500))
    at_ms: Mapped[int] = mapped_column(BigInteger)
    recorded_ms: Mapped[int] = mapped_column(BigInteger)
