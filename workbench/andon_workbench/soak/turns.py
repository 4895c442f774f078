"""When the host kept a board's process from running: what fast_clock.c tells of its turns. Pure but for `read_turns`.

At `speed` times, a millisecond in which a process waits for a processor is `speed` milliseconds of a board's life. No board has such
pauses, and no firmware can act in them. So the preloaded clock notes for every turn of a board's event loop when it was due (the
end of its wait), when it was over, and how much of it the process was at work or asleep of its own. The rest is the host's: it is
measured, not assumed. But a firmware that has had its turns and did not act is late by itself, however busy the host was:
only the first few turns count.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# After these the firmware has had its chance: it looks at its outputs in every turn, or in the one after (relay_watch.py).
_CHANCES = 3
_WORDS = 3
_NS = 1000


class Turns:
    """The long turns of one board over all its starts, in microseconds of CLOCK_MONOTONIC.

    Args:
        turns: (due, end, own): `own` is the CPU time of the process, as long as it took on the host, and its sleep.
    """

    def __init__(self, turns: Iterable[tuple[int, int, int]] = ()) -> None:
        self._turns = sorted(turns)

    @classmethod
    def read(cls, files: Iterable[Path]) -> Self:
        """Those in files of fast_clock.c, one per process; a process without a long turn has none."""
        return cls(turn for file in files if file.is_file() for turn in _records(file))

    def kept_us(self, start_us: int, end_us: int) -> int:
        """How long the host kept the board from running between the two, at least, in the first turns in which it did."""
        kept = 0
        first = self._first_over_after(start_us)
        for due, end, own in self._turns[first : first + _CHANCES]:
            if due >= end_us:
                break
            kept += max(0, min(end, end_us) - max(due, start_us) - own)
        return kept

    def seen_us(self, arrived_us: int) -> int:
        """When the firmware has looked at the latest at a datagram that arrived then: at the end of the turn after the present one."""
        for _ in range(2):
            place = self._first_over_after(arrived_us)
            if place < len(self._turns) and self._turns[place][0] <= arrived_us:
                arrived_us = self._turns[place][1]
        return arrived_us

    def _first_over_after(self, time_us: int) -> int:
        # A board has one turn at a time, so the ends are in order, too.
        return bisect_right(self._turns, time_us, key=lambda turn: turn[1])


def _records(file: Path) -> Iterable[tuple[int, int, int]]:
    data = file.read_bytes()
    words = array("q")
    # A power cut may leave a part of a record.
    words.frombytes(data[: len(data) // (_WORDS * words.itemsize) * _WORDS * words.itemsize])
    microseconds = (word // _NS for word in words)
    return zip(microseconds, microseconds, microseconds, strict=True)
