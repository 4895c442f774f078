"""Registry of machines, gateways and nodes; relay commands with their audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STATUSES = "'queued', 'sent', 'acknowledged', 'confirmed', 'expired', 'failed'"


def upgrade() -> None:
    """Create the tables and make the audit log append-only."""
    _create_registry()
    _create_commands()
    if op.get_bind().dialect.name == "postgresql":
        _protect_audit_on_postgresql()
    else:
        _protect_audit_on_sqlite()


def downgrade() -> None:
    """Drop everything."""
    for table in ("command_audit", "commands", "nodes", "gateways", "machines"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION command_audit_is_append_only()")


def _create_registry() -> None:
    op.create_table(
        "machines",
        sa.Column("id", sa.String(63), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(63), nullable=False),
        sa.Column("site", sa.String(63), nullable=False),
        sa.Column("area", sa.String(63), nullable=False),
        sa.Column("line", sa.String(63), nullable=False),
        sa.Column("ideal_cycle_s", sa.Float(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_machines")),
    )
    op.create_table(
        "gateways",
        sa.Column("id", sa.String(63), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("assets_version", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateways")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_gateways_token_hash")),
    )
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(63), nullable=False),
        sa.Column("machine_id", sa.String(63), nullable=False),
        sa.Column("gateway_id", sa.String(63), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
        sa.UniqueConstraint("machine_id", name=op.f("uq_nodes_machine_id")),
        sa.ForeignKeyConstraint(
            ["machine_id"], ["machines.id"], name=op.f("fk_nodes_machine_id_machines"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["gateway_id"], ["gateways.id"], name=op.f("fk_nodes_gateway_id_gateways"), ondelete="RESTRICT"
        ),
    )
    op.create_index(op.f("ix_nodes_gateway_id"), "nodes", ["gateway_id"])


def _create_commands() -> None:
    op.create_table(
        "commands",
        sa.Column("number", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("machine_id", sa.String(63), nullable=False),
        sa.Column("node_id", sa.String(63), nullable=False),
        sa.Column("gateway_id", sa.String(63), nullable=False),
        sa.Column("relay", sa.Integer(), nullable=False),
        sa.Column("state", sa.Boolean(), nullable=False),
        sa.Column("lease_s", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("expires_s", sa.Integer(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("queued_ms", sa.BigInteger(), nullable=False),
        *(
            sa.Column(f"{status}_ms", sa.BigInteger(), nullable=True)
            for status in ("offered", "sent", "acknowledged", "confirmed", "expired", "failed")
        ),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("contact", sa.Boolean(), nullable=True),
        sa.Column("detail", sa.String(500), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_commands")),
        sa.UniqueConstraint("id", name=op.f("uq_commands_id")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_commands_idempotency_key")),
        sa.CheckConstraint(f"status IN ({STATUSES})", name=op.f("ck_commands_status")),
    )
    op.create_index(op.f("ix_commands_gateway_id_status"), "commands", ["gateway_id", "status"])
    op.create_index(op.f("ix_commands_machine_id_number"), "commands", ["machine_id", "number"])
    op.create_index(op.f("ix_commands_status"), "commands", ["status"])
    op.create_table(
        "command_audit",
        sa.Column("number", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("command_id", sa.String(36), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("applied", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("recorded_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_command_audit")),
        sa.ForeignKeyConstraint(
            ["command_id"], ["commands.id"], name=op.f("fk_command_audit_command_id_commands"), ondelete="RESTRICT"
        ),
    )
    op.create_index(op.f("ix_command_audit_command_id"), "command_audit", ["command_id"])


def _protect_audit_on_sqlite() -> None:
    for event in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER command_audit_no_{event.lower()} BEFORE {event} ON command_audit "
            "BEGIN SELECT RAISE(ABORT, 'command_audit is append-only'); END"
        )


def _protect_audit_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION command_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'command_audit is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER command_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON command_audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION command_audit_is_append_only()"
    )
