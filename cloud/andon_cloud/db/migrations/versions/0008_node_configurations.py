"""The nodes' configurations, with their audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STATUSES = "'requested', 'sent', 'trial', 'confirmed', 'refused', 'rolled-back', 'failed'"
TIMES = ("sent", "trial", "confirmed", "refused", "rolled_back", "failed")


def upgrade() -> None:
    """Create the tables; the log is append-only."""
    op.create_table(
        "node_configurations",
        sa.Column("number", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("node_id", sa.String(63), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("signature", sa.String(128)),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("requested_ms", sa.BigInteger(), nullable=False),
        *(sa.Column(f"{name}_ms", sa.BigInteger()) for name in TIMES),
        sa.Column("detail", sa.String(500), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_node_configurations")),
        sa.UniqueConstraint("id", name=op.f("uq_node_configurations_id")),
        sa.CheckConstraint(f"status IN ({STATUSES})", name=op.f("ck_node_configurations_status")),
    )
    op.create_index(op.f("ix_node_configurations_node_id_number"), "node_configurations", ["node_id", "number"])
    op.create_index(op.f("ix_node_configurations_status"), "node_configurations", ["status"])
    _create_audit()


def _create_audit() -> None:
    op.create_table(
        "configuration_audit",
        sa.Column("number", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("configuration_id", sa.String(36), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("applied", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("recorded_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_configuration_audit")),
        sa.ForeignKeyConstraint(
            ["configuration_id"],
            ["node_configurations.id"],
            name=op.f("fk_configuration_audit_configuration_id_node_configurations"),
            ondelete="RESTRICT",
        ),
    )
    op.create_index(op.f("ix_configuration_audit_configuration_id"), "configuration_audit", ["configuration_id"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION configuration_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'configuration_audit is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER configuration_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON configuration_audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION configuration_audit_is_append_only()"
        )
        return
    for event in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER configuration_audit_no_{event.lower()} BEFORE {event} ON configuration_audit "
            "BEGIN SELECT RAISE(ABORT, 'configuration_audit is append-only'); END"
        )


def downgrade() -> None:
    """Drop all of it."""
    op.drop_table("configuration_audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION configuration_audit_is_append_only()")
    op.drop_table("node_configurations")
