"""Compares what lean nodes had acknowledged with what the store answers. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from andon_workbench.chaos.pack import READINGS_PER_PACK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from andon_workbench.chaos.pack import Pack
    from andon_workbench.reconcile import StoredPoint


@dataclass(frozen=True, slots=True)
class NodeSeries:
    """What the store has of one node: temperatures by channel, and (ms since the epoch, total) of its cycles in time's order."""

    temperatures: Mapping[int, Sequence[StoredPoint]]
    totals: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Count:
    """Readings: acknowledged, of those in the store, of those not; and what is in the store beyond what was taken.

    A cycle too few in a total counts as lost, one too many as double. `falls` is how often a total is less than an earlier one.
    """

    acknowledged: int = 0
    stored: int = 0
    lost: int = 0
    double: int = 0
    falls: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(
            self.acknowledged + other.acknowledged,
            self.stored + other.stored,
            self.lost + other.lost,
            self.double + other.double,
            self.falls + other.falls,
        )


def account_for(packs: Sequence[Pack], stored: NodeSeries, *, clockless: bool) -> Count:
    """One node's account. A pack that was not acknowledged may be in the store or not, but not twice."""
    found = _clockless(packs, stored) if clockless else _clocked(packs, stored)
    return found + Count(falls=falls([total for _, total in stored.totals]))


def falls(totals: Sequence[int]) -> int:
    """How often a series that must not fall does."""
    return sum(later < earlier for earlier, later in pairwise(totals))


def _clocked(packs: Sequence[Pack], stored: NodeSeries) -> Count:
    """Every reading has its time: the store must have exactly these points, and with every total the truth of its time."""
    points = {(channel, point.time_ms, point.raw) for channel, found in stored.temperatures.items() for point in found}
    taken = {(pack.channel, pack.taken_ms, pack.raw): pack for pack in packs}
    totals = dict(stored.totals)
    true = {pack.taken_ms: pack for pack in packs}
    acknowledged = [pack for pack in packs if pack.acknowledged]
    kept = sum((pack.channel, pack.taken_ms, pack.raw) in points for pack in acknowledged)
    kept_totals = sum(pack.taken_ms in totals for pack in acknowledged)
    # A cycle that is missing is missing in all later totals, too: the largest gap is what was lost.
    gaps = [true[time_ms].total - total for time_ms, total in totals.items() if time_ms in true] or [0]
    readings = READINGS_PER_PACK * len(acknowledged)
    return Count(
        acknowledged=readings,
        stored=kept + kept_totals,
        lost=readings - kept - kept_totals + max(0, *gaps),
        double=len(points - taken.keys()) + len(totals.keys() - true.keys()) + max(0, *(-gap for gap in gaps)),
    )


def _clockless(packs: Sequence[Pack], stored: NodeSeries) -> Count:
    """The gateway has dated the readings: each must be there once at any time, and the last total must be the truth."""
    points = Counter((channel, point.raw) for channel, found in stored.temperatures.items() for point in found)
    taken = {(pack.channel, pack.raw) for pack in packs}
    acknowledged = [pack for pack in packs if pack.acknowledged]
    kept = sum((pack.channel, pack.raw) in points for pack in acknowledged)
    twice = sum(times - 1 if point in taken else times for point, times in points.items())
    last = stored.totals[-1][1] if stored.totals else 0
    # What was not acknowledged may have been counted.
    least = acknowledged[-1].total if acknowledged else 0
    most = packs[-1].total if packs else 0
    few, many = max(0, least - last), max(0, last - most)
    # Each acknowledged count has its part in the total; two points may share a millisecond, so the points are not counted.
    readings = READINGS_PER_PACK * len(acknowledged)
    return Count(
        readings, kept + len(acknowledged) - min(few, len(acknowledged)), len(acknowledged) - kept + few, twice + many
    )
