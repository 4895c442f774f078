"""Latency from the physical event to the value being queryable. Pure: times are passed in.

The probe asks the query API for the newest value of every node about every 25 ms, so each latency includes up to one
such period and the query's own time: the figures are upper bounds.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from andon_workbench.reconcile import Channel, StoredPoint
    from andon_workbench.world.ledger import Ledger


class Sightings:
    """When the newest stored time of each channel was first seen to be at least some value."""

    def __init__(self) -> None:
        self._times_ms: dict[Channel, list[int]] = {}
        self._seen_us: dict[Channel, list[int]] = {}

    def saw(self, channel: Channel, newest_ms: int, now_us: int) -> None:
        """Note that at `now_us` the newest stored point of `channel` was the one of `newest_ms`."""
        times = self._times_ms.setdefault(channel, [])
        if not times or newest_ms > times[-1]:
            times.append(newest_ms)
            self._seen_us.setdefault(channel, []).append(now_us)

    def visible_us(self, channel: Channel, time_ms: int) -> int | None:
        """First moment at which a point of `time_ms` was certainly queryable; None if it was never seen.

        Several points that arrive together show only their newest as `latest`; nodes send in order, so the older ones
        count as visible from that moment.
        """
        times = self._times_ms.get(channel, [])
        index = bisect_left(times, time_ms)
        return self._seen_us[channel][index] if index < len(times) else None


def latencies_ms(
    ledger: Ledger, temperatures: Mapping[Channel, list[StoredPoint]], sightings: Sightings
) -> list[float]:
    """Latency of each reading that was seen, in milliseconds.

    The n-th reading taken on a channel is the n-th stored point in time order; a channel on which the two differ has no
    such order and is left out (its difference fails the run anyway).
    """
    found: list[float] = []
    for channel, points in temperatures.items():
        node, number = channel
        entry = ledger.nodes.get(node)
        readings = entry.readings.get(number, []) if entry is not None else []
        ordered = sorted(points, key=lambda point: point.time_ms)
        if [reading.raw for reading in readings] != [point.raw for point in ordered]:
            continue
        for reading, point in zip(readings, ordered, strict=True):
            seen_us = sightings.visible_us(channel, point.time_ms)
            if seen_us is not None:
                found.append((seen_us - reading.time_us) / 1000)
    return found


def percentile(values: Iterable[float], share: float) -> float | None:
    """Nearest-rank percentile, `share` from 0 to 1 (None without values): the smallest value with that share at or below."""
    ordered: Sequence[float] = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
