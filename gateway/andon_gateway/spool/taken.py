"""Which packs were taken, and what they made of the totals: on disk with each group, in as few writes as possible.

Each group writes one row that says which packs it took. The tables of identities and totals follow when that has grown long, a part
with each group, so that none waits for all of them. After a start, or a failed commit, the rows are applied again to what the tables
say; that they say it already of some makes no difference (`SeenRanges.add` and `CycleTotal.take` may be told twice).
"""

from __future__ import annotations

import json
import struct
from math import ceil
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from andon_gateway.spool.cycles import CycleTotal
from andon_gateway.spool.database import write_rows
from andon_gateway.spool.identity import MAX_BOOTS, SeenRanges
from andon_gateway.spool.ledger import Ledger

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from andon_gateway.senml.columns import Columns, Form
    from andon_gateway.senml.pack import Pack
    from andon_gateway.spool.ledger import Rows

MOST_CACHED: Final = 40_000
"""Boots and totals in memory: of 13,000 nodes with two counters each."""
LEFT_CACHED: Final = 0.875
"""Part of them that stays when there are too many; the room must last for more than one group."""
MOST_BEHIND: Final = 4096
"""Packs after which the tables are written, within half as many more; a start applies no more than these again."""
LEAST_NODES: Final = 24
"""Nodes whose rows of the tables any group writes while some are due."""
_pack_integer: Final = struct.Struct("<q").pack_into
Count = tuple[str, int, int]
"""Name, raw count, time in ms since the epoch."""


def _text(names: Iterable[str]) -> str:
    """Format of a pack in its group's row: node, boot, seq, then count and time for each of these names.

    This makes JSON in a third of an encoder's time; node ids and names need no escapes, in JSON or here.
    """
    return '["%s",%d,%d,[' + ",".join([f'["{name}",%d,%d]' for name in names]) + "]]"


class Taken:
    """Used in the writer thread, inside its transactions. The caches are dropped after a failed commit.

    A round of writing lasts from one moment at which all that has changed becomes due to the next.
    """

    def __init__(self) -> None:
        self._ledgers: dict[str, Ledger] = {}
        self._cached = 0
        self._round = 0
        self._changed: list[Ledger] = []
        self._due: list[Ledger] = []
        self._due_until: int | None = None
        self._due_per_pack = 0.0
        self._texts: list[str] = []
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
                ledger = self._ledger(node)
                seen = ledger.boots.get(boot) or self._read_boot(connection, ledger, boot) or SeenRanges()
                self._keep_boot(ledger, boot, seen)
                seen.add(seq)
                for name, raw, time_ms in counts:
                    self.total(connection, ledger, name).take(boot, raw, time_ms)
                self._note_change(ledger)

    def take(self, connection: sqlite3.Connection, pack: Pack) -> Ledger | None:
        """Note a pack's identity; the ledger of its node, or None when it was taken before."""
        ledger = self._ledgers.get(pack.node)
        if ledger is None:
            ledger = self._ledger(pack.node)
        if pack.boot != ledger.boot and not self._turn_to_boot(connection, ledger, pack.boot):
            return None
        if not ledger.seen.add(pack.seq):
            return None
        if ledger.round != self._round:
            self._note_change(ledger)
        return ledger

    def count(self, connection: sqlite3.Connection, ledger: Ledger, pack: Pack, columns: Columns) -> bytearray | None:
        """Remember a new pack of numbers for this group's row.

        Returns:
            Its numbers with totals in place of counts; None: ask for its readings, as not each count makes exactly one new point.
        """
        form, numbers, counts, _ = columns
        if form is not ledger.form and not self._turn_to_form(connection, ledger, form):
            return None
        # By index: for two counters, zip with strict=True costs more than the loop.
        counters, count_at = ledger.counters, form.count_at
        for index, (_, _, time_ms) in enumerate(counts):
            if time_ms <= counters[index].newest_ms:
                return None
        boot, totalled = pack.boot, bytearray(numbers)
        fields: list[object] = [pack.node, boot, pack.seq]
        try:
            for index, (_, raw, time_ms) in enumerate(counts):
                _pack_integer(totalled, count_at[index], counters[index].advance(boot, raw, time_ms))
                fields.append(raw)
                fields.append(time_ms)
        except struct.error:  # a total beyond 64 bits; that its count was taken is no matter, it may be told twice
            return None
        # Here and not in `flush`: by the end of a large group the numbers have left the processor's caches.
        self._texts.append(ledger.text % tuple(fields))
        return totalled

    def note(self, pack: Pack, counts: Sequence[Count]) -> None:
        """Remember any other new pack, with the counts that went into the totals, in their order."""
        fields: list[object] = [pack.node, pack.boot, pack.seq]
        for _, raw, time_ms in counts:
            fields += (raw, time_ms)
        self._texts.append(_text([name for name, _, _ in counts]) % tuple(fields))

    def total(self, connection: sqlite3.Connection, ledger: Ledger, name: str) -> CycleTotal:
        """The total of a node's channel, to be changed."""
        total = ledger.totals.get(name)
        if total is None:
            total = ledger.totals[name] = _read_total(connection, ledger.node, name)
            self._cached += 1
        return total

    def flush(self, connection: sqlite3.Connection) -> None:
        """Write this group's row and a part of the tables, or everything; last in the transaction."""
        self._behind += len(self._texts)
        full = self._cached > MOST_CACHED
        if self._whole or full:
            self._write_all(connection)
            if full:
                self._make_room_in_memory()
        elif self._texts:
            packs = f"[{','.join(self._texts)}]"
            row = connection.execute("INSERT INTO taken (packs) VALUES (?)", (packs,)).lastrowid
            if self._due_until is None and self._behind >= MOST_BEHIND:
                self._make_due(row)
            if self._due_until is not None:
                self._write_due(connection, max(LEAST_NODES, ceil(self._due_per_pack * len(self._texts))))
        self._texts.clear()

    def _make_due(self, row: int | None) -> None:
        """From now on the tables are brought to at least what the rows up to this one say."""
        self._due_until = row
        self._due = self._next_round()
        self._due_per_pack = len(self._due) / (MOST_BEHIND // 2)

    def _next_round(self) -> list[Ledger]:
        """The ledgers that have changed in the round that ends with this."""
        changed, self._changed = self._changed, []
        self._round += 1
        self._behind = 0
        return changed

    def _write_due(self, connection: sqlite3.Connection, most: int) -> None:
        part = self._due[-most:]
        del self._due[-most:]
        _write(connection, part)
        if not self._due:
            connection.execute("DELETE FROM taken WHERE id <= ?", (self._due_until,))
            self._due_until = None

    def _write_all(self, connection: sqlite3.Connection) -> None:
        _write(connection, self._next_round() + self._due)
        connection.execute("DELETE FROM taken")
        self._due.clear()
        self._due_until = None
        self._whole = False

    def _make_room_in_memory(self) -> None:
        """Drop the ledgers that have not changed for longest; nothing in them may still have to be written."""
        for ledger in sorted(self._ledgers.values(), key=attrgetter("round")):
            if self._cached <= LEFT_CACHED * MOST_CACHED:
                break
            self._drop(ledger.node)

    def forget(self) -> None:
        """Drop what mirrors the database, after a failed commit."""
        for store in (self._ledgers, self._changed, self._due, self._texts):
            store.clear()
        self._due_until = None
        self._cached = self._behind = 0
        self._whole = self._loaded = False

    def forget_node(self, connection: sqlite3.Connection, node: str) -> None:
        """Remove all that is kept of a node."""
        self._whole = True  # the rows of earlier groups name it
        for table in ("identity", "identity_floor", "cycle_total"):
            connection.execute(f"DELETE FROM {table} WHERE node = ?", (node,))  # noqa: S608 -- constants
        self._drop(node)

    def _drop(self, node: str) -> None:
        ledger = self._ledgers.pop(node, None)
        if ledger is not None:
            self._cached -= ledger.size
            ledger.clear()  # it may still be among those to be written

    def _ledger(self, node: str) -> Ledger:
        ledger = self._ledgers.get(node)
        if ledger is None:
            ledger = self._ledgers[node] = Ledger(node)
        return ledger

    def _note_change(self, ledger: Ledger) -> None:
        if ledger.round != self._round:
            ledger.round = self._round
            self._changed.append(ledger)

    def _turn_to_boot(self, connection: sqlite3.Connection, ledger: Ledger, boot: int) -> bool:
        """Make a boot the one that the ledger has at hand; False: it is too old to be told apart."""
        seen = ledger.boots.get(boot)
        if seen is None:
            if boot <= self._floor(connection, ledger):
                return False
            seen = self._read_boot(connection, ledger, boot)
            if seen is None:
                if not self._make_room(connection, ledger, boot):
                    return False
                self._whole = True  # the row of a boot is there from its first group on: only those are counted
                seen = SeenRanges()
            self._keep_boot(ledger, boot, seen)
        ledger.boot, ledger.seen = boot, seen
        return True

    def _turn_to_form(self, connection: sqlite3.Connection, ledger: Ledger, form: Form) -> bool:
        """Make a form the one that the ledger has at hand; False: a channel is in it twice."""
        if form.distinct:
            names = [name for name, _ in form.counting]
            ledger.form, ledger.text = form, _text(names)
            ledger.counters = tuple([self.total(connection, ledger, name) for name in names])
        return form.distinct

    def _keep_boot(self, ledger: Ledger, boot: int, seen: SeenRanges) -> None:
        self._cached += boot not in ledger.boots
        ledger.boots[boot] = seen

    def _read_boot(self, connection: sqlite3.Connection, ledger: Ledger, boot: int) -> SeenRanges | None:
        query = "SELECT seen FROM identity WHERE node = ? AND boot = ?"
        row = connection.execute(query, (ledger.node, boot)).fetchone()
        return SeenRanges.from_text(row[0]) if row else None

    def _floor(self, connection: sqlite3.Connection, ledger: Ledger) -> int:
        floor = ledger.floor
        if floor is None:
            row = connection.execute("SELECT boot FROM identity_floor WHERE node = ?", (ledger.node,)).fetchone()
            floor = ledger.floor = row[0] if row else -1
        return floor

    def _make_room(self, connection: sqlite3.Connection, ledger: Ledger, boot: int) -> bool:
        """Before a boot is added, forget the oldest ones beyond the limit and raise the floor to them; False: it is too old itself."""
        query = "SELECT boot FROM identity WHERE node = ? ORDER BY boot DESC LIMIT 1 OFFSET ?"
        found = connection.execute(query, (ledger.node, MAX_BOOTS - 1)).fetchone()
        if found is None:
            return True
        floor = found[0]
        if boot < floor:
            return False
        connection.execute("DELETE FROM identity WHERE node = ? AND boot <= ?", (ledger.node, floor))
        connection.execute("INSERT OR REPLACE INTO identity_floor VALUES (?, ?)", (ledger.node, floor))
        self._cached -= ledger.size
        ledger.forget_boots(floor)
        self._cached += ledger.size
        return True


def _write(connection: sqlite3.Connection, ledgers: Iterable[Ledger]) -> None:
    identities: Rows = []
    totals: Rows = []
    for ledger in ledgers:
        changed_boots, changed_totals = ledger.changed_rows()
        identities += changed_boots
        totals += changed_totals
    write_rows(connection, "INSERT OR REPLACE INTO identity VALUES", identities)
    write_rows(connection, "INSERT OR REPLACE INTO cycle_total VALUES", totals)


def _read_total(connection: sqlite3.Connection, node: str, name: str) -> CycleTotal:
    query = "SELECT highest, settled, settled_boot, newest_ms FROM cycle_total WHERE node = ? AND name = ?"
    row = connection.execute(query, (node, name)).fetchone()
    if row is None:
        return CycleTotal()
    highest = {int(boot): int(count) for boot, count in json.loads(row[0]).items()}
    return CycleTotal.restored(highest, *row[1:])
