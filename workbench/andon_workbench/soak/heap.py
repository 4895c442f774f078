"""Growth of the nodes' heaps: slope of the free heap while a node runs. Pure."""

from __future__ import annotations

from bisect import bisect_right
from statistics import fmean, median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_HOUR_MS = 3_600_000.0
_ENOUGH = 3


def slope_per_hour(
    samples: Sequence[tuple[float, float]], starts_ms: Sequence[float], warm_up_ms: float
) -> float | None:
    """Least-squares slope of (epoch ms, bytes), per hour, with a level of its own for every start of the node.

    Args:
        samples: Free heap by time.
        starts_ms: When the node was powered, in order.
        warm_up_ms: Time after each start that does not count: modules are still being imported, buffers made.

    Returns:
        None where no start has enough samples.
    """
    runs: dict[int, list[tuple[float, float]]] = {}
    for time_ms, free in samples:
        run = bisect_right(starts_ms, time_ms)
        if run == 0 or time_ms - starts_ms[run - 1] >= warm_up_ms:
            runs.setdefault(run, []).append((time_ms / _HOUR_MS, free))
    above = below = 0.0
    for points in runs.values():
        if len(points) < _ENOUGH:
            continue
        mean_time, mean_free = fmean(hours for hours, _ in points), fmean(free for _, free in points)
        above += sum((hours - mean_time) * (free - mean_free) for hours, free in points)
        below += sum((hours - mean_time) ** 2 for hours, _ in points)
    return above / below if below else None


def typical_slope(slopes: Iterable[float | None]) -> float | None:
    """Median over the nodes that have one."""
    known = [slope for slope in slopes if slope is not None]
    return median(known) if known else None
