"""Aggregates per window on disk: changed in the transaction of the readings, so a kill neither loses nor doubles one."""

from __future__ import annotations

import json
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from andon_gateway.spool.windows import MAGNITUDE_LIMIT, AggregateRule, Window

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

MOST_CACHED: Final = 20_000
IDLE_MS: Final = 5_000
"""A node that has fallen silent cannot close its windows by sample time; the gateway's clock does, so much later."""


class _Key(NamedTuple):
    node: str
    name: str
    window_ms: int
    start_ms: int


@dataclass(slots=True)
class _Clock:
    newest_ms: int = -1
    pruned_ms: int = -1


@dataclass(frozen=True, slots=True)
class Emission:
    """One window to be written.

    Attributes:
        node: Node id.
        name: Name in the vocabulary.
        start_ms: Start of the window: the point's time.
        values: `[count, min, max, mean, last]`.
        again: Written before; this line replaces the earlier one.
    """

    node: str
    name: str
    start_ms: int
    values: list[float]
    again: bool


class Aggregator:
    """All windows of all nodes. Used only in the writer thread, inside its transactions.

    Args:
        rules: By name in the vocabulary.
        late_ms: How much older than the node's newest reading one may be to be still added; an older one stays raw.
    """

    def __init__(self, rules: Mapping[str, AggregateRule], late_ms: int) -> None:
        self._rules = rules
        self._late_ms = late_ms
        self._windows: OrderedDict[_Key, Window] = OrderedDict()
        self._clocks: dict[str, _Clock] = {}
        self._open: defaultdict[str, set[_Key]] | None = None
        self._next_close: dict[str, int] = {}
        self._dirty: set[_Key] = set()
        self._late: set[_Key] = set()
        self._touched: set[str] = set()

    @property
    def active(self) -> bool:
        """Whether any channel is aggregated; otherwise `take` need not be asked."""
        return bool(self._rules)

    def take(
        self, connection: sqlite3.Connection, node: str, name: str, time_ms: int, value: float, arrival_ms: int
    ) -> bool:
        """Add one reading; True when it is to be written as it is, too or instead."""
        rule = self._rules.get(name)
        if rule is None or abs(value) > MAGNITUDE_LIMIT:
            return True
        clock = self._clock(connection, node)
        start_ms = time_ms - time_ms % rule.window_ms
        if start_ms < max(clock.newest_ms - self._late_ms, clock.pruned_ms):
            return True
        key = _Key(node, name, rule.window_ms, start_ms)
        window = self._load(connection, key)
        window.take(value, time_ms)
        self._dirty.add(key)
        if window.emitted:
            self._late.add(key)
        else:
            self._keep_open(connection, key)
        # A clock that is ahead must not close windows that real time has not reached.
        clock.newest_ms = max(clock.newest_ms, min(time_ms, arrival_ms))
        self._touched.add(node)
        return rule.raw

    def emit(self, connection: sqlite3.Connection, now_ms: int | None = None) -> list[Emission]:
        """Windows that have closed since the last call, and those that late readings changed; oldest first.

        Args:
            connection: Inside the transaction.
            now_ms: Close by the gateway's clock, too; None: by sample time only.
        """
        emissions = [self._emission(connection, key, again=True) for key in self._late]
        self._late.clear()
        still_open = self._open_windows(connection)
        for node in list(still_open) if now_ms is not None else self._touched:
            idle_ms = -1 if now_ms is None else now_ms - IDLE_MS
            limit = max(self._clock(connection, node).newest_ms, idle_ms)
            if limit < self._next_close.get(node, -1):
                continue
            closed = {key for key in still_open[node] if self._close_ms(key) <= limit}
            emissions += [self._emission(connection, key, again=False) for key in closed]
            for key in closed:
                self._prune(connection, key)
            still_open[node] -= closed
            self._plan(node)
        self._touched.clear()
        return sorted(emissions, key=lambda item: (item.start_ms, item.name))

    def flush(self, connection: sqlite3.Connection) -> None:
        """Write what changed; after `emit`, before the commit."""
        if not self._dirty:
            return
        connection.executemany(
            "INSERT OR REPLACE INTO aggregate_window VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(*key, *_row(self._windows[key])) for key in self._dirty],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO aggregate_clock VALUES (?, ?, ?)",
            [
                (node, clock.newest_ms, clock.pruned_ms)
                for node in {key.node for key in self._dirty}
                for clock in (self._clock(connection, node),)
            ],
        )
        self._dirty.clear()
        while len(self._windows) > MOST_CACHED:
            self._windows.popitem(last=False)

    def forget(self) -> None:
        """Drop what mirrors the database, after a failed commit."""
        self._windows.clear()
        self._clocks.clear()
        self._next_close.clear()
        self._open = None
        for pending in (self._dirty, self._late, self._touched):
            pending.clear()

    def forget_node(self, connection: sqlite3.Connection, node: str) -> None:
        """Remove all that is kept of a node."""
        connection.execute("DELETE FROM aggregate_window WHERE node = ?", (node,))
        connection.execute("DELETE FROM aggregate_clock WHERE node = ?", (node,))
        for keys in (self._dirty, self._late):
            keys -= {key for key in keys if key.node == node}
        for key in [key for key in self._windows if key.node == node]:
            del self._windows[key]
        self._clocks.pop(node, None)
        self._open_windows(connection).pop(node, None)
        self._touched.discard(node)

    def _clock(self, connection: sqlite3.Connection, node: str) -> _Clock:
        clock = self._clocks.get(node)
        if clock is None:
            query = "SELECT newest_ms, pruned_ms FROM aggregate_clock WHERE node = ?"
            row = connection.execute(query, (node,)).fetchone()
            clock = self._clocks[node] = _Clock(*row) if row else _Clock()
        return clock

    def _load(self, connection: sqlite3.Connection, key: _Key) -> Window:
        window = self._windows.get(key)
        if window is None:
            query = (
                "SELECT count, least, most, partials, last_ms, last, emitted FROM aggregate_window"
                " WHERE node = ? AND name = ? AND window_ms = ? AND start_ms = ?"
            )
            row = connection.execute(query, key).fetchone()
            window = self._windows[key] = _window(row) if row else Window()
        self._windows.move_to_end(key)
        return window

    def _open_windows(self, connection: sqlite3.Connection) -> defaultdict[str, set[_Key]]:
        if self._open is None:
            self._open = defaultdict(set)
            query = "SELECT node, name, window_ms, start_ms FROM aggregate_window WHERE emitted = 0"
            for row in connection.execute(query):
                self._open[row[0]].add(_Key(*row))
            for node in self._open:
                self._plan(node)
        return self._open

    def _keep_open(self, connection: sqlite3.Connection, key: _Key) -> None:
        keys = self._open_windows(connection)[key.node]
        if key not in keys:
            keys.add(key)
            close_ms = self._close_ms(key)
            self._next_close[key.node] = min(close_ms, self._next_close.get(key.node, close_ms))

    def _plan(self, node: str) -> None:
        keys = self._open[node] if self._open else set()
        if keys:
            self._next_close[node] = min(map(self._close_ms, keys))
        else:
            self._next_close.pop(node, None)
            if self._open is not None:
                self._open.pop(node, None)

    def _close_ms(self, key: _Key) -> int:
        rule = self._rules.get(key.name)  # None, or of another length: the configuration has changed since
        return key.start_ms + key.window_ms + (rule.grace_ms if rule is not None else 0)

    def _emission(self, connection: sqlite3.Connection, key: _Key, *, again: bool) -> Emission:
        window = self._load(connection, key)
        window.emitted = True
        self._dirty.add(key)
        return Emission(key.node, key.name, key.start_ms, window.summary(), again)

    def _prune(self, connection: sqlite3.Connection, key: _Key) -> None:
        """Forget windows of a channel that no reading can reach any more."""
        clock = self._clock(connection, key.node)
        clock.pruned_ms = max(clock.pruned_ms, clock.newest_ms - self._late_ms)
        connection.execute(
            "DELETE FROM aggregate_window WHERE node = ? AND name = ? AND start_ms < ? AND emitted = 1",
            (key.node, key.name, clock.pruned_ms),
        )


def _row(window: Window) -> Iterable[object]:
    partials = json.dumps(window.partials)
    return (window.count, window.least, window.most, partials, window.last_ms, window.last, int(window.emitted))


def _window(row: tuple[int, float, float, str, int, float, int]) -> Window:
    count, least, most, partials, last_ms, last, emitted = row
    return Window(count, least, most, json.loads(partials), last_ms, last, bool(emitted))
