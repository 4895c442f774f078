"""Versions of the alarm rules, and what each gateway has in force."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; a row of the first is a version, and none is ever changed."""
    op.create_table(
        "rule_documents",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("etag", sa.String(64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_rule_documents")),
    )
    op.create_table(
        "rules_in_force",
        sa.Column("gateway_id", sa.String(63), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("rules", sa.Integer(), nullable=False),
        sa.Column("refused", sa.String(500), nullable=False),
        sa.Column("told_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway_id", name=op.f("pk_rules_in_force")),
        sa.ForeignKeyConstraint(
            ["gateway_id"], ["gateways.id"], name=op.f("fk_rules_in_force_gateway_id_gateways"), ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    """Drop them; gateways keep the rules that they have."""
    op.drop_table("rules_in_force")
    op.drop_table("rule_documents")
