"""Relay actions of rules: ordinary leased commands in the gateway's own durable queue, issued in the transaction of the reading."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from andon_gateway.commands.queue import Execution, Origin, RelayCommand, keep_command

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from andon_gateway.rules.document import Rule
    from andon_gateway.rules.evaluation import Memory

EXPIRES_S: Final = 30
"""A command that did not reach its node by then is given up; while the alarm is active the next one follows."""
REFUSED_PAUSE_S: Final = 30
"""Pause after a node's refusal (an interlock, a minimum on-time) before the same is asked again."""
_NAMESPACE: Final = uuid.UUID(
    "5d7f0d3a-7c0b-5c8e-9a55-5b1c0f3e9d21"
)  # any fixed one: makes our ids differ from others'


@dataclass(slots=True)
class RelayActions:
    """Issues commands. Used in the writer thread.

    Attributes:
        gateway: This gateway's id, part of the commands' ids.
        most_age_ms: A reading that is older at its arrival switches nothing.
        has_node: Whether the gateway serves a node; others are never switched.
        issued: Commands of the group that is being committed.
        counts: By outcome: `issued`, `too-old`, `unknown-node`.
    """

    gateway: str
    most_age_ms: int
    has_node: Callable[[str], bool]
    issued: list[RelayCommand] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def act(
        self, connection: sqlite3.Connection, rule: Rule, channel: tuple[str, str], memory: Memory, now_ms: int
    ) -> None:
        """Issue a rule's command when it is due: at the alarm, and again at half of each lease.

        Args:
            connection: In a transaction.
            rule: Its alarm is active.
            channel: Node and name of what the alarm is about.
            memory: Its newest reading decides whether it is too old; not for no-data, whose alarm is about the present.
            now_ms: The gateway's clock.
        """
        action = rule.action
        if action is None or now_ms < memory.act_ms:
            return
        if rule.type != "no-data" and now_ms - memory.newest_ms > self.most_age_ms:
            self.counts["too-old"] += 1
            return
        node = action.node or channel[0]
        if not self.has_node(node):
            self.counts["unknown-node"] += 1
            return
        issue = f"{self.gateway} {rule.id} {channel[0]} {channel[1]} {memory.event_ms} {now_ms}"
        command = RelayCommand(
            id=str(uuid.uuid5(_NAMESPACE, issue)),
            node=node,
            relay=action.relay,
            state=action.state,
            lease_s=action.lease_s,
            expires_ms=now_ms + min(EXPIRES_S, action.lease_s) * 1000,
        )
        keep_command(connection, command, now_ms, Origin(rule.id, f"alarm of {rule.type} at {channel[0]} {channel[1]}"))
        memory.command = command.id
        memory.act_ms = now_ms + action.lease_s * 500
        self.issued.append(command)
        self.counts["issued"] += 1


def due_after(execution: Execution, now_ms: int) -> int | None:
    """When a command that did not switch is to be repeated while its alarm is active; None: it did."""
    if execution.result == "acknowledged":
        return None
    return now_ms if execution.result == "expired" else now_ms + REFUSED_PAUSE_S * 1000
