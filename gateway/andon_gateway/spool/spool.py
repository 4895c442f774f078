"""The spool: packs taken once, with their readings, until the cloud has them."""

from __future__ import annotations

import json
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from andon_gateway.spool.aggregator import Aggregator
from andon_gateway.spool.dead_letters import DeadLetter, keep
from andon_gateway.spool.packed import unpack
from andon_gateway.spool.shelf import Shelf, SpoolLimits
from andon_gateway.spool.taken import Taken
from andon_gateway.vocabulary import QUANTITIES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from andon_gateway.errors import StorageUnavailable
    from andon_gateway.senml.pack import Pack
    from andon_gateway.spool.database import Done, GroupCommit
    from andon_gateway.spool.ledger import Ledger
    from andon_gateway.spool.taken import Count

__all__ = ["DeadLetter", "Spool", "SpoolLimits", "SpooledPack", "read_after"]

T = TypeVar("T")
_CUMULATIVE: Final = frozenset(name for name, quantity in QUANTITIES.items() if quantity.cumulative)
Row = tuple[str, int, object]
"""Name, time in ms since the epoch, value."""
NO_BOOT: Final = -1
"""Boot of a row that comes from aggregates, not from one pack."""
_COLUMNS: Final = "spool.id, node, boot, arrival_ms, readings, numbers, form, form.text"
_TABLES: Final = "spool LEFT JOIN form ON form.id = spool.form"


@dataclass(frozen=True, slots=True)
class SpooledPack:
    """One row of the spool; `readings` is `[[name, time_ms, value], ...]`, or what is left of a damaged row, of which nothing can be rendered."""

    id: int
    node: str
    boot: int
    arrival_ms: int
    readings: list[list[object]]


class Spool:
    """Appends packs exactly once and hands them to the uplink in order.

    What mirrors rows in memory is used only in the writer thread and dropped after a failed commit.

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
        self._taken = Taken()
        self._aggregator = aggregator or Aggregator({}, 0)
        self._aggregates = self._aggregator.active
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

        def all_done(news: list[bool] | None, error: StorageUnavailable | None) -> None:
            done(None if news is None else news[0], error)

        self.append_all([pack], arrival_ms, all_done)

    def append_all(self, packs: Sequence[Pack], arrival_ms: int, done: Done[list[bool]]) -> None:
        """Make packs durable in one group; `done` gets for each whether it is new."""

        def change(connection: sqlite3.Connection) -> list[bool]:
            self._taken.load(connection)
            append = self._append
            return [append(connection, pack, arrival_ms) for pack in packs]

        self._database.submit(change, done, len(packs))

    def _append(self, connection: sqlite3.Connection, pack: Pack, arrival_ms: int) -> bool:
        ledger = self._taken.take(connection, pack)
        if ledger is None:
            return False
        self._latest_ms = arrival_ms
        observed = None if self._observe is None else self._observe(connection, pack, arrival_ms)
        plain = pack.counted is not None and not self._aggregates
        columns = pack.columns
        if plain and columns is not None and not observed:
            totalled = self._taken.count(connection, ledger, pack, columns)
            if totalled is not None:
                self._shelf.add_columns(connection, pack, arrival_ms, totalled)
                return True
        counts: list[Count] = []
        if plain and pack.counted is not None:
            rows, replaces = self._numbers(connection, ledger, pack, pack.counted, counts)
            numbers = len(rows)
        else:
            rows, replaces = self._any(connection, ledger, pack, arrival_ms, counts)
            numbers = 0
        self._taken.note(pack, counts)
        if observed:
            rows += observed
        if rows:
            self._shelf.add(
                connection, pack.node, pack.boot, arrival_ms, rows, replaces=replaces, plain=numbers == len(rows)
            )
        return True

    def _any(
        self, connection: sqlite3.Connection, ledger: Ledger, pack: Pack, arrival_ms: int, counts: list[Count]
    ) -> tuple[list[Row], bool]:
        """The rows of a pack, and whether one replaces an earlier point; raw counts go to `counts`."""
        rows: list[Row] = []
        replaces = False
        aggregates = self._aggregates
        for reading in pack.readings:
            name, time_ms, value = reading
            if name in _CUMULATIVE and type(value) is int:
                total = self._taken.total(connection, ledger, name)
                replaces = replaces or time_ms <= total.newest_ms
                rows += [(name, *point) for point in total.take(pack.boot, value, time_ms)]
                counts.append((name, value, time_ms))
            elif (
                not aggregates
                or not isinstance(value, float)
                or self._aggregator.take(connection, pack.node, name, time_ms, value, arrival_ms)
            ):
                rows.append(reading)
        return rows, replaces

    def _numbers(
        self, connection: sqlite3.Connection, ledger: Ledger, pack: Pack, counted: Sequence[int], counts: list[Count]
    ) -> tuple[list[Row], bool]:
        """The same of a pack without aggregated readings, of which those at the places `counted` are cumulative."""
        rows: list[Row] = [*pack.readings]
        replaces, more = False, 0
        for place in counted:
            name, time_ms, value = pack.readings[place]
            raw = int(value)
            total = self._taken.total(connection, ledger, name)
            replaces = replaces or time_ms <= total.newest_ms
            points = total.take(pack.boot, raw, time_ms)
            rows[place + more : place + more + 1] = [(name, *point) for point in points]
            more += len(points) - 1
            counts.append((name, raw, time_ms))
        return rows, replaces

    def _flush(self, connection: sqlite3.Connection) -> None:
        self._taken.flush(connection)
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
        self._taken.forget()
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
            self._taken.load(connection)
            self._taken.forget_node(connection, node)
            connection.execute("DELETE FROM node WHERE node = ?", (node,))

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
    # One statement, so that a row's form is of the same moment as the row.
    query = f"SELECT {_COLUMNS} FROM {_TABLES} WHERE spool.id > ?{only} ORDER BY spool.id LIMIT ?"  # noqa: S608 -- constants
    packs: list[SpooledPack] = []
    points = 0
    for row in reader.execute(query, (cursor, most)):
        pack = SpooledPack(row[0], row[1], row[2], row[3], _readings(row[4], row[5], row[6], row[7]))
        points += len(pack.readings)
        if packs and most_points is not None and points > most_points:
            break
        packs.append(pack)
    return packs


def _readings(text: str, numbers: bytes | None, form: int | None, form_text: str | None) -> list[list[object]]:
    try:
        found = _unpacked(text, numbers, form, form_text)
        if isinstance(found, list):
            return found
    except (ValueError, TypeError, struct.error):
        pass
    # Damaged on disk, which SQLite does not notice in a row's content.
    return [[f"damaged: {text!r} {numbers!r}" + (f" form {form} {form_text!r}" if form is not None else "")]]


def _unpacked(text: str, numbers: bytes | None, form: int | None, form_text: str | None) -> object:
    if form is not None:
        if form_text is None or numbers is None:
            raise ValueError("a form that is not there, or no numbers")
        return unpack(form_text, numbers)
    return json.loads(text) if numbers is None else unpack(text, numbers)
