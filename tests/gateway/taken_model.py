"""What the spool has to know of the packs it took, written down as plainly as possible: sets, sums, and no thought of cost or disk."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import sqlite3

    from andon_gateway.senml.pack import Pack


class Limits(NamedTuple):
    """The bounds that the gateway sets itself."""

    boots: int
    ranges: int
    open_boots: int


@dataclass
class Total:
    """The sum over boots of the highest count seen; `closed` boots count no more."""

    highest: dict[int, int] = field(default_factory=dict)
    closed: list[int] = field(default_factory=list)
    closed_sum: int = 0
    newest_ms: int = -1

    @property
    def sum(self) -> int:
        return self.closed_sum + sum(self.highest.values())

    def take(self, boot: int, raw: int, time_ms: int, most_open: int) -> list[tuple[int, int]]:
        given_out = self.sum
        if boot > max(self.closed, default=-1):
            self.highest[boot] = max(raw, self.highest.get(boot, 0))
            while len(self.highest) > most_open:
                self.closed.append(min(self.highest))
                self.closed_sum += self.highest.pop(self.closed[-1])
        if time_ms >= self.newest_ms:
            self.newest_ms = time_ms
            return [(time_ms, self.sum)]
        until_then = self.closed_sum + raw + sum(count for other, count in self.highest.items() if other < boot)
        again = [(self.newest_ms, self.sum)] if self.sum > given_out else []
        return [(time_ms, min(until_then, given_out)), *again]

    def row(self) -> tuple[Any, ...]:
        """As in the table, open boots as a dictionary."""
        return self.highest, self.closed_sum, max(self.closed, default=-1), self.newest_ms, self.sum


@dataclass
class Known:
    """Everything that may not be lost with a process."""

    limits: Limits
    boots: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    floors: dict[str, int] = field(default_factory=dict)
    totals: dict[tuple[str, str], Total] = field(default_factory=dict)
    earlier: set[tuple[str, int]] = field(default_factory=set)
    """The boots that earlier groups have left."""

    def begin_group(self) -> None:
        self.earlier = set(self.boots)

    def append(self, pack: Pack) -> tuple[bool, list[list[object]]]:
        """Whether a pack is new, and its points in the store."""
        if not self._is_new(pack):
            return False, []
        points: list[list[object]] = []
        for name, time_ms, value in pack.readings:
            if name.startswith("cycles/"):
                assert isinstance(value, int)
                taken = self.count(pack.node, name, pack.boot, value, time_ms)
                points += [[name, *point] for point in taken]
            else:
                points.append([name, time_ms, value])
        return True, points

    def count(self, node: str, name: str, boot: int, raw: int, time_ms: int) -> list[tuple[int, int]]:
        total = self.totals.setdefault((node, name), Total())
        return total.take(boot, raw, time_ms, self.limits.open_boots)

    def see(self, node: str, boot: int, seq: int) -> None:
        seen = self.boots.setdefault((node, boot), set())
        seen.add(seq)
        holes = [number for number in range(min(seen), max(seen)) if number not in seen]
        starts = [number for number in holes if number - 1 in seen]
        if len(starts) >= self.limits.ranges:  # the oldest hole is closed
            seen.update(number for number in holes if number < starts[1])

    def forget_node(self, node: str) -> None:
        self.floors.pop(node, None)
        for key in [key for key in self.boots if key[0] == node]:
            del self.boots[key]
            self.earlier.discard(key)
        for channel in [channel for channel in self.totals if channel[0] == node]:
            del self.totals[channel]

    def _is_new(self, pack: Pack) -> bool:
        key = (pack.node, pack.boot)
        if key not in self.boots:
            if pack.boot <= self.floors.get(pack.node, -1):
                return False
            old = sorted((boot for node, boot in self.earlier if node == pack.node), reverse=True)
            if len(old) >= self.limits.boots:
                floor = old[self.limits.boots - 1]
                if pack.boot < floor:
                    return False
                self.floors[pack.node] = floor
                for gone in [boot for boot in old if boot <= floor]:
                    del self.boots[pack.node, gone]
                    self.earlier.discard((pack.node, gone))
        elif pack.seq in self.boots[key]:
            return False
        self.see(*key, pack.seq)
        return True

    def all(self) -> tuple[Any, ...]:
        return self.boots, self.floors, {channel: total.row() for channel, total in self.totals.items()}


def on_disk(connection: sqlite3.Connection, limits: Limits) -> Known:
    """What a process that starts now would find: the tables, and what the groups since then have taken."""
    known = Known(limits)
    for node, boot, text in connection.execute("SELECT node, boot, seen FROM identity"):
        ranges = [part.split("-") for part in text.split()]
        known.boots[node, boot] = {seq for low, high in ranges for seq in range(int(low), int(high) + 1)}
    known.floors = dict(connection.execute("SELECT node, boot FROM identity_floor"))
    for node, name, highest, settled, settled_boot, newest_ms, newest_total in connection.execute(
        "SELECT node, name, highest, settled, settled_boot, newest_ms, newest_total FROM cycle_total"
    ):
        counts = {int(boot): count for boot, count in json.loads(highest).items()}
        closed = [settled_boot] if settled_boot >= 0 else []
        known.totals[node, name] = Total(counts, closed, settled, newest_ms)
        assert newest_total == known.totals[node, name].sum
    for (packs,) in connection.execute("SELECT packs FROM taken ORDER BY id"):
        for node, boot, seq, taken in json.loads(packs):
            known.see(node, boot, seq)
            for name, raw, time_ms in taken:
                known.count(node, name, boot, raw, time_ms)
    return known
