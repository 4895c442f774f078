"""Which packs the uplink sends next: in order as long as it keeps up; after an outage fresh packs beside the backlog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from andon_gateway.spool.spool import read_after

if TYPE_CHECKING:
    import sqlite3

    from andon_gateway.spool.spool import SpooledPack

Lane = Literal["backlog", "live"]


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Size of one write.

    Attributes:
        packs: At most.
        points: At most, unless one pack has more.
        live_ms: A pack that has waited longer belongs to the backlog.
    """

    packs: int = 500
    points: int = 5_000
    live_ms: int = 5_000


@dataclass(slots=True)
class Batch:
    """Packs to be written in one request."""

    lane: Lane
    packs: list[SpooledPack]


class Lanes:
    """Two lanes through the spool, each in order of arrival.

    As long as the oldest waiting packs are fresh there is one lane. When they are old and do not fit into one batch, what is there is the
    backlog, and what arrives later is live: batches alternate, so live data has at least half of the way. When the live lane, too, falls
    behind, it starts again at the newest pack and leaves the rest to the backlog.

    A pack that replaces a point of an earlier one (`replaces`) never goes live: the earlier one might come after it. The backlog lane passes
    over all rows that are left, so it meets every pack in order.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._cursor = 0
        self._live: int | None = None
        self._turn: Lane = "live"

    @property
    def catching_up(self) -> bool:
        """Whether there are two lanes now."""
        return self._live is not None

    def restart(self) -> None:
        """Begin at the oldest pack again."""
        self._cursor, self._live = 0, None

    def next(self, reader: sqlite3.Connection, now_ms: int) -> Batch | None:
        """The next batch; None when nothing waits that was not passed over."""
        if self._live is None:
            packs, full = self._read(reader, self._cursor, "backlog")
            if full and self._old(packs, now_ms):
                self._live = _newest(reader)
            return Batch("backlog", packs) if packs else None
        if self._turn == "live":
            self._turn = "backlog"
            packs, full = self._read(reader, self._live, "live")
            if full and self._old(packs, now_ms):
                self._live = _newest(reader)
            elif packs:
                return Batch("live", packs)
        self._turn = "live"
        packs, full = self._read(reader, self._cursor, "backlog")
        if not full:
            # The end of the spool is in this batch: one lane is enough from here.
            self._live = None
        return Batch("backlog", packs) if packs else None

    def done(self, batch: Batch) -> None:
        """The batch is stored, or its nodes are unknown: go on behind it."""
        if batch.lane == "backlog":
            self._cursor = batch.packs[-1].id
        elif self._live is not None:
            self._live = max(self._live, batch.packs[-1].id)

    def _read(self, reader: sqlite3.Connection, cursor: int, lane: Lane) -> tuple[list[SpooledPack], bool]:
        limits = self._limits
        packs = read_after(reader, cursor, limits.packs, most_points=limits.points, originals=lane == "live")
        more = bool(packs) and bool(read_after(reader, packs[-1].id, 1, originals=lane == "live"))
        return packs, more

    def _old(self, packs: list[SpooledPack], now_ms: int) -> bool:
        return now_ms - packs[0].arrival_ms > self._limits.live_ms


def _newest(reader: sqlite3.Connection) -> int:
    return int(reader.execute("SELECT max(id) FROM spool").fetchone()[0] or 0)


class Pace:
    """At most so many points per second, over any time longer than `burst_s`. Pure: the clock is passed in.

    Args:
        points_per_s: 0: no limit.
        burst_s: How long unused points are kept.
    """

    def __init__(self, points_per_s: float, burst_s: float = 1.0) -> None:
        self._rate = points_per_s
        self._burst_s = burst_s
        self._free_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """Time until the next write may start."""
        return max(0.0, self._free_s - now_s) if self._rate else 0.0

    def spend(self, points: int, now_s: float) -> None:
        """Points that are being sent now."""
        if self._rate:
            self._free_s = max(self._free_s, now_s - self._burst_s) + points / self._rate
