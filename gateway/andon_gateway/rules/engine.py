"""The rules in force: readings in, alarm events out, in the transaction that makes the readings durable.

A kill -9 therefore leaves either pack, event, command and the rule's memory, or nothing of them, and the node repeats the pack.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from andon_gateway.rules.actions import RelayActions, due_after
from andon_gateway.rules.document import (
    PRIORITIES,
    NoDataRule,
    Rule,
    RulesDocument,
    RulesError,
    channels_of,
    digest,
    expected_channels,
    matches,
    parse_document,
)
from andon_gateway.rules.evaluation import (
    Memory,
    Transition,
    fall_silent,
    hear,
    set_back,
    setpoint_of,
    silent_from_ms,
    take,
    withdraw,
)
from andon_gateway.uplink.lineprotocol import alarm_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from andon_gateway.commands.queue import Execution, RelayCommand
    from andon_gateway.senml.pack import Pack, Reading
    from andon_gateway.spool.database import GroupCommit

log = logging.getLogger(__name__)

Row = tuple[str, int, object]
"""Name, time in ms, value: as readings lie in the spool."""
_Key = tuple[str, str, str]
"""Rule, node, name of the reading."""
MOST_NODES: Final = 20_000
NEVER_MS: Final = 2**62
_LOG_EVERY_S: Final = 60.0
_by_time = attrgetter("time_ms")


@dataclass(frozen=True, slots=True)
class _InForce:
    version: int = 0
    etag: str = ""
    rules: Mapping[str, Rule] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class RuleCounts:
    """Counts since the start of the process, for /metrics; `active`: alarms that are active now."""

    active: int = 0
    refused_documents: int = 0
    errors: int = 0
    late: int = 0
    events: Counter[str] = field(default_factory=Counter)


class EdgeRules:
    """Evaluates the document in force. Used in the writer thread, but for `replace`, `command_ended` and what can only be read.

    Args:
        database: Where document and memories are.
        reader: To load them at the start.
        actions: Switches relays.
        ahead_ms: How far a node's clock may be ahead; what is beyond is subtracted from its times.
        now_ms: The gateway's clock.
    """

    def __init__(
        self,
        database: GroupCommit,
        reader: sqlite3.Connection,
        actions: RelayActions,
        ahead_ms: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._actions = actions
        self._ahead_ms = ahead_ms
        self._now_ms = now_ms
        self._watched_ms = now_ms()
        self._in_force = _InForce()
        self._before: _InForce | None = None
        self._bound: dict[str, Mapping[str, Sequence[Rule]]] = {}
        self._memories: dict[_Key, Memory] | None = None
        self._active = 0
        self._dirty: set[_Key] = set()
        self._logged_s = -_LOG_EVERY_S
        self._fresh = RuleCounts()
        self.counts = RuleCounts()
        self.due_ms = 0
        """When `check` has something to do, at the earliest."""
        self.put: Callable[[sqlite3.Connection, str, int, Sequence[Row]], None] = lambda *_: None
        """Puts events that come with no pack into the spool: connection, node, now in ms, rows."""
        self.on_commands: Callable[[Sequence[RelayCommand]], None] = lambda _: None
        """Told, in the writer thread, of commands that have become durable."""
        database.before_commit.append(self._flush)
        database.after_commit.append(self._committed)
        database.on_rollback.append(self._forget)
        self._load_document(reader)

    # --- the document ----------------------------------------------------------------------------------------------
    def _load_document(self, reader: sqlite3.Connection) -> None:
        row = reader.execute("SELECT etag, text FROM rule_document").fetchone()
        if row is None:
            return
        try:
            self._use(parse_document(row[1]), row[0])
            self._load(reader)
            self.counts.active = self._active
        except RulesError as error:
            self.counts.refused_documents += 1
            log.error("the rules on disk cannot be used, none are in force until the cloud sends others: %s", error)  # noqa: TRY400 -- the message says it all

    def _use(self, document: RulesDocument, etag: str) -> None:
        rules = {rule.id: rule for rule in document.rules}
        self._in_force = _InForce(document.version, etag, rules, {name: digest(rule) for name, rule in rules.items()})
        self._bound.clear()

    @property
    def etag(self) -> str:
        """Of the document in force; empty without one."""
        return self._in_force.etag

    @property
    def version(self) -> int:
        """Of the document in force; 0 without one."""
        return self._in_force.version

    def __len__(self) -> int:
        return len(self._in_force.rules)

    @property
    def action_counts(self) -> Mapping[str, int]:
        """Relay actions by outcome."""
        return self._actions.counts

    def replace(self, text: str, etag: str) -> Future[None]:
        """Put a new document in force; the future is settled when it is durable.

        Rules that are the same keep what they know. Active alarms of the others return to normal, and rise anew if their cause is still there.

        Raises:
            RulesError: It cannot be used; what was in force stays.
        """
        try:
            document = parse_document(text)
        except RulesError:
            self.counts.refused_documents += 1
            raise

        def change(connection: sqlite3.Connection) -> None:
            now_ms = self._now_ms()
            self._before = self._before or self._in_force
            connection.execute("INSERT OR REPLACE INTO rule_document VALUES (1, ?, ?)", (etag, text))
            memories = self._load(connection)
            digests = {rule.id: digest(rule) for rule in document.rules}
            for key in [key for key in memories if digests.get(key[0]) != self._in_force.digests.get(key[0])]:
                self._withdraw(connection, key, now_ms, stays=key[0] in digests)
            self._use(document, etag)
            self._expect(memories)
            connection.execute("DELETE FROM rule_memory")
            self._dirty.update(memories)
            self._watched_ms = now_ms
            self.due_ms = 0

        return self._database.run(change)

    def _withdraw(self, connection: sqlite3.Connection, key: _Key, now_ms: int, *, stays: bool) -> None:
        memories = self._load(connection)
        memory = memories.pop(key)
        rule = self._in_force.rules.get(key[0])
        self._dirty.discard(key)
        end = withdraw(memory, now_ms)
        if end is None or rule is None:
            return
        self.put(connection, key[1], now_ms, [self._event(rule, key, end)])
        if stays:
            # Later events must have later times: the store's newest point says what is true now.
            memories[key] = Memory(newest_ms=end.time_ms, event_ms=end.time_ms)

    def _expect(self, memories: dict[_Key, Memory]) -> None:
        for rule in self._in_force.rules.values():
            if isinstance(rule, NoDataRule):
                for node, name in expected_channels(rule):
                    if (rule.id, node, name) not in memories:
                        memories[rule.id, node, name] = Memory()
                        self._dirty.add((rule.id, node, name))

    # --- readings --------------------------------------------------------------------------------------------------
    def observe(self, connection: sqlite3.Connection, pack: Pack, arrival_ms: int) -> list[Row]:
        """Look at the readings of a new pack.

        Args:
            connection: The writer's, in the transaction that makes the pack durable.
            pack: Not a duplicate.
            arrival_ms: By the gateway's clock.

        Returns:
            Alarm events, to be put down with the pack.
        """
        if not self._in_force.rules:
            return []
        bound = self._bound.get(pack.node)
        if bound is None:
            bound = self._bind(pack.node)
        if not bound:
            return []
        mine = [reading for reading in pack.readings if reading.name in bound]
        if not mine:
            return []
        mine.sort(key=_by_time)
        ahead_ms = max(0, mine[-1].time_ms - arrival_ms - self._ahead_ms)
        events: list[Row] = []
        for reading in mine:
            for rule in bound[reading.name]:
                try:
                    self._look(connection, rule, pack.node, reading, (reading.time_ms - ahead_ms, arrival_ms), events)
                except sqlite3.Error:
                    raise  # the disk's: the whole group is tried again
                except Exception as fault:  # noqa: BLE001 -- a fault in a rule must never keep readings from the disk
                    self._failed(rule, fault)
        return events

    def _look(
        self,
        connection: sqlite3.Connection,
        rule: Rule,
        node: str,
        reading: Reading,
        times_ms: tuple[int, int],
        events: list[Row],
    ) -> None:
        time_ms, arrival_ms = times_ms
        key = (rule.id, node, reading.name)
        memories = self._load(connection)
        memory = memories.get(key)
        if memory is None:
            memory = memories[key] = Memory()
        elif memory.newest_ms > arrival_ms + self._ahead_ms:  # no reading is taken for later than that
            set_back(memory)
        self._dirty.add(key)
        if isinstance(rule, NoDataRule):
            transition = hear(rule, memory, time_ms, arrival_ms)
            if not memory.active:
                self.due_ms = min(self.due_ms, silent_from_ms(rule, memory, self._watched_ms))
        else:
            if time_ms <= memory.newest_ms:
                self._fresh.late += 1
                return
            transition = take(rule, memory, time_ms, float(reading.value))
        if transition is not None:
            events.append(self._event(rule, key, transition))
            memory.act_ms = 0
        if memory.active and rule.type != "no-data":
            self._actions.act(connection, rule, (node, reading.name), memory, arrival_ms)

    def _bind(self, node: str) -> Mapping[str, Sequence[Rule]]:
        bound: dict[str, list[Rule]] = {}
        for rule in self._in_force.rules.values():
            if matches(rule, node):
                for name in channels_of(rule):
                    bound.setdefault(name, []).append(rule)
        if len(self._bound) >= MOST_NODES:
            self._bound.clear()
        self._bound[node] = bound
        return bound

    def _event(self, rule: Rule, key: _Key, transition: Transition) -> Row:
        self._fresh.events["raised" if transition.active else "cleared"] += 1
        self._active += 1 if transition.active else -1
        value = {
            "active": transition.active,
            "priority": PRIORITIES[rule.priority],
            "setpoint": float(setpoint_of(rule)),
            "type": rule.type,
            "value": float(transition.value),
        }
        return alarm_name(rule.id, key[2]), transition.time_ms, value

    # --- the gateway's clock ---------------------------------------------------------------------------------------
    def check(self, connection: sqlite3.Connection) -> None:
        """Look for channels that have fallen silent, and renew their actions; a change for the database when `due_ms` has come."""
        now_ms = self._now_ms()
        memories = self._load(connection)
        due_ms = NEVER_MS
        self._watched_ms = min(self._watched_ms, now_ms)
        for key, memory in memories.items():
            rule = self._in_force.rules.get(key[0])
            if not isinstance(rule, NoDataRule) or not self._actions.has_node(key[1]):
                continue
            if memory.newest_ms > now_ms + self._ahead_ms:
                set_back(memory)
                self._dirty.add(key)
            transition = fall_silent(rule, memory, now_ms, self._watched_ms)
            if transition is not None:
                self._dirty.add(key)
                memory.act_ms = 0
                self.put(connection, key[1], now_ms, [self._event(rule, key, transition)])
            if not memory.active:
                due_ms = min(due_ms, silent_from_ms(rule, memory, self._watched_ms))
            elif rule.action is not None:
                self._dirty.add(key)
                self._actions.act(connection, rule, key[1:], memory, now_ms)
                due_ms = min(due_ms, max(memory.act_ms, now_ms + 1000))
        self.due_ms = due_ms

    def recheck(self, _connection: sqlite3.Connection | None = None) -> None:
        """The table of nodes has changed, or the clock was set back: some may have to be watched now."""
        self.due_ms = 0

    def command_ended(self, command: RelayCommand, execution: Execution) -> None:
        """A command did not switch: while its alarm is active it is issued again. From any thread."""

        def change(connection: sqlite3.Connection) -> None:
            due_ms = due_after(execution, self._now_ms())
            for key, memory in self._load(connection).items():
                if due_ms is not None and memory.active and memory.command == command.id:
                    memory.act_ms = min(memory.act_ms, due_ms)
                    self.due_ms = min(self.due_ms, memory.act_ms)
                    self._dirty.add(key)

        if execution.result != "acknowledged":
            self._database.submit(change, lambda _result, _error: None)

    def forget_node(self, connection: sqlite3.Connection, node: str) -> None:
        """Remove all that is kept of a node."""
        memories = self._load(connection)
        for key in [key for key in memories if key[1] == node]:
            self._active -= memories.pop(key).active
            self._dirty.discard(key)
        self._bound.pop(node, None)
        connection.execute("DELETE FROM rule_memory WHERE node = ?", (node,))

    # --- the transaction -------------------------------------------------------------------------------------------
    def _load(self, connection: sqlite3.Connection) -> dict[_Key, Memory]:
        if self._memories is None:
            found: dict[_Key, Memory] = {}
            for rule, node, name, kept, text in connection.execute(
                "SELECT rule, node, name, digest, memory FROM rule_memory"
            ):
                if self._in_force.digests.get(rule) == kept:
                    found[rule, node, name] = Memory.from_text(text)
            self._memories = found
            self._active = sum(memory.active for memory in found.values())
        return self._memories

    def _flush(self, connection: sqlite3.Connection) -> None:
        if self._dirty:
            memories = self._load(connection)
            connection.executemany(
                "INSERT OR REPLACE INTO rule_memory VALUES (?, ?, ?, ?, ?)",
                [(*key, self._in_force.digests[key[0]], memories[key].to_text()) for key in self._dirty],
            )
            self._dirty.clear()

    def _committed(self) -> None:
        fresh, self._fresh = self._fresh, RuleCounts()
        self.counts.errors += fresh.errors
        self.counts.late += fresh.late
        self.counts.events.update(fresh.events)
        self.counts.active = self._active
        self._before = None
        if self._actions.issued:
            issued, self._actions.issued = self._actions.issued, []
            self.on_commands(issued)

    def _forget(self) -> None:
        self._memories = None
        self._dirty.clear()
        if self._before is not None:
            self._in_force, self._before = self._before, None
            self._bound.clear()
        self._fresh = RuleCounts()
        self._actions.issued = []
        self.due_ms = 0

    def _failed(self, rule: Rule, fault: Exception) -> None:
        self._fresh.errors += 1
        if time.monotonic() - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = time.monotonic()
            log.error("rule %s fails; its readings are kept, the other rules go on", rule.id, exc_info=fault)
