"""What waiting nodes have sent, keys that gateways do not have, and the log of what people did to nodes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add them; the gateways tell again what is in the first two, the log is append-only."""
    op.add_column("quarantined_nodes", sa.Column("sent", sa.Text(), nullable=False, server_default="{}"))
    op.create_table(
        "unknown_keys",
        sa.Column("gateway_id", sa.String(63), nullable=False),
        sa.Column("kid", sa.String(14), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.String(200), nullable=False),
        sa.Column("node", sa.String(63)),
        sa.PrimaryKeyConstraint("gateway_id", "kid", name=op.f("pk_unknown_keys")),
        sa.ForeignKeyConstraint(
            ["gateway_id"], ["gateways.id"], name=op.f("fk_unknown_keys_gateway_id_gateways"), ondelete="CASCADE"
        ),
    )
    op.create_table(
        "node_audit",
        sa.Column("number", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("node_id", sa.String(63), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("machine_id", sa.String(63), nullable=False),
        sa.Column("gateway_id", sa.String(63), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_node_audit")),
    )
    op.create_index(op.f("ix_node_audit_node_id"), "node_audit", ["node_id"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION node_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'node_audit is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER node_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON node_audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION node_audit_is_append_only()"
        )
        return
    for event in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER node_audit_no_{event.lower()} BEFORE {event} ON node_audit "
            "BEGIN SELECT RAISE(ABORT, 'node_audit is append-only'); END"
        )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("node_audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION node_audit_is_append_only()")
    op.drop_table("unknown_keys")
    op.drop_column("quarantined_nodes", "sent")
