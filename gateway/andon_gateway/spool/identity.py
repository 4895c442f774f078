"""Which packs were taken: sequence numbers of one boot as ranges. Pure."""

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

    Attributes:
        low: First number of the last range.
        high: Its last number; below `low` as long as there is no range.
        earlier: The ranges before it.
        changed: Whether the database has yet to hear of it.
    """

    low: int = 0
    high: int = -1
    earlier: list[tuple[int, int]] = field(default_factory=list)
    changed: bool = False

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """All of them, first and last number of each."""
        return [*self.earlier, (self.low, self.high)] if self.low <= self.high else []

    def __contains__(self, seq: int) -> bool:
        if seq >= self.low:
            return seq <= self.high
        index = bisect_right(self.earlier, seq, key=_first) - 1
        return index >= 0 and seq <= self.earlier[index][1]

    def add(self, seq: int) -> bool:
        """Note a sequence number; False when it was there already."""
        if seq == self.high + 1:  # in order, as nearly always
            self.high = seq
        elif seq in self:
            return False
        else:
            self._insert(seq)
        self.changed = True
        return True

    def _insert(self, seq: int) -> None:
        ranges = self.ranges
        index = bisect_right(ranges, seq, key=_first)
        low = high = seq
        if index < len(ranges) and ranges[index][0] == seq + 1:
            high = ranges.pop(index)[1]
        if index and ranges[index - 1][1] == seq - 1:
            index -= 1
            low = ranges.pop(index)[0]
        ranges.insert(index, (low, high))
        if len(ranges) > MAX_RANGES:
            ranges[0:2] = [(ranges[0][0], ranges[1][1])]
        self.low, self.high = ranges.pop()
        self.earlier = ranges

    def to_text(self) -> str:
        """The ranges as `0-41 43-50`, for the database."""
        return " ".join([f"{low}-{high}" for low, high in self.ranges])

    @classmethod
    def from_text(cls, text: str) -> SeenRanges:
        """The inverse of `to_text`."""
        pairs = (item.split("-") for item in text.split())
        ranges = [(int(low), int(high)) for low, high in pairs]
        return cls(*ranges.pop(), ranges) if ranges else cls()


def _first(numbers: tuple[int, int]) -> int:
    return numbers[0]
