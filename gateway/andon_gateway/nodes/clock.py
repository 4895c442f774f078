"""Whether a node's clock is right, from the times of its readings against their arrival. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

PACKS: Final = 16
SPAN_MS: Final = 10_000
SPREAD_MS: Final = 2_000
"""Over `SPAN_MS`, a node that works off a backlog at 1.2 times the speed of time changes its packs' age by as much."""


@dataclass(slots=True)
class ClockWatch:
    """Estimates how far a node's clock is ahead (positive) or behind.

    A reading cannot be from the future, so a newest reading later than its arrival proves a clock that is ahead. A pack that is old may have
    waited on the node: only when the last `PACKS` packs, over at least `SPAN_MS`, are all old **by the same amount** is it the clock, because a
    node that works off a backlog catches up.
    """

    recent: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=PACKS))

    def offset_ms(self, newest_ms: int, arrival_ms: int, limit_ms: int) -> int | None:
        """Add a pack; the clock's offset when it is beyond the limit, 0 when it is within, None while that is not known.

        Args:
            newest_ms: Time of the pack's newest reading.
            arrival_ms: By the gateway's clock.
            limit_ms: Largest offset that is right.
        """
        offset = newest_ms - arrival_ms
        if offset > limit_ms:
            self.recent.clear()
            return offset
        if offset >= -limit_ms:
            self.recent.clear()
            return 0
        self.recent.append((arrival_ms, offset))
        offsets = [item for _, item in self.recent]
        full = len(self.recent) == PACKS and arrival_ms - self.recent[0][0] >= SPAN_MS
        if not full or max(offsets) - min(offsets) > SPREAD_MS:
            return None
        return max(offsets)
