"""Whose report is sent next, when the cloud fails on some of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from andon_gateway.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

BACK_FIRST_S: Final = 1.0
BACK_MOST_S: Final = 300.0
TOLD_AFTER: Final = 3
"""A report is called put back when it has failed as often while others went through; before, it may have been an accident."""


class _PutBack:
    def __init__(self, backoff: Backoff) -> None:
        self.backoff = backoff
        self.failures = 0
        self.due_s = 0.0


class ReportTurns:
    """Tells a report on which the cloud fails from a cloud that fails on every report.

    Reports of one order are sent in their order, so it is orders that have to wait. One whose report has failed is a suspect: the next try is
    another's. When that goes through, it was not the cloud, and the suspect is put back with growing pauses. When there is no other left, it
    starts again with the first, and nothing is concluded.

    Args:
        backoff: Makes the pauses of one order.
    """

    def __init__(self, backoff: Callable[[], Backoff] = lambda: Backoff(BACK_FIRST_S, BACK_MOST_S)) -> None:
        self._make = backoff
        self._suspects: set[str] = set()
        self._back: dict[str, _PutBack] = {}
        self._newly: list[str] = []

    @property
    def put_back(self) -> int:
        """Orders on whose reports the cloud fails again and again."""
        return sum(item.failures >= TOLD_AFTER for item in self._back.values())

    def waiting(self, now_s: float) -> set[str]:
        """The orders that are passed over now."""
        return self._suspects | {order for order, item in self._back.items() if item.due_s > now_s}

    def taken(self, order: str, now_s: float) -> None:
        """A report went through, or was refused for good."""
        self._suspects.discard(order)
        self._back.pop(order, None)
        for suspect in self._suspects:
            self._blame(suspect, now_s)
        self._suspects.clear()

    def failed(self, order: str, now_s: float) -> bool:
        """The cloud failed on a report; True: as it has before, while it took others'."""
        if order not in self._back:
            self._suspects.add(order)
            return False
        self._blame(order, now_s)
        return True

    def nothing_else(self, now_s: float) -> float | None:
        """No report is left but of those that wait: seconds until one is due (0: try the suspects again), None when there are none."""
        if self._suspects:
            self._suspects.clear()
            return 0.0
        return min((max(0.0, item.due_s - now_s) for item in self._back.values()), default=None)

    def only(self, orders: set[str], now_s: float) -> None:
        """Of the orders that do not wait, these have reports; what is known of others is forgotten."""
        for order in [order for order, item in self._back.items() if item.due_s <= now_s and order not in orders]:
            del self._back[order]

    def newly_put_back(self) -> list[str]:
        """Orders that count as put back since this was last asked."""
        newly, self._newly = self._newly, []
        return newly

    def _blame(self, order: str, now_s: float) -> None:
        item = self._back.setdefault(order, _PutBack(self._make()))
        item.failures += 1
        item.due_s = now_s + item.backoff.next_s()
        if item.failures == TOLD_AFTER:
            self._newly.append(order)
