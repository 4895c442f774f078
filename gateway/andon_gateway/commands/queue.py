"""Relay commands on disk: taken once, executed in order per node, their results reported until the cloud has them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from andon_gateway.vocabulary import is_node_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection
    from concurrent.futures import Future

    from andon_gateway.spool.database import GroupCommit

KEPT_MS: Final = 30 * 24 * 3600 * 1000
"""Finished commands are remembered this long after their expiry, far beyond any repetition by the cloud."""

Result = Literal["acknowledged", "expired", "failed"]


def _label(text: str) -> str:
    if not is_node_id(text):
        raise ValueError("expected a node id (DNS label)")
    return text


class RelayCommand(BaseModel):
    """Data of the stream's `command` event (docs/protocol.md)."""

    model_config = ConfigDict(strict=True, frozen=True)
    id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._~-]+$")]  # goes into a URL path
    node: Annotated[str, AfterValidator(_label)]
    relay: Annotated[int, Field(ge=0, le=63)]
    state: bool
    lease_s: Annotated[int, Field(ge=1, le=86_400)]
    expires_ms: Annotated[int, Field(ge=0, lt=2**53)]


@dataclass(frozen=True, slots=True)
class Execution:
    """How a command ended at the node; `contact` is the state read back, if any."""

    result: Result
    contact: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Who issued a command here at the gateway, and why; the cloud hears of it with the first report."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """One event for the cloud.

    Attributes:
        asked: How often it has been wanted; wanted again while it is under way, it goes out again.
        declared: The command itself when the cloud does not know it yet: a rule issued it.
    """

    id: int
    asked: int
    command: str
    state: str
    at_ms: int
    contact: bool | None
    detail: str
    declared: tuple[RelayCommand, Origin] | None = None

    @property
    def order(self) -> str:
        """The command: its reports are sent in their order."""
        return self.command


class CommandStore:
    """The commands' durable side. Every method returns a future that is settled after the commit."""

    def __init__(self, database: GroupCommit) -> None:
        self._database = database

    def take(self, command: RelayCommand, now_ms: int) -> Future[bool]:
        """Keep a command and its `sent` report; False when the id is known, whose known reports then go out again."""

        def change(connection: sqlite3.Connection) -> bool:
            known = connection.execute("SELECT 1 FROM command WHERE id = ?", (command.id,)).fetchone()
            if known:
                connection.execute("UPDATE command_report SET pending = pending + 1 WHERE command = ?", (command.id,))
                return False
            keep_command(connection, command, now_ms)
            return True

        return self._database.run(change)

    def finish(self, command: RelayCommand, execution: Execution, now_ms: int) -> Future[None]:
        """Note how a command ended; it will never be executed again."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE command SET result = ?, finished_ms = ? WHERE id = ? AND result IS NULL",
                (execution.result, now_ms, command.id),
            )
            _add_report(connection, command.id, execution.result, now_ms, execution.contact, execution.detail)

        return self._database.run(change)

    def open_commands(self) -> Future[list[RelayCommand]]:
        """Commands still to be executed, oldest first."""

        def change(connection: sqlite3.Connection) -> list[RelayCommand]:
            query = (
                "SELECT id, node, relay, state, lease_s, expires_ms FROM command WHERE result IS NULL ORDER BY position"
            )
            return [
                RelayCommand(
                    id=row[0], node=row[1], relay=row[2], state=bool(row[3]), lease_s=row[4], expires_ms=row[5]
                )
                for row in connection.execute(query)
            ]

        return self._database.run(change)

    def pending_reports(self, most: int, without: Collection[str] = ()) -> Future[list[Report]]:
        """Reports that the cloud has not taken yet, oldest first, but for those of some commands."""
        passed_over = json.dumps([*without])

        def change(connection: sqlite3.Connection) -> list[Report]:
            query = (
                "SELECT r.id, r.pending, r.command, r.state, r.at_ms, r.contact, r.detail,"
                " c.node, c.relay, c.state, c.lease_s, c.expires_ms, c.rule, c.reason"
                " FROM command_report r LEFT JOIN command c ON c.id = r.command WHERE r.pending"
                " AND r.command NOT IN (SELECT value FROM json_each(?)) ORDER BY r.id LIMIT ?"
            )
            return [_report(row) for row in connection.execute(query, (passed_over, most))]

        return self._database.run(change)

    def delivered(self, report: Report) -> Future[None]:
        """The cloud has taken the report."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE command_report SET pending = 0 WHERE id = ? AND pending = ?", (report.id, report.asked)
            )

        return self._database.run(change)


def keep_command(
    connection: sqlite3.Connection, command: RelayCommand, now_ms: int, origin: Origin | None = None
) -> None:
    """Put down a new command and its first report; inside the caller's transaction."""
    row = (command.id, command.node, command.relay, command.state, command.lease_s, command.expires_ms)
    connection.execute(
        "INSERT INTO command (id, node, relay, state, lease_s, expires_ms, rule, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*row, origin.rule if origin else None, origin.reason if origin else ""),
    )
    _add_report(connection, command.id, "sent", now_ms, None, "the gateway has the command")
    _prune(connection, now_ms)


def _report(row: tuple[Any, ...]) -> Report:
    number, asked, command, state, at_ms, contact, detail, *issued, rule, reason = row
    node, relay, wanted, lease_s, expires_ms = issued
    declared = None
    if rule is not None and state == "sent":
        made = RelayCommand(
            id=command, node=node, relay=relay, state=bool(wanted), lease_s=lease_s, expires_ms=expires_ms
        )
        declared = (made, Origin(rule, reason))
    return Report(number, asked, command, state, at_ms, None if contact is None else bool(contact), detail, declared)


def _add_report(
    connection: sqlite3.Connection,
    command: str,
    state: str,
    at_ms: int,
    contact: bool | None,  # noqa: FBT001 -- a value to store, not a switch
    detail: str,
) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO command_report (command, state, at_ms, contact, detail) VALUES (?, ?, ?, ?, ?)",
        (command, state, at_ms, contact, detail[:200]),
    )


def _prune(connection: sqlite3.Connection, now_ms: int) -> None:
    old = "SELECT id FROM command WHERE result IS NOT NULL AND max(expires_ms, finished_ms) < ?"
    connection.execute(f"DELETE FROM command_report WHERE NOT pending AND command IN ({old})", (now_ms - KEPT_MS,))  # noqa: S608 -- constant text
    connection.execute(
        f"DELETE FROM command WHERE id IN ({old}) AND id NOT IN (SELECT command FROM command_report)",  # noqa: S608 -- constant text
        (now_ms - KEPT_MS,),
    )
