"""Tables of the nodes' configurations, and their append-only audit log."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from andon_cloud.configurations.lifecycle import ConfigurationStatus
from andon_cloud.db.base import Base
from andon_cloud.orders.models import AuditColumns, NodeOrderColumns

_STATUSES = ", ".join(f"'{status.value}'" for status in ConfigurationStatus)


class NodeConfiguration(NodeOrderColumns, Base):
    """One document for one node; its content is kept as it was signed, and read only when it is needed."""

    __tablename__ = "node_configurations"
    __table_args__ = (
        CheckConstraint(f"status IN ({_STATUSES})", name="status"),
        Index(None, "node_id", "number"),
        Index(None, "status"),
    )

    revision: Mapped[int] = mapped_column(Integer)
    signature: Mapped[str | None] = mapped_column(String(128))
    refused_ms: Mapped[int | None] = mapped_column(BigInteger)
    content: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)


class ConfigurationAudit(AuditColumns, Base):
    """One thing that happened to a configuration."""

    __tablename__ = "configuration_audit"

    configuration_id: Mapped[str] = mapped_column(ForeignKey("node_configurations.id", ondelete="RESTRICT"), index=True)
