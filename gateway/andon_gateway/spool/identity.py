"""Which packs were taken: sequence numbers per (node, boot) as ranges. Pure."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

MAX_RANGES: Final = 256
MAX_BOOTS: Final = 256


@dataclass(slots=True)
class SeenRanges:
    """Sequence numbers already taken in one boot, kept as sorted disjoint ranges.

    A node sends in order, so this is usually one range; each hole is a pack that the node lost. Beyond `MAX_RANGES` the oldest
    hole is closed: its packs would be answered as duplicates, which bounds memory against a node that skips forever.
    """

    ranges: list[tuple[int, int]] = field(default_factory=list)

    def __contains__(self, seq: int) -> bool:
        index = bisect_right(self.ranges, (seq, seq)) - 1
        hit = index >= 0 and seq <= self.ranges[index][1]
        return hit or (index + 1 < len(self.ranges) and self.ranges[index + 1][0] == seq)

    def add(self, seq: int) -> bool:
        """Note a sequence number; False when it was there already."""
        ranges = self.ranges
        if ranges:
            low, high = ranges[-1]
            if seq == high + 1:  # in order, as nearly always
                ranges[-1] = (low, seq)
                return True
        if seq in self:
            return False
        index = bisect_right(self.ranges, (seq, seq))
        low = high = seq
        if index < len(self.ranges) and self.ranges[index][0] == seq + 1:
            high = self.ranges.pop(index)[1]
        if index and self.ranges[index - 1][1] == seq - 1:
            index -= 1
            low = self.ranges.pop(index)[0]
        self.ranges.insert(index, (low, high))
        if len(self.ranges) > MAX_RANGES:
            self.ranges[0:2] = [(self.ranges[0][0], self.ranges[1][1])]
        return True

    def to_text(self) -> str:
        """The ranges as `0-41 43-50`, for the database."""
        if len(self.ranges) == 1:
            low, high = self.ranges[0]
            return f"{low}-{high}"
        return " ".join(f"{low}-{high}" for low, high in self.ranges)

    @classmethod
    def from_text(cls, text: str) -> SeenRanges:
        """The inverse of `to_text`."""
        pairs = (item.split("-") for item in text.split())
        return cls([(int(low), int(high)) for low, high in pairs])
