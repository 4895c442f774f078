"""One gateway's disk with spool and rules under a simulated clock, for the tests of the rules."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

from andon_gateway.rules.actions import RelayActions
from andon_gateway.rules.engine import EdgeRules
from andon_gateway.senml.pack import Pack, Reading
from andon_gateway.spool.database import GroupCommit, open_reader
from andon_gateway.spool.spool import Spool, read_after

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from andon_gateway.commands.queue import RelayCommand

T0 = 1_764_000_000_000
LIMIT_S = 60
NODE = "press-7"
HIGH = {
    "id": "hot",
    "type": "high",
    "nodes": ["press-*"],
    "channel": "temperature/0",
    "setpoint": 80,
    "priority": "high",
}
SILENT = {
    "id": "silent",
    "type": "no-data",
    "nodes": [NODE],
    "channel": "temperature/0",
    "timeout_s": 60,
    "priority": "low",
}
OPEN = {"relay": 0, "state": False, "lease_s": 100}


class Plant:
    """One gateway's disk with spool and rules; every method returns when its change is durable or refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now_ms = T0
        self.nodes = {NODE}
        self.issued: list[RelayCommand] = []
        self.fail = False
        self.seq = 0
        self.open()

    def open(self) -> None:
        self.database = GroupCommit(self.path, lambda call: call())
        with open_reader(self.path) as reader:
            actions = RelayActions("gateway-1", 30_000, lambda node: node in self.nodes)
            self.rules = EdgeRules(self.database, reader, actions, 5000, lambda: self.now_ms)
        reader.close()
        self.spool = Spool(self.database, observe=self.rules.observe)
        self.rules.put = self.spool.put
        self.spool.on_forget.append(self.rules.forget_node)
        self.rules.on_commands = self.issued.extend
        self.database.before_commit.append(self._fail)
        self.database.start()

    def _fail(self, _connection: sqlite3.Connection) -> None:
        if self.fail:
            self.fail = False
            raise sqlite3.OperationalError("database or disk is full")

    def restart(self) -> None:
        self.database.close()
        self.open()

    def close(self) -> None:
        self.database.close()

    def use(self, version: int, *rules: dict[str, Any]) -> None:
        text = json.dumps({"version": version, "rules": rules})
        self.rules.replace(text, f'"{version}"').result(LIMIT_S)

    def take(
        self, *readings: tuple[int, float], seq: int | None = None, node: str = NODE, late_ms: int = 0
    ) -> bool | None:
        """A pack of temperatures; None: the disk did not take it."""
        if seq is None:
            self.seq += 1
            seq = self.seq
        answer: Future[bool | None] = Future()
        pack = Pack(node, 1, seq, [Reading("temperature/0", time_ms, value) for time_ms, value in readings])
        self.now_ms = max(self.now_ms, *(time_ms for time_ms, _ in readings)) + late_ms
        self.spool.append(pack, self.now_ms, lambda new, _error: answer.set_result(new))
        return answer.result(LIMIT_S)

    def settle(self) -> None:
        self.database.run(lambda _connection: None).result(LIMIT_S)

    def look(self, now_ms: int) -> None:
        """The gateway's clock shows `now_ms`; act as the app does."""
        self.now_ms = now_ms
        if self.now_ms >= self.rules.due_ms:
            self.database.run(self.rules.check).result(LIMIT_S)

    def events(self, node: str = NODE) -> list[tuple[str, int, dict[str, Any]]]:
        reader = open_reader(self.path)
        try:
            rows = [row for row in read_after(reader, 0, 100_000) if row.node == node]
        finally:
            reader.close()
        return [(str(r[0]), int(str(r[1])), r[2]) for row in rows for r in row.readings if isinstance(r[2], dict)]

    def told(self) -> list[tuple[int, bool]]:
        return [(time_ms - T0, fields["active"]) for _, time_ms, fields in self.events()]


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    opened = Plant(tmp_path / "gateway.sqlite3")
    yield opened
    opened.close()
