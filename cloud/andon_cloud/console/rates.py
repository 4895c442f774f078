"""Cycle counts to rates: pure functions over the samples of a cumulative counter."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE_WINDOWS_S = (60, 300)
"""Windows over which a rate is taken: the shortest one that holds enough cycles, so fast machines react fast."""

ENOUGH_CYCLES = 4
"""Cycles that a window needs before its rate is trusted; fewer would jump by more than a quarter per cycle."""


_TWO_SAMPLES = 2


class Point(NamedTuple):
    """A value at a time in milliseconds since the epoch."""

    time_ms: int
    value: float


def cycles_made(counts: Sequence[Point]) -> int:
    """Cycles between the first and the last sample; a counter that fell has started again from zero."""
    return sum(_step(before.value, after.value) for before, after in pairwise(counts))


def cycles_per_window(counts: Sequence[Point]) -> list[Point]:
    """Cycles made up to each sample since the one before it, stamped with the later time."""
    return [Point(after.time_ms, _step(before.value, after.value)) for before, after in pairwise(counts)]


def last_cycle_ms(counts: Sequence[Point]) -> int | None:
    """Time of the last sample that shows a new cycle; None when no sample does."""
    for before, after in reversed(list(pairwise(counts))):
        if after.value != before.value:
            return after.time_ms
    return None


def mean_cycle_s(counts: Sequence[Point]) -> float | None:
    """Mean seconds per cycle from the first sample to the last cycle; later standstill does not lengthen it."""
    stopped_ms = last_cycle_ms(counts)
    made = cycles_made(counts)
    if stopped_ms is None or made == 0:
        return None
    return (stopped_ms - counts[0].time_ms) / made / 1000


def rate_per_min(counts: Sequence[Point], now_ms: int) -> float | None:
    """Cycles per minute over the shortest of `RATE_WINDOWS_S` that holds `ENOUGH_CYCLES`, else over the longest.

    Returns:
        None while there are fewer than two samples to compare.
    """
    rate: float | None = None
    for window_s in RATE_WINDOWS_S:
        recent = _since(counts, now_ms - window_s * 1000)
        if len(recent) < _TWO_SAMPLES:
            continue
        made = cycles_made(recent)
        # Up to now, not up to the last sample: a machine that has gone silent slows down, it does not keep its rate.
        elapsed_ms = max(now_ms, recent[-1].time_ms) - recent[0].time_ms
        if elapsed_ms <= 0:
            continue
        rate = made * 60_000 / elapsed_ms
        if made >= ENOUGH_CYCLES:
            break
    return rate


def _since(counts: Sequence[Point], start_ms: int) -> list[Point]:
    return [point for point in counts if point.time_ms >= start_ms]


def _step(before: float, after: float) -> int:
    return int(after - before) if after >= before else int(after)
