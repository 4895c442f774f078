"""Tables of the relay commands: the commands and their append-only audit log."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from andon_cloud.commands.lifecycle import CommandStatus
from andon_cloud.db.base import Base
from andon_cloud.orders.models import AuditColumns, OrderColumns

_STATUSES = ", ".join(f"'{status.value}'" for status in CommandStatus)


class Command(OrderColumns, Base):
    """One relay command. Machine and gateway are kept as text too."""

    __tablename__ = "commands"
    __table_args__ = (
        CheckConstraint(f"status IN ({_STATUSES})", name="status"),
        Index(None, "gateway_id", "status"),
        Index(None, "machine_id", "number"),
        Index(None, "status"),
    )

    machine_id: Mapped[str] = mapped_column(String(63))
    gateway_id: Mapped[str] = mapped_column(String(63))
    relay: Mapped[int] = mapped_column(Integer)
    state: Mapped[bool] = mapped_column(Boolean)
    lease_s: Mapped[int] = mapped_column(Integer)
    expires_s: Mapped[int] = mapped_column(Integer)
    idempotency_key: Mapped[str | None] = mapped_column(String(255), unique=True)

    queued_ms: Mapped[int] = mapped_column(BigInteger)
    offered_ms: Mapped[int | None] = mapped_column(BigInteger)  # first written to a gateway's stream
    sent_ms: Mapped[int | None] = mapped_column(BigInteger)
    acknowledged_ms: Mapped[int | None] = mapped_column(BigInteger)
    confirmed_ms: Mapped[int | None] = mapped_column(BigInteger)
    expired_ms: Mapped[int | None] = mapped_column(BigInteger)
    failed_ms: Mapped[int | None] = mapped_column(BigInteger)
    updated_ms: Mapped[int] = mapped_column(BigInteger)
    contact: Mapped[bool | None] = mapped_column(Boolean)


class AuditEntry(AuditColumns, Base):
    """One thing that happened to a command."""

    __tablename__ = "command_audit"

    command_id: Mapped[str] = mapped_column(ForeignKey("commands.id", ondelete="RESTRICT"), index=True)
