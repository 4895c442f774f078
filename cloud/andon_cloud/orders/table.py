"""Reading orders and writing their logs, whatever kind they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import select

from andon_cloud.orders.models import AuditColumns, OrderColumns

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import StrEnum

    from sqlalchemy.ext.asyncio import AsyncSession

O = TypeVar("O", bound=OrderColumns)  # noqa: E741 - an order
A = TypeVar("A", bound=AuditColumns)
S = TypeVar("S", bound="StrEnum")

CLOUD = "cloud"
"""Actor of what the cloud decides by itself."""


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """Something that wants to move an order: who, whereto, when by whose clock, and why."""

    status: S
    actor: str
    at_ms: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OrderTable(Generic[O, A]):
    """A table of orders and its log.

    Attributes:
        orders: The orders' mapped class.
        log: The log's.
        key: The log's attribute that names the order.
    """

    orders: type[O]
    log: type[A]
    key: str

    async def get(self, session: AsyncSession, order_id: str) -> O | None:
        """One order, to be read."""
        found: O | None = await session.scalar(select(self.orders).where(self.orders.id == order_id))
        return found

    async def locked(self, session: AsyncSession, order_id: str) -> O | None:
        """One order, to be changed."""
        # FOR UPDATE serialises reports on PostgreSQL; on SQLite the transaction already is the only writer.
        query = select(self.orders).where(self.orders.id == order_id).with_for_update()
        found: O | None = await session.scalar(query)
        return found

    async def history(self, session: AsyncSession, order_id: str) -> list[A]:
        """What happened to an order, oldest first."""
        query = select(self.log).where(self._names(order_id)).order_by(self.log.number)
        return list(await session.scalars(query))

    async def is_recorded(self, session: AsyncSession, order_id: str, step: Step[Any]) -> bool:
        """Whether the log has the same report already: one entry is enough."""
        query = select(self.log.number).where(
            self._names(order_id), self.log.status == step.status, self.log.actor == step.actor
        )
        return await session.scalar(query.limit(1)) is not None

    def entry(self, order_id: str, step: Step[Any], now_ms: int, *, applied: bool) -> A:
        """An entry of the log; `applied` says whether the step moved the order."""
        values: dict[str, Any] = {
            self.key: order_id,
            "status": step.status,
            "applied": applied,
            "actor": step.actor,
            "reason": step.reason,
            "at_ms": step.at_ms,
            "recorded_ms": now_ms,
        }
        return self.log(**values)

    def _names(self, order_id: str) -> Any:
        return getattr(self.log, self.key) == order_id


def time_column(status: StrEnum) -> str:
    """Name of the column that has the time of a status."""
    return f"{status.replace('-', '_')}_ms"


def times_of(row: OrderColumns, statuses: Iterable[S]) -> dict[S, int]:
    """When an order reached each status that it reached, ms since the epoch."""
    times = {status: getattr(row, time_column(status)) for status in statuses}
    return {status: time for status, time in times.items() if time is not None}
