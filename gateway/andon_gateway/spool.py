"""The spool: packs taken once, with their readings, until the cloud has them."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from andon_gateway.aggregator import Aggregator
from andon_gateway.cycles import CycleTotal
from andon_gateway.dead_letters import DeadLetter, keep
from andon_gateway.identity import MAX_BOOTS, SeenRanges
from andon_gateway.lineprotocol import CLOCK_OFFSET
from andon_gateway.shelf import Shelf, SpoolLimits
from andon_gateway.vocabulary import QUANTITIES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from andon_gateway.database import Done, GroupCommit
    from andon_gateway.senml import Pack

__all__ = ["DeadLetter", "Spool", "SpoolLimits", "SpooledPack", "read_after"]

T = TypeVar("T")
MOST_CACHED: Final = 20_000
NO_BOOT: Final = -1
"""Boot of a row that comes from aggregates, not from one pack."""


@dataclass(frozen=True, slots=True)
class SpooledPack:
    """One row of the spool; `readings` is `[[name, time_ms, value], ...]`."""

    id: int
    node: str
    boot: int
    arrival_ms: int
    readings: list[list[object]]


class Spool:
    """Appends packs exactly once and hands them to the uplink in order.

    The caches mirror rows that the writer thread changes; they are used only in that thread and dropped after a failed commit.

    Args:
        database: Where it is kept.
        limits: Byte quotas.
        aggregator: Aggregates per window; None: all readings stay as they are.
        observe: Shown every new pack and its moment of arrival in its transaction; gives rows to be put down with it (rules/engine.py).
    """

    def __init__(
        self,
        database: GroupCommit,
        limits: SpoolLimits | None = None,
        aggregator: Aggregator | None = None,
        observe: Callable[[sqlite3.Connection, Pack, int], Sequence[tuple[str, int, object]]] | None = None,
    ) -> None:
        self._database = database
        self._seen: OrderedDict[tuple[str, int], SeenRanges] = OrderedDict()
        self._floors: dict[str, int] = {}
        self._totals: OrderedDict[tuple[str, str], CycleTotal] = OrderedDict()
        self._dirty_seen: set[tuple[str, int]] = set()
        self._dirty_totals: set[tuple[str, str]] = set()
        self._aggregator = aggregator or Aggregator({}, 0)
        self._observe = observe
        self.on_forget: list[Callable[[sqlite3.Connection, str], None]] = []
        """Called in the writer thread, in the transaction that removes a node."""
        self._shelf = Shelf(limits or SpoolLimits())
        self._latest_ms = 0
        self.counts = self._shelf.counts
        self._sending = threading.Lock()
        self._dropping = False
        database.before_commit.append(self._flush)
        database.after_commit.append(self._committed)
        database.on_rollback.append(self._forget)

    def append(self, pack: Pack, arrival_ms: int, done: Done[bool]) -> None:
        """Make a pack durable; `done(True, None)` when new, `done(False, None)` for a duplicate."""
        self._database.submit(lambda connection: self._append(connection, pack, arrival_ms), done)

    def _append(self, connection: sqlite3.Connection, pack: Pack, arrival_ms: int) -> bool:
        if not self._is_new(connection, pack):
            return False
        self._latest_ms = arrival_ms
        rows: list[tuple[str, int, object]] = []
        replaces = False
        for reading in pack.readings:
            if QUANTITIES.get(reading.name, CLOCK_OFFSET).cumulative and isinstance(reading.value, int):
                total = self._total(connection, (pack.node, reading.name))
                replaces = replaces or reading.time_ms <= total.newest_ms
                points = total.take(pack.boot, reading.value, reading.time_ms)
                rows += [(reading.name, time_ms, value) for time_ms, value in points]
            elif not isinstance(reading.value, float) or self._aggregator.take(
                connection, pack.node, reading.name, reading.time_ms, reading.value, arrival_ms
            ):
                rows.append((reading.name, reading.time_ms, reading.value))
        if self._observe is not None:
            rows += self._observe(connection, pack, arrival_ms)
        if rows:
            self._shelf.add(connection, pack.node, pack.boot, arrival_ms, rows, replaces=replaces)
        return True

    def _is_new(self, connection: sqlite3.Connection, pack: Pack) -> bool:
        key = (pack.node, pack.boot)
        seen = self._seen.get(key)
        if seen is None:
            if pack.boot <= self._floor(connection, pack.node):
                return False
            row = connection.execute("SELECT seen FROM identity WHERE node = ? AND boot = ?", key).fetchone()
            seen = self._seen[key] = SeenRanges.from_text(row[0]) if row else SeenRanges()
            if row is None:
                self._prune_boots(connection, pack)
        if not seen.add(pack.seq):
            return False
        self._dirty_seen.add(key)
        self._seen.move_to_end(key)
        return True

    def _floor(self, connection: sqlite3.Connection, node: str) -> int:
        floor = self._floors.get(node)
        if floor is None:
            row = connection.execute("SELECT boot FROM identity_floor WHERE node = ?", (node,)).fetchone()
            floor = self._floors[node] = row[0] if row else -1
        return floor

    def _prune_boots(self, connection: sqlite3.Connection, pack: Pack) -> None:
        """Before a boot is added, forget the oldest ones beyond the limit and raise the floor to them."""
        query = "SELECT boot FROM identity WHERE node = ? ORDER BY boot DESC LIMIT -1 OFFSET ?"
        old = [row[0] for row in connection.execute(query, (pack.node, MAX_BOOTS - 1))]
        if not old:
            return
        connection.execute("DELETE FROM identity WHERE node = ? AND boot <= ?", (pack.node, old[0]))
        connection.execute("INSERT OR REPLACE INTO identity_floor VALUES (?, ?)", (pack.node, old[0]))
        self._floors[pack.node] = old[0]
        for boot in old:
            self._seen.pop((pack.node, boot), None)
            self._dirty_seen.discard((pack.node, boot))

    def _total(self, connection: sqlite3.Connection, key: tuple[str, str]) -> CycleTotal:
        total = self._totals.get(key)
        if total is None:
            total = self._totals[key] = _load_total(connection, key)
        self._totals.move_to_end(key)
        self._dirty_totals.add(key)
        return total

    def _flush(self, connection: sqlite3.Connection) -> None:
        connection.executemany(
            "INSERT OR REPLACE INTO identity VALUES (?, ?, ?)",
            [(*key, self._seen[key].to_text()) for key in self._dirty_seen],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO cycle_total VALUES (?, ?, ?, ?, ?, ?, ?)",
            [_total_row(key, self._totals[key]) for key in self._dirty_totals],
        )
        self._dirty_seen.clear()
        self._dirty_totals.clear()
        for cache in (self._seen, self._totals):
            while len(cache) > MOST_CACHED:
                cache.popitem(last=False)
        self._emit(connection, None)
        self._aggregator.flush(connection)
        if self._shelf.over_quota(connection):
            # Until the commit the uplink must not read rows that are about to go: it would store what counts as dropped.
            self._sending.acquire()
            self._dropping = True
            self._shelf.drop_oldest(connection)
        self._shelf.flush(connection)

    def _emit(self, connection: sqlite3.Connection, now_ms: int | None) -> None:
        rows: dict[tuple[str, bool], list[tuple[str, int, object]]] = {}
        for item in self._aggregator.emit(connection, now_ms):
            rows.setdefault((item.node, item.again), []).append((item.name, item.start_ms, item.values))
        for (node, again), values in rows.items():
            self._shelf.add(connection, node, NO_BOOT, now_ms or self._latest_ms, values, replaces=again)

    def _committed(self) -> None:
        self._shelf.committed()
        self._release()

    def _release(self) -> None:
        if self._dropping:
            self._dropping = False
            self._sending.release()

    def _forget(self) -> None:
        for store in (self._seen, self._floors, self._totals, self._dirty_seen, self._dirty_totals):
            store.clear()
        self._aggregator.forget()
        self._shelf.forget()
        self._release()

    def close_idle_windows(self, now_ms: int) -> None:
        """Give out aggregates of nodes that have fallen silent."""

        def change(connection: sqlite3.Connection) -> None:
            self._emit(connection, now_ms)

        self._database.submit(change, lambda _result, _error: None)

    def put(
        self, connection: sqlite3.Connection, node: str, now_ms: int, rows: Sequence[tuple[str, int, object]]
    ) -> None:
        """Put down rows about a node that come with no pack; in the writer thread, inside a transaction."""
        self._shelf.add(connection, node, NO_BOOT, now_ms, rows, replaces=False)

    def adopt(self, connection: sqlite3.Connection) -> None:
        """The table of assets has changed in this transaction: what waits for nodes that are now in it may go."""
        self._shelf.adopt(connection)

    def forget_node(self, node: str) -> None:
        """Remove all that is kept of an unknown node; its waiting packs count as dropped."""

        def change(connection: sqlite3.Connection) -> None:
            self._shelf.forget_node(connection, node)
            self._aggregator.forget_node(connection, node)
            for hook in self.on_forget:
                hook(connection, node)
            for table in ("identity", "identity_floor", "cycle_total", "node"):
                connection.execute(f"DELETE FROM {table} WHERE node = ?", (node,))  # noqa: S608 -- constants
            for keys in (self._dirty_seen, self._dirty_totals):
                keys -= {key for key in keys if key[0] == node}
            for seen in [key for key in self._seen if key[0] == node]:
                del self._seen[seen]
            for total in [key for key in self._totals if key[0] == node]:
                del self._totals[total]
            self._floors.pop(node, None)

        self._database.submit(change, lambda _result, _error: None)

    def claim(self, read: Callable[[], T], packs: Callable[[T], Sequence[SpooledPack]]) -> T:
        """Read rows to send them; from now on until `release` or the next claim the quota does not drop them."""
        with self._sending:
            found = read()
            self._shelf.claimed = frozenset(pack.id for pack in packs(found))
        return found

    def release(self) -> None:
        """The rows of the last `claim` are removed, or will be tried again later."""
        self._shelf.claimed = frozenset()

    def remove(self, ids: Sequence[int], dead_letters: Sequence[DeadLetter] = (), resent: Iterable[int] = ()) -> None:
        """Delete rows that the cloud has, and keep the lines that it refused; returns when durable.

        Args:
            ids: Rows of the spool.
            dead_letters: To keep.
            resent: Rows of former dead letters.

        Raises:
            StorageUnavailable: Nothing was deleted; the same rows will be sent again, which changes nothing in the store.
        """
        now_ms = time.time_ns() // 1_000_000

        def change(connection: sqlite3.Connection) -> None:
            self._shelf.remove(connection, ids)
            connection.executemany("DELETE FROM resend WHERE id = ?", [(row,) for row in resent])
            if dead_letters:
                self._shelf.note("dropped_dead_letters", keep(connection, dead_letters, now_ms))

        self._database.run(change).result()


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
    return (*key, json.dumps(total.highest), total.settled, total.settled_boot, total.newest_ms, total.newest_total)


def read_after(
    reader: sqlite3.Connection, cursor: int, most: int, *, most_points: int | None = None, originals: bool = False
) -> list[SpooledPack]:
    """Packs after the given id, oldest first.

    Args:
        reader: Connection.
        cursor: Id after which to begin.
        most: Packs at once.
        most_points: Readings at once; the first pack is given in any case.
        originals: Only packs that replace no point of an earlier one.
    """
    only = " AND replaces = 0" if originals else ""
    query = f"SELECT id, node, boot, arrival_ms, readings FROM spool WHERE id > ?{only} ORDER BY id LIMIT ?"  # noqa: S608 -- constants
    packs: list[SpooledPack] = []
    points = 0
    for row in reader.execute(query, (cursor, most)):
        pack = SpooledPack(row[0], row[1], row[2], row[3], json.loads(row[4]))
        points += len(pack.readings)
        if packs and most_points is not None and points > most_points:
            break
        packs.append(pack)
    return packs
