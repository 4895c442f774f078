"""Where waiting packs lie: the spool, and beside it the quarantine of nodes that the cloud does not know; both within byte quotas."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Final

from andon_gateway.spool.database import write_rows
from andon_gateway.spool.forms import MOST_REFUSED, Forms

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from andon_gateway.senml.pack import Pack

log = logging.getLogger(__name__)

ROW_BYTES: Final = 64
"""Counted for each pack beside its readings: SQLite's row, its node and its numbers."""
_AT_ONCE: Final = 256
_LOG_EVERY_S: Final = 60.0
MOST_SCANNED_BYTES: Final = 32 << 20
"""Of spool and quarantine, up to which all rows are read for forms that are not needed; the writer waits meanwhile (52 ms, 2026-11-26)."""
_encode = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make a new encoder for each pack


@cache
def _format(count: int) -> str:
    """Makes the same JSON of names, integers and finite floats as `_encode`, in half the time. Names need no escapes."""
    return "[" + ",".join(['["%s",%d,%r]'] * count) + "]"


_SIZE: Final = f"length(CAST(readings AS BLOB)) + coalesce(length(numbers), 0) + {ROW_BYTES}"
_LENGTH: Final = (  # of a row of the spool, see packed.py; 0: damaged
    "iif(form IS NULL, iif(json_valid(readings), json_array_length(readings) - (numbers IS NOT NULL), 0), "
    "coalesce((SELECT json_array_length(text) - 1 FROM form WHERE form.id = spool.form AND json_valid(text)), 0))"
)
_COLUMNS: Final = "node, boot, arrival_ms, readings, replaces, numbers, form"
_PACKED: Final = "node, boot, arrival_ms, numbers, form, readings, replaces"
_PACKED_VALUES: Final = 5
_PACKED_REST: Final = ", '', 0"
"""As nearly all rows have it: two values less to hand over."""


def _all_values(row: tuple[object, ...]) -> tuple[object, ...]:
    """A row for `_COLUMNS`, of one for these or for `_PACKED`."""
    return row if len(row) > _PACKED_VALUES else (*row[:3], "", 0, *row[3:])


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """Byte quotas.

    Attributes:
        quota_bytes: Of the packs that wait for the cloud; beyond, the oldest are dropped and counted.
        quarantine_bytes: Of the packs of unknown nodes; beyond, the oldest of the node with the most bytes are dropped.
    """

    quota_bytes: int = 1 << 30
    quarantine_bytes: int = 16 << 20


@dataclass(slots=True)
class _Stock:
    packs: int = 0
    size: int = 0


class Shelf:
    """Rows of waiting packs and exact counts of them. Used in the writer thread, inside its transactions.

    Attributes:
        counts: As of the last commit, for any thread: spool_bytes, quarantine_bytes, quarantine_packs, dropped_packs,
            dropped_readings, dropped_unknown_packs, dropped_dead_letters.
        claimed: Rows that are being sent: not dropped.
    """

    def __init__(self, limits: SpoolLimits) -> None:
        self._limits = limits
        self._tally: Counter[str] | None = None
        self._changed: set[str] = set()
        self._known: frozenset[str] | None = None
        self._strict = False
        self._quarantine: dict[str, _Stock] = {}
        self._logged_s = -_LOG_EVERY_S
        self._pending: dict[str, list[tuple[object, ...]]] = {"spool": [], "quarantine": []}
        self._pending_bytes = 0
        self._forms = Forms()
        self.counts: dict[str, int] = {}
        self.claimed: frozenset[int] = frozenset()

    def add(
        self,
        connection: sqlite3.Connection,
        node: str,
        boot: int,
        arrival_ms: int,
        rows: Sequence[tuple[str, int, object]],
        *,
        replaces: bool,
        plain: bool = False,
    ) -> None:
        """Put down the readings of one pack; `plain`: all values are numbers."""
        text = _format(len(rows)) % tuple(chain.from_iterable(rows)) if plain else _encode(rows)
        self._put(connection, node, (node, boot, arrival_ms, text, int(replaces), None, None), len(text))

    def add_columns(self, connection: sqlite3.Connection, pack: Pack, arrival_ms: int, numbers: bytearray) -> None:
        """Put down a pack that has columns, is all numbers and replaces no point; its numbers are given, totals among them."""
        assert pack.columns is not None  # noqa: S101 -- the caller has looked
        form = pack.columns.form
        named = self._forms.known.get(form) or self._forms.add(connection, form)
        # sqlite3 writes an int, a str and a bytearray as they are; for a bool or bytes it first looks for an adapter, which takes as long
        # as the rest of the row.
        node = pack.node
        if isinstance(named, str):
            self._forms.refused += 1
            row = (node, pack.boot, arrival_ms, named, 0, numbers, None)
            self._put(connection, node, row, len(named) + len(numbers))
        elif self._known is not None and node in self._known:  # as nearly always: `_put`, without its questions
            self._pending_bytes += len(numbers) + ROW_BYTES
            self._pending["spool"].append((node, pack.boot, arrival_ms, numbers, named))
        else:
            self._put(connection, node, (node, pack.boot, arrival_ms, numbers, named), len(numbers))

    def _put(self, connection: sqlite3.Connection, node: str, row: tuple[object, ...], length: int) -> None:
        size = length + ROW_BYTES  # ASCII: json escapes the rest
        if self._waits(connection, node):
            stock = self._quarantine.setdefault(node, _Stock())
            stock.packs += 1
            stock.size += size
            self._pending["quarantine"].append(row)
        else:
            self._pending_bytes += size
            self._pending["spool"].append(row)

    def _write(self, connection: sqlite3.Connection) -> None:
        """Put down what was added, in its order; before anything else looks at the rows."""
        self._note(connection, "spool_bytes", self._pending_bytes)
        self._pending_bytes = 0
        for table, rows in self._pending.items():
            if set(map(len, rows)) == {_PACKED_VALUES}:
                write_rows(connection, f"INSERT INTO {table} ({_PACKED}) VALUES", rows, _PACKED_REST)
            elif rows:
                write_rows(connection, f"INSERT INTO {table} ({_COLUMNS}) VALUES", list(map(_all_values, rows)))
            rows.clear()

    def remove(self, connection: sqlite3.Connection, ids: Sequence[int]) -> None:
        """Take rows away that the cloud has."""
        freed = 0
        for row in ids:
            for (size,) in connection.execute(f"DELETE FROM spool WHERE id = ? RETURNING {_SIZE}", (row,)):  # noqa: S608 -- constant
                freed += size
        self._note(connection, "spool_bytes", -freed)

    def over_quota(self, connection: sqlite3.Connection) -> bool:
        """Whether `drop_oldest` has something to do; shrinks the quarantine on the way."""
        self._write(connection)
        self._shrink_quarantine(connection)
        return self._load(connection)["spool_bytes"] > self._limits.quota_bytes

    def drop_oldest(self, connection: sqlite3.Connection) -> None:
        """Drop the oldest packs until the quota holds."""
        tally = self._load(connection)
        cursor, dropped, readings = 0, 0, 0
        while tally["spool_bytes"] > self._limits.quota_bytes:
            query = f"SELECT id, {_SIZE}, {_LENGTH} FROM spool WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608 -- constant
            found = connection.execute(query, (cursor, _AT_ONCE)).fetchall()
            if not found:
                break
            for row, size, length in found:
                if tally["spool_bytes"] <= self._limits.quota_bytes:
                    break
                cursor = row
                if row not in self.claimed:
                    connection.execute("DELETE FROM spool WHERE id = ?", (row,))
                    self._note(connection, "spool_bytes", -size)
                    dropped, readings = dropped + 1, readings + length
        self._note(connection, "dropped_packs", dropped)
        self._note(connection, "dropped_readings", readings)
        if dropped and time.monotonic() - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = time.monotonic()
            log.error(
                "spool quota of %d bytes reached: dropping the oldest packs, %d until now; bring the cloud back or raise spool.quota_bytes",
                self._limits.quota_bytes,
                tally["dropped_packs"],
            )

    def _shrink_quarantine(self, connection: sqlite3.Connection) -> None:
        while self._quarantine_bytes() > self._limits.quarantine_bytes:
            node = max(self._quarantine, key=lambda name: self._quarantine[name].size)
            stock = self._quarantine[node]
            oldest = "SELECT id FROM quarantine WHERE node = ? ORDER BY id LIMIT 16"
            query = f"DELETE FROM quarantine WHERE id IN ({oldest}) RETURNING {_SIZE}"  # noqa: S608 -- constants
            sizes = [row[0] for row in connection.execute(query, (node,))]
            stock.packs -= len(sizes)
            stock.size -= sum(sizes)
            self._note(connection, "dropped_unknown_packs", len(sizes))
            if not sizes or not stock.packs:
                del self._quarantine[node]

    def adopt(self, connection: sqlite3.Connection) -> None:
        """The table of assets has changed: move the packs of nodes that are in it into the spool, in their order."""
        self._write(connection)
        self._load(connection)
        self._note(connection, "assets_received", 1 - self._load(connection)["assets_received"])
        self._known = frozenset(row[0] for row in connection.execute("SELECT node FROM asset"))
        self._strict = True
        for node in self._known & set(self._quarantine):
            connection.execute(
                f"INSERT INTO spool ({_COLUMNS}) SELECT {_COLUMNS} FROM quarantine WHERE node = ? ORDER BY id",  # noqa: S608 -- constants
                (node,),
            )
            connection.execute("DELETE FROM quarantine WHERE node = ?", (node,))
            self._note(connection, "spool_bytes", self._quarantine.pop(node).size)

    def forget_node(self, connection: sqlite3.Connection, node: str) -> None:
        """Drop and count what waits for an unknown node."""
        self._write(connection)
        self._load(connection)
        stock = self._quarantine.pop(node, _Stock())
        connection.execute("DELETE FROM quarantine WHERE node = ?", (node,))
        self._note(connection, "dropped_unknown_packs", stock.packs)

    def note(self, name: str, amount: int) -> None:
        """Add to a count; inside the transaction, after another call of it."""
        assert self._tally is not None  # noqa: S101 -- `remove` has loaded it
        if amount:
            self._tally[name] += amount
            self._changed.add(name)

    def flush(self, connection: sqlite3.Connection) -> None:
        """Write the rows added and the counts that have changed."""
        self._write(connection)
        if self._changed and self._tally is not None:
            rows = [(name, self._tally[name]) for name in self._changed]
            connection.executemany("INSERT OR REPLACE INTO tally VALUES (?, ?)", rows)
            self._changed.clear()
        spooled = self._load(connection)["spool_bytes"]
        if self._forms.refused >= MOST_REFUSED and spooled + self._quarantine_bytes() <= MOST_SCANNED_BYTES:
            self._forms.tidy(connection)

    def committed(self) -> None:
        """Publish the counts."""
        self.counts.update(self._tally or {})
        self.counts["quarantine_packs"] = sum(stock.packs for stock in self._quarantine.values())
        self.counts["quarantine_bytes"] = self._quarantine_bytes()

    def forget(self) -> None:
        """Drop what mirrors the database, after a failed commit."""
        self._tally = None
        self._known = None
        self._changed.clear()
        self._quarantine.clear()
        self._forms.forget()
        self._pending_bytes = 0
        for rows in self._pending.values():
            rows.clear()

    def _quarantine_bytes(self) -> int:
        return sum(stock.size for stock in self._quarantine.values())

    def _note(self, connection: sqlite3.Connection, name: str, amount: int) -> None:
        self._load(connection)
        self.note(name, amount)

    def _waits(self, connection: sqlite3.Connection, node: str) -> bool:
        """Whether the node's packs go to quarantine. Without any table yet, from a cloud never reached, nobody is unknown."""
        if self._known is None:
            self._known = frozenset(row[0] for row in connection.execute("SELECT node FROM asset"))
            self._strict = self._load(connection)["assets_received"] == 1
        return self._strict and node not in self._known

    def _load(self, connection: sqlite3.Connection) -> Counter[str]:
        if self._tally is None:
            self._tally = Counter(dict(connection.execute("SELECT name, value FROM tally")))
            query = f"SELECT node, count(*), sum({_SIZE}) FROM quarantine GROUP BY node"  # noqa: S608 -- constant
            self._quarantine = {row[0]: _Stock(row[1], row[2]) for row in connection.execute(query)}
        return self._tally
