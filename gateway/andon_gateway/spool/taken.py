"""Which packs were taken, and what they made of the totals: on disk with each group, in as few writes as possible.

Each group writes one row that says which packs it took. The tables of identities and totals follow when that has grown long, a part
with each group, so that none waits for all of them. After a start, or a failed commit, the rows are applied again to what the tables
say; that they say it already of some makes no difference (`SeenRanges.add` and `CycleTotal.take` may be told twice).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from math import ceil
from typing import TYPE_CHECKING, Final

from andon_gateway.spool.cycles import CycleTotal
from andon_gateway.spool.database import write_rows
from andon_gateway.spool.identity import MAX_BOOTS, SeenRanges

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from andon_gateway.senml.pack import Pack

MOST_CACHED: Final = 20_000
MOST_BEHIND: Final = 4096
"""Packs after which the tables are written, within half as many more; a start applies no more than these again."""
LEAST_ROWS: Final = 64
"""Rows of the tables that any group writes while some are due."""
Count = tuple[str, int, int]
"""Name, raw count, time in ms since the epoch."""


def _text(packs: Iterable[tuple[str, int, int, list[Count]]]) -> str:
    """The JSON of packs, in a third of an encoder's time; names and node ids need no escapes."""
    return ",".join(
        [
            f'["{node}",{boot},{seq},[{",".join([f"""["{name}",{raw},{time_ms}]""" for name, raw, time_ms in counts])}]]'
            for node, boot, seq, counts in packs
        ]
    )


class Taken:
    """Used in the writer thread, inside its transactions. The caches are dropped after a failed commit."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, int], SeenRanges] = OrderedDict()
        self._floors: dict[str, int] = {}
        self._totals: OrderedDict[tuple[str, str], CycleTotal] = OrderedDict()
        self._dirty_seen: set[tuple[str, int]] = set()
        self._dirty_totals: set[tuple[str, str]] = set()
        self._due_seen: list[tuple[str, int]] = []
        self._due_totals: list[tuple[str, str]] = []
        self._due_until: int | None = None
        self._rows_per_pack = 0.0
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
        """Write this group's row and a part of the tables, or everything; last in the transaction."""
        self._behind += len(self._fresh)
        full = len(self._seen) > MOST_CACHED or len(self._totals) > MOST_CACHED
        if self._whole or full:
            self._write_all(connection)
        elif self._fresh:
            packs = f"[{_text(self._fresh)}]"
            row = connection.execute("INSERT INTO taken (packs) VALUES (?)", (packs,)).lastrowid
            if self._due_until is None and self._behind >= MOST_BEHIND:
                self._make_due(row)
            if self._due_until is not None:
                self._write_due(connection, max(LEAST_ROWS, ceil(self._rows_per_pack * len(self._fresh))))
        self._fresh.clear()

    def _make_due(self, row: int | None) -> None:
        """From now on the tables are brought to at least what the rows up to this one say."""
        self._due_until = row
        self._due_seen, self._due_totals = list(self._dirty_seen), list(self._dirty_totals)
        self._dirty_seen.clear()
        self._dirty_totals.clear()
        self._rows_per_pack = (len(self._due_seen) + len(self._due_totals)) / (MOST_BEHIND // 2)
        self._behind = 0

    def _write_due(self, connection: sqlite3.Connection, most: int) -> None:
        seen = self._due_seen[-most:]
        del self._due_seen[-most:]
        rest = most - len(seen)
        totals = self._due_totals[-rest:] if rest else []
        del self._due_totals[len(self._due_totals) - len(totals) :]
        self._write(connection, seen, totals)
        if not self._due_seen and not self._due_totals:
            connection.execute("DELETE FROM taken WHERE id <= ?", (self._due_until,))
            self._due_until = None

    def _write_all(self, connection: sqlite3.Connection) -> None:
        self._write(connection, self._dirty_seen.union(self._due_seen), self._dirty_totals.union(self._due_totals))
        connection.execute("DELETE FROM taken")
        for keys in (self._dirty_seen, self._dirty_totals, self._due_seen, self._due_totals):
            keys.clear()
        self._due_until = None
        self._behind = 0
        self._whole = False
        for mirror in (self._seen, self._totals):
            while len(mirror) > MOST_CACHED:
                mirror.popitem(last=False)

    def _write(
        self, connection: sqlite3.Connection, seen: Iterable[tuple[str, int]], totals: Iterable[tuple[str, str]]
    ) -> None:
        identities = [(*key, self._seen[key].to_text()) for key in seen]
        write_rows(connection, "INSERT OR REPLACE INTO identity VALUES", identities)
        rows = [_total_row(key, self._totals[key]) for key in totals]
        write_rows(connection, "INSERT OR REPLACE INTO cycle_total VALUES", rows)

    def forget(self) -> None:
        """Drop what mirrors the database, after a failed commit."""
        for store in (self._seen, self._floors, self._totals, self._dirty_seen, self._dirty_totals, self._fresh):
            store.clear()
        self._due_seen.clear()
        self._due_totals.clear()
        self._due_until = None
        self._behind = 0
        self._whole = self._loaded = False

    def forget_node(self, connection: sqlite3.Connection, node: str) -> None:
        """Remove all that is kept of a node."""
        self._whole = True  # the rows of earlier groups name it
        for table in ("identity", "identity_floor", "cycle_total"):
            connection.execute(f"DELETE FROM {table} WHERE node = ?", (node,))  # noqa: S608 -- constants
        for keys in (self._dirty_seen, self._dirty_totals):
            keys -= {key for key in keys if key[0] == node}
        self._due_seen = [key for key in self._due_seen if key[0] != node]
        self._due_totals = [key for key in self._due_totals if key[0] != node]
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
        gone = {(pack.node, boot) for boot in old}
        self._dirty_seen -= gone
        self._due_seen = [key for key in self._due_seen if key not in gone]
        for key in gone:
            self._seen.pop(key, None)
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
