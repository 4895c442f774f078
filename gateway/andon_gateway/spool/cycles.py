"""The monotonic cycle total of one channel across the node's boots. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_OPEN_BOOTS: Final = 32
NO_BOOT: Final = -1


@dataclass(slots=True)
class CycleTotal:
    """Turns counts that restart at every boot into one total: the sum over boots of the highest count seen.

    A boot is open as long as its readings may raise the total: the youngest `MAX_OPEN_BOOTS` are. Nearly each reading is of the
    youngest one, which is therefore kept apart from the others.

    Attributes:
        boot: The youngest open boot; `NO_BOOT` before the first reading.
        count: Its highest raw count.
        before: The sum over all other boots, open and settled.
        newest_ms: Time of the newest point given out, ms since the epoch. Its value is `total`.
        changed: Whether the database has yet to hear of it.
        others: Highest raw count by boot, for the other open boots.
        settled: Sum over older boots; late readings of those no longer change the total.
        settled_boot: Youngest boot inside `settled`.
    """

    boot: int = NO_BOOT
    count: int = 0
    before: int = 0
    newest_ms: int = -1
    changed: bool = False
    others: dict[int, int] = field(default_factory=dict)
    settled: int = 0
    settled_boot: int = NO_BOOT

    @classmethod
    def restored(cls, highest: Mapping[int, int], settled: int, settled_boot: int, newest_ms: int) -> CycleTotal:
        """As it was written: `highest` has the highest raw count of each open boot."""
        total = cls(newest_ms=newest_ms, settled=settled, settled_boot=settled_boot)
        total._keep(dict(highest))
        return total

    @property
    def total(self) -> int:
        """The machine's cycles as far as known."""
        return self.before + self.count

    @property
    def highest(self) -> dict[int, int]:
        """Highest raw count by open boot."""
        return {**self.others, self.boot: self.count} if self.boot != NO_BOOT else {}

    def take(self, boot: int, raw: int, time_ms: int) -> list[tuple[int, int]]:
        """Add one reading and give the points (time in ms, total) that it puts into the store.

        A reading that arrives late gets the total of its own time, never more than was given out for a later time. When it
        raises the sum, the newest point is written again with the new total (same time: the store replaces it), so the series
        never falls and its end is always the sum.
        """
        if time_ms >= self.newest_ms:
            return [(time_ms, self.advance(boot, raw, time_ms))]
        given_out = self.total
        self._raise(boot, raw)
        self.changed = True
        earlier_boots = self.settled + sum(count for other, count in self.highest.items() if other < boot)
        points = [(time_ms, min(earlier_boots + raw, given_out))]
        if self.total > given_out:
            points.append((self.newest_ms, self.total))
        return points

    def advance(self, boot: int, raw: int, time_ms: int) -> int:
        """Add a reading that is not older than the newest point, and give the total at its time."""
        self.newest_ms = time_ms
        self.changed = True
        if boot != self.boot:
            self._raise(boot, raw)
        elif raw > self.count:
            self.count = raw
        return self.before + self.count

    def _raise(self, boot: int, raw: int) -> None:
        if boot > self.settled_boot:
            highest = self.highest
            if raw > highest.get(boot, -1):
                highest[boot] = raw
            while len(highest) > MAX_OPEN_BOOTS:
                oldest = min(highest)
                self.settled += highest.pop(oldest)
                self.settled_boot = max(self.settled_boot, oldest)
            self._keep(highest)

    def _keep(self, highest: dict[int, int]) -> None:
        if highest:
            self.boot = max(highest)
            self.count = highest.pop(self.boot)
        self.others = highest
        self.before = self.settled + sum(highest.values())
