"""Which packs were taken, and what they made of the totals: on disk with each group, in as few writes as possible.

Each group writes one row that says which packs it took. The tables of identities and totals follow when that has grown long, and
then all at once; after a start, or a failed commit, the rows are applied again to what the tables say.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Final

from andon_gateway.spool.cycles import CycleTotal
from andon_gateway.spool.database import write_rows
from andon_gateway.spool.identity import MAX_BOOTS, SeenRanges

if TYPE_CHECKING:
    import sqlite3

    from andon_gateway.senml.pack import Pack

MOST_CACHED: Final = 20_000
MOST_BEHIND: Final = 4096
"""Packs after which the tables are written; a start applies at most as many again."""
Count = tuple[str, int, int]
"""Name, raw count, time in ms since the epoch."""


@cache
def _layout(counts: int) -> str:
    """Makes the JSON of one pack, in a third of an encoder's time; names and node ids need no escapes."""
    return '["%s",%d,%d,[' + ",".join(['["%s",%d,%d]'] * counts) + "]]"


def _flat(pack: tuple[str, int, int, list[Count]]) -> tuple[object, ...]:
    return (*pack[:3], *chain.from_iterable(pack[3]))


class Taken:
    """Used in the writer thread, inside its transactions. The caches are dropped after a failed commit."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, int], SeenRanges] = OrderedDict()
        self._floors: dict[str, int] = {}
        self._totals: OrderedDict[tuple[str, str], CycleTotal] = OrderedDict()
        self._dirty_seen: set[tuple[str, int]] = set()
        self._dirty_totals: set[tuple[str, str]] = set()
        self._fresh: list[tuple[str, int, int, list[Count]]] = []
        self._behind = 0
        self._whole = False
        self._loaded = False

    def load(self, connection: sqlite3.Connection) -> None:
        """Bring the caches to what was last committed; before anything else in a transaction."""
        if self._loaded:
            return
        self._loaded = True
        for (packs,) in connection.execute("SELECT packs FROM taken ORDER BY id").fetchall():
            self._whole = True
            for node, boot, seq, counts in json.loads(packs):
                seen = self._seen_of(connection, (node, boot)) or SeenRanges()
                self._seen[node, boot] = seen
                seen.add(seq)
                self._dirty_seen.add((node, boot))
                for name, raw, time_ms in counts:
                    self.total(connection, (node, name)).take(boot, raw, time_ms)

    def is_new(self, connection: sqlite3.Connection, pack: Pack) -> bool:
        """Note a pack's identity; False when it was taken before."""
        key = (pack.node, pack.boot)
        seen = self._seen.get(key)
        if seen is None:
            if pack.boot <= self._floor(connection, pack.node):
                return False
            seen = self._seen_of(connection, key)
            if seen is None:
                if not self._make_room(connection, pack):
                    return False
                self._whole = True  # the row of a boot is there from its first group on: only those are counted
                seen = SeenRanges()
            self._seen[key] = seen
        if not seen.add(pack.seq):
            return False
        self._dirty_seen.add(key)
        self._seen.move_to_end(key)
        return True

    def note(self, pack: Pack, counts: list[Count]) -> None:
        """Remember a new pack for this group's row, with the counts that went into the totals, in their order."""
        self._fresh.append((pack.node, pack.boot, pack.seq, counts))

    def total(self, connection: sqlite3.Connection, key: tuple[str, str]) -> CycleTotal:
        """The total of a node's channel, to be changed."""
        total = self._totals.get(key)
        if total is None:
            total = self._totals[key] = _load_total(connection, key)
        self._totals.move_to_end(key)
        self._dirty_totals.add(key)
        return total

    def flush(self, connection: sqlite3.Connection) -> None:
        """Write this group's row, or everything; last in the transaction."""
        self._behind += len(self._fresh)
        full = len(self._seen) > MOST_CACHED or len(self._totals) > MOST_CACHED
        if self._whole or full or self._behind >= MOST_BEHIND:
            self._write(connection)
        elif self._fresh:
            packs = "[" + ",".join([_layout(len(item[3])) % _flat(item) for item in self._fresh]) + "]"
            connection.execute("INSERT INTO taken (packs) VALUES (?)", (packs,))
        self._fresh.clear()

    def _write(self, connection: sqlite3.Connection) -> None:
        seen = [(*key, self._seen[key].to_text()) for key in self._dirty_seen]
        write_rows(connection, "INSERT OR REPLACE INTO identity VALUES", seen)
        totals = [_total_row(key, self._totals[key]) for key in self._dirty_totals]
        write_rows(connection, "INSERT OR REPLACE INTO cycle_total VALUES", totals)
        connection.execute("DELETE FROM taken")
        self._dirty_seen.clear()
        self._dirty_totals.clear()
        self._behind = 0
        self._whole = False
        for mirror in (self._seen, self._totals):
            while len(mirror) > MOST_CACHED:
                mirror.popitem(last=False)

    def forget(self) -> None:
        """Drop what mirrors the database, after a failed commit."""
        for store in (self._seen, self._floors, self._totals, self._dirty_seen, self._dirty_totals, self._fresh):
            store.clear()
        self._behind = 0
        self._whole = self._loaded = False

    def forget_node(self, connection: sqlite3.Connection, node: str) -> None:
        """Remove all that is kept of a node."""
        self._whole = True  # the rows of earlier groups name it
        for table in ("identity", "identity_floor", "cycle_total"):
            connection.execute(f"DELETE FROM {table} WHERE node = ?", (node,))  # noqa: S608 -- constants
        for keys in (self._dirty_seen, self._dirty_totals):
            keys -= {key for key in keys if key[0] == node}
        for seen in [key for key in self._seen if key[0] == node]:
            del self._seen[seen]
        for total in [key for key in self._totals if key[0] == node]:
            del self._totals[total]
        self._floors.pop(node, None)

    def _seen_of(self, connection: sqlite3.Connection, key: tuple[str, int]) -> SeenRanges | None:
        seen = self._seen.get(key)
        if seen is None:
            row = connection.execute("SELECT seen FROM identity WHERE node = ? AND boot = ?", key).fetchone()
            seen = SeenRanges.from_text(row[0]) if row else None
        return seen

    def _floor(self, connection: sqlite3.Connection, node: str) -> int:
        floor = self._floors.get(node)
        if floor is None:
            row = connection.execute("SELECT boot FROM identity_floor WHERE node = ?", (node,)).fetchone()
            floor = self._floors[node] = row[0] if row else -1
        return floor

    def _make_room(self, connection: sqlite3.Connection, pack: Pack) -> bool:
        """Before a boot is added, forget the oldest ones beyond the limit and raise the floor to them; False: it is too old itself."""
        query = "SELECT boot FROM identity WHERE node = ? ORDER BY boot DESC LIMIT -1 OFFSET ?"
        old = [row[0] for row in connection.execute(query, (pack.node, MAX_BOOTS - 1))]
        if not old:
            return True
        if pack.boot < old[0]:
            return False
        connection.execute("DELETE FROM identity WHERE node = ? AND boot <= ?", (pack.node, old[0]))
        connection.execute("INSERT OR REPLACE INTO identity_floor VALUES (?, ?)", (pack.node, old[0]))
        self._floors[pack.node] = old[0]
        for boot in old:
            self._seen.pop((pack.node, boot), None)
            self._dirty_seen.discard((pack.node, boot))
        return True


def _load_total(connection: sqlite3.Connection, key: tuple[str, str]) -> CycleTotal:
    query = (
        "SELECT highest, settled, settled_boot, newest_ms, newest_total FROM cycle_total WHERE node = ? AND name = ?"
    )
    row = connection.execute(query, key).fetchone()
    if row is None:
        return CycleTotal()
    highest = {int(boot): int(count) for boot, count in json.loads(row[0]).items()}
    return CycleTotal(highest, *row[1:])


def _total_row(key: tuple[str, str], total: CycleTotal) -> tuple[object, ...]:
    highest = json.dumps(total.highest)
    return (*key, highest, total.settled, total.settled_boot, total.newest_ms, total.newest_total)
