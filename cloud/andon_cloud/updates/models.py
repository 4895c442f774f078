"""Tables of the firmware: bundles, updates, and the updates' append-only audit log."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from andon_cloud.db.base import Base, RowNumber
from andon_cloud.updates.lifecycle import UpdateStatus

_STATUSES = ", ".join(f"'{status.value}'" for status in UpdateStatus)


class Firmware(Base):
    """One bundle; its content is read only when a gateway fetches it."""

    __tablename__ = "firmware"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(16))
    mpy: Mapped[str] = mapped_column(String(16))
    arch: Mapped[str] = mapped_column(String(32))
    downgrade: Mapped[bool] = mapped_column(Boolean)
    verified: Mapped[bool] = mapped_column(Boolean)
    size: Mapped[int] = mapped_column(Integer)
    uploaded_ms: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(String(100))
    content: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)


class NodeUpdate(Base):
    """One update of one node. Node and version are kept as text: the record outlives the registry's rows."""

    __tablename__ = "node_updates"
    __table_args__ = (
        CheckConstraint(f"status IN ({_STATUSES})", name="status"),
        Index(None, "node_id", "number"),
        Index(None, "status"),
    )

    number: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(36), unique=True)
    node_id: Mapped[str] = mapped_column(String(63))
    sha256: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(32))
    size: Mapped[int] = mapped_column(Integer)
    reason: Mapped[str] = mapped_column(String(200))
    actor: Mapped[str] = mapped_column(String(100))
    expires_ms: Mapped[int] = mapped_column(BigInteger)

    status: Mapped[str] = mapped_column(String(16))
    requested_ms: Mapped[int] = mapped_column(BigInteger)
    sent_ms: Mapped[int | None] = mapped_column(BigInteger)
    fetching_ms: Mapped[int | None] = mapped_column(BigInteger)
    trial_ms: Mapped[int | None] = mapped_column(BigInteger)
    confirmed_ms: Mapped[int | None] = mapped_column(BigInteger)
    rolled_back_ms: Mapped[int | None] = mapped_column(BigInteger)
    failed_ms: Mapped[int | None] = mapped_column(BigInteger)
    received: Mapped[int] = mapped_column(Integer, default=0)
    total: Mapped[int | None] = mapped_column(Integer)
    detail: Mapped[str] = mapped_column(String(500), default="")


class UpdateAudit(Base):
    """One thing that happened to an update. Database triggers refuse UPDATE and DELETE."""

    __tablename__ = "update_audit"

    number: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    update_id: Mapped[str] = mapped_column(ForeignKey("node_updates.id", ondelete="RESTRICT"), index=True)
    status: Mapped[str] = mapped_column(String(16))
    applied: Mapped[bool] = mapped_column(Boolean)
    actor: Mapped[str] = mapped_column(String(100))
    reason: Mapped[str] = mapped_column(String(500))
    at_ms: Mapped[int] = mapped_column(BigInteger)
    recorded_ms: Mapped[int] = mapped_column(BigInteger)
