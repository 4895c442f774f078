"""The life of an order that a gateway carries out at a node, as a pure state machine.

Reports may be lost, repeated or late: a step forward may leave out the ones between, a step backwards or out of a final status
changes nothing. Each order is one try.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

REPORT_GRACE_MS: Final = 600_000
"""How long after its expiry the cloud waits for the report of a gateway that may be cut off."""

S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Life(Generic[S]):
    """One kind of order's life.

    Attributes:
        way: The statuses on the way, in order; an order begins with the first.
        final: Its ends.
        failed: The end that the cloud gives one by itself.
        tried: From this status on it cannot be cancelled.
    """

    way: Sequence[S]
    final: frozenset[S]
    failed: S
    tried: S

    @property
    def statuses(self) -> list[S]:
        """All of them."""
        return [*self.way, *sorted(self.final)]

    def may_step(self, current: S, wanted: S) -> bool:
        """Whether a report of `wanted` moves an order that is `current`."""
        if current in self.final:
            return False
        return wanted in self.final or self.way.index(wanted) > self.way.index(current)

    def may_cancel(self, current: S) -> bool:
        """Whether the node cannot have begun to try it."""
        return current not in self.final and self.way.index(current) < self.way.index(self.tried)

    def overdue(self, status: S, *, now_ms: int, expires_ms: int) -> str | None:
        """Why the cloud ends an order by itself, or None to go on waiting."""
        if status in self.final:
            return None
        if status == self.way[0] and now_ms >= expires_ms:
            return "the gateway did not take it before it expired"
        if now_ms >= expires_ms + REPORT_GRACE_MS:
            return "the gateway reported no end of it; see what the node runs before trying again"
        return None
