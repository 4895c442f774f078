"""Tables of the firmware: bundles, updates, and the updates' append-only audit log."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from andon_cloud.db.base import Base
from andon_cloud.orders.models import AuditColumns, NodeOrderColumns
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


class NodeUpdate(NodeOrderColumns, Base):
    """One update of one node."""

    __tablename__ = "node_updates"
    __table_args__ = (
        CheckConstraint(f"status IN ({_STATUSES})", name="status"),
        Index(None, "node_id", "number"),
        Index(None, "status"),
    )

    version: Mapped[str] = mapped_column(String(32))
    fetching_ms: Mapped[int | None] = mapped_column(BigInteger)
    received: Mapped[int] = mapped_column(Integer, default=0)
    total: Mapped[int | None] = mapped_column(Integer)


class UpdateAudit(AuditColumns, Base):
    """One thing that happened to an update."""

    __tablename__ = "update_audit"

    update_id: Mapped[str] = mapped_column(ForeignKey("node_updates.id", ondelete="RESTRICT"), index=True)
