"""Keys of the nodes, one set per node."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table; `number` is never used again, since it is the node's sender id."""
    op.create_table(
        "node_credentials",
        sa.Column("number", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("node_id", sa.String(63), nullable=False),
        sa.Column("secret", sa.String(32), nullable=False),
        sa.Column("salt", sa.String(16), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_node_credentials")),
        sa.UniqueConstraint("node_id", name=op.f("uq_node_credentials_node_id")),
        sa.ForeignKeyConstraint(
            ["node_id"], ["nodes.id"], name=op.f("fk_node_credentials_node_id_nodes"), ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Drop it; the nodes need new keys afterwards."""
    op.drop_table("node_credentials")
