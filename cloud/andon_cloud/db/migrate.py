"""Run the Alembic migrations that travel inside the package."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text

# Any fixed number: processes that start at once on PostgreSQL wait for each other on it.
_ADVISORY_LOCK = 0x616E646F6E


class MigrationError(Exception):
    """The schema cannot be brought to this program's version."""


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration for an open connection; there is no alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Upgrade to the newest revision within the connection's transaction.

    Raises:
        MigrationError: The database was written by a newer program.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    try:
        command.upgrade(alembic_config(connection), "head")
    except CommandError as error:
        raise MigrationError(
            f"the schema cannot be upgraded; is this database from a newer Andon? ({error})"
        ) from error
