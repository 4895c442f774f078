"""The orders of one kind, on disk: taken once, followed to their end, reported until the cloud has it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from andon_gateway.vocabulary import is_node_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence
    from concurrent.futures import Future

    from andon_gateway.spool.database import GroupCommit

MAX_DETAIL: Final = 200


class Order(Protocol):
    """What the cloud wants of a node; an entry of one of the stream's lists (docs/protocol.md)."""

    @property
    def id(self) -> str:
        """Of the order; goes into a URL path."""

    @property
    def node(self) -> str:
        """For whom."""

    @property
    def expires_ms(self) -> int:
        """When the gateway ends it, ms since the epoch."""

    @property
    def told(self) -> bool:
        """Whether the node has accepted it already, from another gateway or before this one lost its disk."""

    def __init__(self, **values: Any) -> None: ...


O = TypeVar("O", bound=Order)  # noqa: E741 -- an order


def node_label(text: str) -> str:
    """Let only a node id pass, for pydantic."""
    if not is_node_id(text):
        raise ValueError("expected a node id (DNS label)")
    return text


@dataclass(frozen=True, slots=True)
class OrderTable(Generic[O]):
    """Where one kind of orders is.

    Attributes:
        name: Of the table; `{name}_report` has the reports.
        columns: The order's own columns, named as in the stream's list.
        make: The order's class.
        final: The states that end one.
    """

    name: str
    columns: Sequence[str]
    make: type[O]
    final: frozenset[str]


@dataclass(slots=True)
class Job(Generic[O]):
    """An order and how far it has come.

    Attributes:
        order: What is wanted.
        state: As last noted.
        before: What the node said before it was first told; None: it never was.
        told: Whether the node has accepted it.
    """

    order: O
    state: str
    before: str | None
    told: bool


@dataclass(frozen=True, slots=True)
class OrderReport:
    """One event for the cloud."""

    id: int
    order: str
    state: str
    at_ms: int
    detail: str


class OrderStore(Generic[O]):
    """The durable side. Every method returns a future that is settled after the commit."""

    def __init__(self, database: GroupCommit, table: OrderTable[O]) -> None:
        self.database = database
        self.table = table
        self.final = table.final
        self._columns = ", ".join(table.columns)

    def replace(self, orders: Sequence[O], now_ms: int) -> Future[list[Job[O]]]:
        """Take the cloud's list; gives the jobs that are in it no more, which are forgotten.

        A new one gets its report `sent`. Of one whose end is known the cloud has not heard, or has forgotten: it is reported again.
        """
        wanted = {order.id for order in orders}
        name = self.table.name

        def change(connection: sqlite3.Connection) -> list[Job[O]]:
            gone = [job for job in self._jobs(connection) if job.order.id not in wanted]
            for job in gone:
                connection.execute(f"DELETE FROM {name} WHERE id = ?", (job.order.id,))  # noqa: S608 -- constant text
                connection.execute(f"DELETE FROM {name}_report WHERE job = ?", (job.order.id,))  # noqa: S608 -- same
            for order in orders:
                row = connection.execute(f"SELECT state FROM {name} WHERE id = ?", (order.id,)).fetchone()  # noqa: S608 -- same
                if row is None:
                    self._insert(connection, order)
                    self._add_report(connection, order.id, "sent", now_ms, "the gateway has the order")
                elif row[0] in self.final:
                    connection.execute(f"UPDATE {name}_report SET pending = 1 WHERE job = ?", (order.id,))  # noqa: S608 -- same
            return gone

        return self.database.run(change)

    def jobs(self) -> Future[list[Job[O]]]:
        """All jobs."""
        return self.database.run(self._jobs)

    def about_to_tell(self, order: str, before: str) -> Future[None]:
        """The node is told next; `before` is what it says now that a later verdict needs."""
        return self._set(order, "before", before)

    def accepted(self, order: str) -> Future[None]:
        """The node has accepted it."""
        return self._set(order, "told", 1)

    def step(self, order: str, state: str, detail: str, now_ms: int) -> Future[None]:
        """It has come so far; nothing changes after its end."""

        def change(connection: sqlite3.Connection) -> None:
            ends = ", ".join(f"'{name}'" for name in sorted(self.final))
            moved = connection.execute(
                f"UPDATE {self.table.name} SET state = ? WHERE id = ? AND state NOT IN ({ends})",  # noqa: S608 -- constant text
                (state, order),
            )
            if moved.rowcount:
                self._add_report(connection, order, state, now_ms, detail)

        return self.database.run(change)

    def pending_reports(self, most: int, without: Collection[str] = ()) -> Future[list[OrderReport]]:
        """Reports that the cloud has not taken yet, oldest first, but for those of some orders."""
        passed_over = json.dumps([*without])

        def change(connection: sqlite3.Connection) -> list[OrderReport]:
            query = (
                f"SELECT id, job, state, at_ms, detail FROM {self.table.name}_report WHERE pending"  # noqa: S608 -- constant text
                " AND job NOT IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT ?"
            )
            return [OrderReport(*row) for row in connection.execute(query, (passed_over, most))]

        return self.database.run(change)

    def delivered(self, report: OrderReport) -> Future[None]:
        """The cloud has taken the report."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(f"UPDATE {self.table.name}_report SET pending = 0 WHERE id = ?", (report.id,))  # noqa: S608 -- constant text

        return self.database.run(change)

    def _set(self, order: str, column: str, value: object) -> Future[None]:
        def change(connection: sqlite3.Connection) -> None:
            connection.execute(f"UPDATE {self.table.name} SET {column} = ? WHERE id = ?", (value, order))  # noqa: S608 -- constant text

        return self.database.run(change)

    def _insert(self, connection: sqlite3.Connection, order: O) -> None:
        values = [getattr(order, column) for column in self.table.columns]
        marks = ", ".join("?" * len(values))
        connection.execute(
            f"INSERT INTO {self.table.name} ({self._columns}, state, told) VALUES ({marks}, 'sent', ?)",  # noqa: S608 -- constant text
            (*values, order.told),
        )

    def _jobs(self, connection: sqlite3.Connection) -> list[Job[O]]:
        query = f"SELECT state, before, told, {self._columns} FROM {self.table.name} ORDER BY id"  # noqa: S608 -- constant text
        return [
            Job(self.table.make(**dict(zip(self.table.columns, values, strict=True))), state, before, bool(told))
            for state, before, told, *values in connection.execute(query)
        ]

    def _add_report(self, connection: sqlite3.Connection, order: str, state: str, at_ms: int, detail: str) -> None:
        connection.execute(
            f"INSERT OR IGNORE INTO {self.table.name}_report (job, state, at_ms, detail) VALUES (?, ?, ?, ?)",  # noqa: S608 -- constant text
            (order, state, at_ms, detail[:MAX_DETAIL]),
        )
