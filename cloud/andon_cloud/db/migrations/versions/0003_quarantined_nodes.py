"""Nodes that gateways hear and the registry does not know."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; each gateway replaces its own rows."""
    op.create_table(
        "quarantined_nodes",
        sa.Column("gateway_id", sa.String(63), nullable=False),
        sa.Column("node_id", sa.String(63), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.Column("packs", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("gateway_id", "node_id", name=op.f("pk_quarantined_nodes")),
        sa.ForeignKeyConstraint(
            ["gateway_id"], ["gateways.id"], name=op.f("fk_quarantined_nodes_gateway_id_gateways"), ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    """Drop it; the gateways tell again."""
    op.drop_table("quarantined_nodes")
