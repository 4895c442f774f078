"""Alembic's entry: migrations run on the connection that the caller opened (see `andon_cloud.db.migrate`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context

from andon_cloud.commands import models as _commands  # noqa: F401 - registers its tables
from andon_cloud.configurations import models as _configurations  # noqa: F401 - registers its tables
from andon_cloud.db.base import Base
from andon_cloud.gateways import models as _gateways  # noqa: F401 - registers its tables
from andon_cloud.registry import models as _registry  # noqa: F401 - registers its tables
from andon_cloud.rules import models as _rules  # noqa: F401 - registers its tables
from andon_cloud.updates import models as _updates  # noqa: F401 - registers its tables

if TYPE_CHECKING:
    from sqlalchemy import Connection


def run(connection: Connection) -> None:
    """Run the migrations; the caller owns the transaction."""
    context.configure(connection=connection, target_metadata=Base.metadata, transactional_ddl=True, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
