"""What nodes run, firmware bundles, and the nodes' updates with their audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STATUSES = "'requested', 'sent', 'fetching', 'trial', 'confirmed', 'rolled-back', 'failed'"
TIMES = ("sent", "fetching", "trial", "confirmed", "rolled_back", "failed")


def upgrade() -> None:
    """Create the tables; the log is append-only."""
    op.add_column("nodes", sa.Column("firmware", sa.String(32)))
    op.add_column("nodes", sa.Column("revision", sa.BigInteger()))
    op.add_column("nodes", sa.Column("seen_ms", sa.BigInteger()))
    op.create_table(
        "firmware",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("mpy", sa.String(16), nullable=False),
        sa.Column("arch", sa.String(32), nullable=False),
        sa.Column("downgrade", sa.Boolean(), nullable=False),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("uploaded_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_firmware")),
    )
    _create_updates()
    _create_audit()


def _create_updates() -> None:
    op.create_table(
        "node_updates",
        sa.Column("number", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("node_id", sa.String(63), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("requested_ms", sa.BigInteger(), nullable=False),
        *(sa.Column(f"{name}_ms", sa.BigInteger()) for name in TIMES),
        sa.Column("received", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer()),
        sa.Column("detail", sa.String(500), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_node_updates")),
        sa.UniqueConstraint("id", name=op.f("uq_node_updates_id")),
        sa.CheckConstraint(f"status IN ({STATUSES})", name=op.f("ck_node_updates_status")),
    )
    op.create_index(op.f("ix_node_updates_node_id_number"), "node_updates", ["node_id", "number"])
    op.create_index(op.f("ix_node_updates_status"), "node_updates", ["status"])


def _create_audit() -> None:
    op.create_table(
        "update_audit",
        sa.Column("number", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("update_id", sa.String(36), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("applied", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("recorded_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_update_audit")),
        sa.ForeignKeyConstraint(
            ["update_id"], ["node_updates.id"], name=op.f("fk_update_audit_update_id_node_updates"), ondelete="RESTRICT"
        ),
    )
    op.create_index(op.f("ix_update_audit_update_id"), "update_audit", ["update_id"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION update_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'update_audit is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER update_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON update_audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION update_audit_is_append_only()"
        )
        return
    for event in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER update_audit_no_{event.lower()} BEFORE {event} ON update_audit "
            "BEGIN SELECT RAISE(ABORT, 'update_audit is append-only'); END"
        )


def downgrade() -> None:
    """Drop all of it."""
    op.drop_table("update_audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION update_audit_is_append_only()")
    op.drop_table("node_updates")
    op.drop_table("firmware")
    for name in ("seen_ms", "revision", "firmware"):
        op.drop_column("nodes", name)
