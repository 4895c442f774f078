"""The firmware updates that the cloud has ordered, on disk: taken once, followed to their end, reported until the cloud has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from andon_gateway.updates.status import FINAL, State
from andon_gateway.vocabulary import is_node_id

if TYPE_CHECKING:
    import sqlite3
    from concurrent.futures import Future

    from andon_gateway.spool.database import GroupCommit

MAX_BUNDLE_BYTES: Final = 8 << 20
_COLUMNS: Final = "id, node, version, sha256, size, expires_ms"


def _label(text: str) -> str:
    if not is_node_id(text):
        raise ValueError("expected a node id (DNS label)")
    return text


class FirmwareUpdate(BaseModel):
    """One entry of the stream's `updates` event (docs/protocol.md)."""

    model_config = ConfigDict(strict=True, frozen=True)
    id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._~-]+$")]  # goes into a URL path
    node: Annotated[str, AfterValidator(_label)]
    version: Annotated[str, Field(max_length=32, pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=1, le=MAX_BUNDLE_BYTES)]
    expires_ms: Annotated[int, Field(ge=0, lt=2**53)]

    @property
    def file_name(self) -> str:
        """Name below `/fw`: another content has another name, so no node fetches half of one and half of the other."""
        return f"andon-{self.version}-{self.sha256[:12]}.fw"


class UpdatesEvent(BaseModel):
    """Data of the `updates` event: all updates of this gateway's nodes that are not at their end."""

    model_config = ConfigDict(strict=True)
    updates: list[FirmwareUpdate]


@dataclass(slots=True)
class Job:
    """An update and how far it has come; see `update_status.judge` for `before` and `told`."""

    update: FirmwareUpdate
    state: State
    before: str | None
    told: bool

    @property
    def open(self) -> bool:
        """Whether its end is not known yet."""
        return self.state not in FINAL


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """One event for the cloud."""

    id: int
    update: str
    state: str
    at_ms: int
    detail: str


class UpdateStore:
    """The durable side. Every method returns a future that is settled after the commit."""

    def __init__(self, database: GroupCommit) -> None:
        self._database = database

    def replace(self, updates: list[FirmwareUpdate], now_ms: int) -> Future[list[Job]]:
        """Take the cloud's list; gives the jobs that are in it no more, which are forgotten.

        A new one gets its report `sent`. Of one whose end is known the cloud has not heard, or has forgotten: it is reported again.
        """
        wanted = {update.id for update in updates}

        def change(connection: sqlite3.Connection) -> list[Job]:
            gone = [job for job in _jobs(connection) if job.update.id not in wanted]
            for job in gone:
                connection.execute("DELETE FROM firmware_update WHERE id = ?", (job.update.id,))
                connection.execute("DELETE FROM firmware_update_report WHERE job = ?", (job.update.id,))
            for update in updates:
                row = connection.execute("SELECT state FROM firmware_update WHERE id = ?", (update.id,)).fetchone()
                if row is None:
                    connection.execute(
                        f"INSERT INTO firmware_update ({_COLUMNS}, state) VALUES (?, ?, ?, ?, ?, ?, 'sent')",  # noqa: S608 -- constant text
                        (update.id, update.node, update.version, update.sha256, update.size, update.expires_ms),
                    )
                    _add_report(connection, update.id, "sent", now_ms, "the gateway has the order")
                elif row[0] in FINAL:
                    connection.execute("UPDATE firmware_update_report SET pending = 1 WHERE job = ?", (update.id,))
            return gone

        return self._database.run(change)

    def jobs(self) -> Future[list[Job]]:
        """All jobs."""
        return self._database.run(_jobs)

    def about_to_tell(self, update: str, before: str) -> Future[None]:
        """The node is told next; its update before this one ended with `before`."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE firmware_update SET before = ? WHERE id = ?", (before, update))

        return self._database.run(change)

    def accepted(self, update: str) -> Future[None]:
        """The node has accepted it."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE firmware_update SET told = 1 WHERE id = ?", (update,))

        return self._database.run(change)

    def step(self, update: str, state: State, detail: str, now_ms: int) -> Future[None]:
        """It has come so far; nothing changes after its end."""

        def change(connection: sqlite3.Connection) -> None:
            ends = ", ".join(f"'{name}'" for name in sorted(FINAL))
            moved = connection.execute(
                f"UPDATE firmware_update SET state = ? WHERE id = ? AND state NOT IN ({ends})",  # noqa: S608 -- constant text
                (state, update),
            )
            if moved.rowcount:
                _add_report(connection, update, state, now_ms, detail)

        return self._database.run(change)

    def pending_reports(self, most: int) -> Future[list[UpdateReport]]:
        """Reports that the cloud has not taken yet, oldest first."""

        def change(connection: sqlite3.Connection) -> list[UpdateReport]:
            query = "SELECT id, job, state, at_ms, detail FROM firmware_update_report WHERE pending ORDER BY id LIMIT ?"
            return [UpdateReport(*row) for row in connection.execute(query, (most,))]

        return self._database.run(change)

    def delivered(self, report: UpdateReport) -> Future[None]:
        """The cloud has taken the report."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE firmware_update_report SET pending = 0 WHERE id = ?", (report.id,))

        return self._database.run(change)


def _jobs(connection: sqlite3.Connection) -> list[Job]:
    query = f"SELECT {_COLUMNS}, state, before, told FROM firmware_update ORDER BY id"  # noqa: S608 -- constant text
    names = _COLUMNS.split(", ")
    return [
        Job(FirmwareUpdate(**dict(zip(names, row, strict=False))), row[6], row[7], bool(row[8]))
        for row in connection.execute(query)
    ]


def _add_report(connection: sqlite3.Connection, update: str, state: str, at_ms: int, detail: str) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO firmware_update_report (job, state, at_ms, detail) VALUES (?, ?, ?, ?)",
        (update, state, at_ms, detail[:200]),
    )
