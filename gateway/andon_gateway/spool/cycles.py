"""The monotonic cycle total of one channel across the node's boots. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MAX_OPEN_BOOTS: Final = 32


@dataclass(slots=True)
class CycleTotal:
    """Turns counts that restart at every boot into one total: the sum over boots of the highest count seen.

    Attributes:
        highest: Highest raw count by boot, for the youngest `MAX_OPEN_BOOTS` boots.
        settled: Sum over older boots; late readings of those no longer change the total.
        settled_boot: Youngest boot inside `settled`.
        newest_ms: Time of the newest point given out, ms since the epoch.
        newest_total: Its value.
    """

    highest: dict[int, int] = field(default_factory=dict)
    settled: int = 0
    settled_boot: int = -1
    newest_ms: int = -1
    newest_total: int = 0

    @property
    def total(self) -> int:
        """The machine's cycles as far as known."""
        return self.settled + sum(self.highest.values())

    def take(self, boot: int, raw: int, time_ms: int) -> list[tuple[int, int]]:
        """Add one reading and give the points (time in ms, total) that it puts into the store.

        A reading that arrives late gets the total of its own time, never more than was given out for a later time. When it
        raises the sum, the newest point is written again with the new total (same time: the store replaces it), so the series
        never falls and its end is always the sum.
        """
        if time_ms >= self.newest_ms:
            return [(time_ms, self.advance(boot, raw, time_ms))]
        total = self._raise(boot, raw)
        earlier_boots = self.settled + sum(count for other, count in self.highest.items() if other < boot)
        points = [(time_ms, min(earlier_boots + raw, self.newest_total))]
        if total > self.newest_total:
            self.newest_total = total
            points.append((self.newest_ms, total))
        return points

    def advance(self, boot: int, raw: int, time_ms: int) -> int:
        """Add a reading that is not older than the newest point, and give the total at its time."""
        self.newest_ms = time_ms
        highest = self.highest
        if len(highest) == 1 and boot in highest:  # as nearly always: of one boot, which is not settled
            highest[boot] = count = max(raw, highest[boot])
            self.newest_total = total = self.settled + count
        else:
            self.newest_total = total = self._raise(boot, raw)
        return total

    def _raise(self, boot: int, raw: int) -> int:
        highest = self.highest
        if boot > self.settled_boot:
            if raw > highest.get(boot, -1):
                highest[boot] = raw
            if len(highest) > MAX_OPEN_BOOTS:
                self._settle()
        return self.settled + sum(highest.values())

    def _settle(self) -> None:
        while len(self.highest) > MAX_OPEN_BOOTS:
            oldest = min(self.highest)
            self.settled += self.highest.pop(oldest)
            self.settled_boot = max(self.settled_boot, oldest)
