"""Versions of the alarm rules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; a row is a version, and none is ever changed."""
    op.create_table(
        "rule_documents",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("etag", sa.String(64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_rule_documents")),
    )


def downgrade() -> None:
    """Drop it; gateways keep the rules that they have."""
    op.drop_table("rule_documents")
