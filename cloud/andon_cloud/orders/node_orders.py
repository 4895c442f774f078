"""Orders that a gateway carries out at a node: taken one at a time for each node, moved by reports, ended when nobody reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import ColumnElement, select

from andon_cloud.orders.models import AuditColumns, NodeOrderColumns
from andon_cloud.orders.table import CLOUD, OrderTable, S, Step, time_column
from andon_cloud.problems import conflict, not_found
from andon_cloud.registry.models import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from andon_cloud.db.engine import Database
    from andon_cloud.gateways.notifier import Notifier
    from andon_cloud.identifiers import Clock
    from andon_cloud.orders.life import Life

N = TypeVar("N", bound=NodeOrderColumns)
A = TypeVar("A", bound=AuditColumns)


@dataclass(frozen=True, slots=True)
class OrderKind(Generic[N, A, S]):
    """One kind of orders.

    Attributes:
        name: What people call one; with an s its collection in the API.
        table: Where they are.
        life: Their statuses.
        title: What one of them does, for people.
    """

    name: str
    table: OrderTable[N, A]
    life: Life[S]
    title: Callable[[N], str]

    def is_open(self) -> ColumnElement[bool]:
        """The condition that an order is not at its end."""
        return self.table.orders.status.in_(sorted(set(self.life.way) - self.life.final))

    def status(self, row: N) -> S:
        """Where an order is."""
        return type(self.life.failed)(row.status)

    async def of_gateway(self, session: AsyncSession, gateway_id: str) -> Sequence[N]:
        """The open orders of the nodes that a gateway serves now, oldest first."""
        orders = self.table.orders
        query = select(orders).join(Node, Node.id == orders.node_id).where(Node.gateway_id == gateway_id)
        return list(await session.scalars(query.where(self.is_open()).order_by(orders.number)))

    async def end_of_node(self, session: AsyncSession, node_id: str, now_ms: int) -> None:
        """End the open orders of a node that is removed."""
        query = select(self.table.orders).where(self.table.orders.node_id == node_id, self.is_open())
        for row in list(await session.scalars(query.with_for_update())):
            step = Step(self.life.failed, CLOUD, now_ms, "the node was removed from the registry")
            self.take(session, row, step, now_ms)

    def take(self, session: AsyncSession, row: N, step: Step[S], now_ms: int) -> bool:
        """Apply one step and write it down, if it moves the order."""
        if not self.life.may_step(self.status(row), step.status):
            return False
        row.status = step.status
        setattr(row, time_column(step.status), step.at_ms)
        row.detail = step.reason
        session.add(self.table.entry(row.id, step, now_ms, applied=True))
        return True


@dataclass(frozen=True, slots=True)
class NodeOrders(Generic[N, A, S]):
    """The orders of one kind. Methods raise `Problem` 404 and 409."""

    kind: OrderKind[N, A, S]
    database: Database
    notifier: Notifier
    clock: Clock

    async def place(self, node_id: str, make: Callable[[AsyncSession, int], Any]) -> N:
        """Enter an order durably and wake the node's gateway.

        Args:
            node_id: For whom.
            make: Makes the row inside the transaction, given the time in ms; a coroutine function.
        """
        async with self.database.writing() as session:
            # FOR UPDATE lets two orders for one node wait for each other on PostgreSQL.
            node = await session.get(Node, node_id, with_for_update=True)
            if node is None:
                raise not_found("node", node_id)
            orders, now = self.kind.table.orders, self.clock()
            row: N = await make(session, now)
            query = select(orders).where(orders.node_id == node_id, self.kind.is_open())
            other = await session.scalar(query.limit(1))
            if other is not None:
                raise conflict(
                    f"Node {node_id} has an open {self.kind.title(other)} ({other.status}); wait for its end, "
                    f"or cancel it: POST /api/v1/{self.kind.name}s/{other.id}/cancel"
                )
            session.add(row)
            await session.flush()
            step = Step(self.kind.life.way[0], row.actor, now, row.reason)
            session.add(self.kind.table.entry(row.id, step, now, applied=True))
            gateway = node.gateway_id
        self.notifier.notify(gateway)
        return row

    async def get(self, order_id: str) -> tuple[N, list[A]]:
        """One order with its log."""
        async with self.database.reading() as session:
            row = await self.kind.table.get(session, order_id)
            if row is None:
                raise not_found(self.kind.name, order_id)
            return row, await self.kind.table.history(session, order_id)

    async def of_node(self, node_id: str, limit: int) -> list[N]:
        """The newest orders for a node, newest first."""
        orders = self.kind.table.orders
        async with self.database.reading() as session:
            query = select(orders).where(orders.node_id == node_id).order_by(orders.number.desc())
            found = list(await session.scalars(query.limit(limit)))
            if not found and await session.get(Node, node_id) is None:
                raise not_found("node", node_id)
            return found

    async def cancel(self, order_id: str, reason: str, actor: str) -> N:
        """End an order that the node does not try yet; its gateway drops it."""
        async with self.database.writing() as session:
            row = await self.kind.table.locked(session, order_id)
            if row is None:
                raise not_found(self.kind.name, order_id)
            if not self.kind.life.may_cancel(self.kind.status(row)):
                name = self.kind.name
                raise conflict(f"The {name} is {row.status}; only one that is not tried yet can be cancelled.")
            now = self.clock()
            self.kind.take(session, row, Step(self.kind.life.failed, actor, now, f"cancelled: {reason}"), now)
            gateway = await session.scalar(select(Node.gateway_id).where(Node.id == row.node_id))
        if gateway is not None:
            self.notifier.notify(gateway)
        return row

    async def of_gateway(self, session: AsyncSession, gateway_id: str, order_id: str) -> N:
        """An order for a node that the gateway serves, to be changed; 404 for any other."""
        row = await self.kind.table.locked(session, order_id)
        serving = None if row is None else await session.scalar(select(Node.gateway_id).where(Node.id == row.node_id))
        if row is None or serving != gateway_id:
            raise not_found(self.kind.name, f"{order_id} for gateway {gateway_id}")
        return row

    async def report(
        self, gateway_id: str, order_id: str, step: Step[S], on_step: Callable[[N], None] | None = None
    ) -> None:
        """Take in what the node's gateway tells; repeated and late reports change nothing."""
        table, now = self.kind.table, self.clock()
        async with self.database.writing() as session:
            row = await self.of_gateway(session, gateway_id, order_id)
            if self.kind.take(session, row, step, now):
                if on_step is not None:
                    on_step(row)
            elif not await table.is_recorded(session, row.id, step):
                session.add(table.entry(row.id, step, now, applied=False))
        self.notifier.notify(gateway_id)

    async def sweep(self) -> None:
        """End what is overdue."""
        async with self.database.reading() as session:
            found = list(await session.scalars(select(self.kind.table.orders).where(self.kind.is_open())))
        for row in found:
            if self._overdue(row) is not None:
                await self._end(row.id)

    def _overdue(self, row: N) -> str | None:
        return self.kind.life.overdue(self.kind.status(row), now_ms=self.clock(), expires_ms=row.expires_ms)

    async def _end(self, order_id: str) -> None:
        async with self.database.writing() as session:
            row = await self.kind.table.locked(session, order_id)
            # Looked at again under the lock: a report may have arrived since.
            why = None if row is None else self._overdue(row)
            if row is not None and why is not None:
                now = self.clock()
                self.kind.take(session, row, Step(self.kind.life.failed, CLOUD, now, why), now)
