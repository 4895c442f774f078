"""One database, two ways in: `reading()` and `writing()`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from andon_cloud.db import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
_WRITE = "andon_write"
_ATTEMPTS: Final = 100
_AGAIN_S: Final = 0.1


class DatabaseError(Exception):
    """The database cannot be used; the message says what to look at."""


class Database:
    """Sessions on the metadata database.

    SQLite runs in WAL mode with synchronous=FULL: an operator's 202 means that the command is on disk, and at the rate
    of commands and reports one fsync each is cheap. Telemetry has its own store with its own trade-off.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise DatabaseError("ANDON_CLOUD_DATABASE_URL: expected sqlite:///FILE or postgresql://...") from error
        parsed = parsed.set(drivername=_DRIVERS.get(parsed.get_backend_name(), parsed.drivername))
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.name = parsed.render_as_string(hide_password=True)
        if self.is_sqlite and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        self._engine = create_async_engine(parsed, **({} if self.is_sqlite else {"pool_pre_ping": True}))
        if self.is_sqlite:
            _tune_sqlite(self._engine)
        self._read = async_sessionmaker(self._engine, expire_on_commit=False)
        self._write = async_sessionmaker(self._engine.execution_options(**{_WRITE: True}), expire_on_commit=False)
        # SQLite has one writer: queueing here is fairer and faster than its busy handler's sleeps.
        self._one_writer = asyncio.Lock() if self.is_sqlite else nullcontext()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session for looking things up; nothing is written."""
        async with self._read() as session:
            yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A transaction that commits at the end of the block and rolls back on an error."""
        async with self._one_writer, self._write() as session, session.begin():
            yield session

    async def upgrade(self) -> None:
        """Bring the schema to the newest version; safe when several processes start at once.

        Raises:
            DatabaseError: The database cannot be reached or has a newer schema than this program.
        """
        for left in reversed(range(_ATTEMPTS)):
            if await self._upgraded(last=left == 0):
                return
            await asyncio.sleep(_AGAIN_S)

    async def _upgraded(self, *, last: bool) -> bool:
        """False: another process switches the new file to WAL just now, where SQLite lets nobody wait for it."""
        try:
            async with self._engine.execution_options(**{_WRITE: True}).begin() as connection:
                await connection.run_sync(migrate.upgrade)
        except migrate.MigrationError as error:
            raise DatabaseError(f"{self.name}: {error}") from error
        except (SQLAlchemyError, OSError) as error:
            if self.is_sqlite and not last and _reason(error) == "database is locked":
                return False
            raise DatabaseError(f"{self.name}: {_reason(error)}") from error
        return True

    async def run_sync(self, function: Any) -> Any:
        """Run `function(connection)` on a synchronous connection: for Alembic and inspection."""
        async with self._engine.connect() as connection:
            return await connection.run_sync(function)

    async def healthy(self) -> bool:
        """Whether the database answers now; never raises."""
        try:
            async with self._engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError):
            return False
        return True

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()


def _reason(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split()) or type(error).__name__


def _tune_sqlite(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions on its own: _on_begin says which kind is needed.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # A deferred transaction that reads and then writes fails with "database is locked" when another wrote meanwhile.
        immediate = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
