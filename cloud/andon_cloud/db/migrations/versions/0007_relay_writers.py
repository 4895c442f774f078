"""Which gateways write relay readings through the cloud's write endpoint."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the time."""
    op.add_column("gateways", sa.Column("relays_ms", sa.BigInteger()))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("gateways", "relays_ms")
