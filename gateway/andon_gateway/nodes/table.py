"""The nodes that the gateway knows: where to send commands, and when each was last heard."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from andon_gateway.errors import StorageUnavailable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from andon_gateway.senml.pack import Pack
    from andon_gateway.spool.database import Done, GroupCommit


@dataclass(frozen=True, slots=True)
class Address:
    """A node's UDP endpoint; `host` is an IP literal, with a zone where it is link-local."""

    host: str
    port: int

    @classmethod
    def of_remote(cls, remote: Any) -> Address:
        """The address of aiocoap's `remote`."""
        host, port, _flow, _scope = remote.sockaddr
        zone = remote.netif
        host = host.removeprefix("::ffff:") if "." in host else host
        return cls(f"{host}%{zone}" if zone else host, port)

    @property
    def uri(self) -> str:
        """`coap://host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"coap://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Software:
    """What a node said it runs when it registered; None: it did not say.

    Attributes:
        version: Of its firmware.
        revision: Of its configuration.
    """

    version: str | None
    revision: int | None


UNKNOWN_SOFTWARE = Software(None, None)


@dataclass(slots=True)
class Node:
    """One entry of the node table.

    Attributes:
        address: Last known endpoint.
        lifetime_s: From the registration (RFC 9176 5.1); None for a node only seen at /t.
        seen_ms: Last time heard, ms since the epoch; on disk only as old as the last change of address or registration.
        software: What runs on it.
    """

    address: Address
    lifetime_s: int | None
    seen_ms: int
    software: Software = UNKNOWN_SOFTWARE


class NodeTable:
    """In memory for every message, on disk for the restart."""

    def __init__(self, database: GroupCommit, connection: sqlite3.Connection) -> None:
        self._database = database
        self._nodes = {
            row[0]: Node(Address(row[1], row[2]), row[3], row[4], Software(row[5], row[6]))
            for row in connection.execute("SELECT node, host, port, lifetime_s, seen_ms, version, revision FROM node")
        }
        self._at = {entry.address: node for node, entry in self._nodes.items()}
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self.admission: Callable[[str, int], bool] = lambda _node, _now_ms: True
        """Whether there is room for a node at a time (gate.py)."""

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, node: str) -> Node | None:
        """The node's entry, if it was ever heard."""
        return self._nodes.get(node)

    def items(self) -> Iterable[tuple[str, Node]]:
        """All entries by node."""
        return self._nodes.items()

    def at(self, address: Address) -> str | None:
        """The node that was last heard from an address."""
        return self._at.get(address)

    def forget(self, node: str) -> None:
        """Drop an entry from memory; its row goes with all else that the spool keeps of the node."""
        entry = self._nodes.pop(node, None)
        if entry is not None and self._at.get(entry.address) == node:
            del self._at[entry.address]

    def saw(self, node: str, address: Address, now_ms: int) -> None:
        """Note a sign of life; a new address is where commands go from now on."""
        known = self._nodes.get(node)
        if known is not None and (known.address is address or known.address == address):
            known.seen_ms = now_ms
            return
        fresh = replace(known, address=address, seen_ms=now_ms) if known else Node(address, None, now_ms)
        self._store(node, fresh, lambda _result, _error: None)

    def saw_senders(self, packs: Sequence[Pack], addresses: Sequence[Address], now_ms: int) -> None:
        """`saw` for the senders of packs, in their order."""
        nodes = self._nodes
        for pack, address in zip(packs, addresses, strict=True):
            known = nodes.get(pack.node)
            if known is not None and known.address is address:  # as nearly always
                known.seen_ms = now_ms
            else:
                self.saw(pack.node, address, now_ms)

    def register(
        self,
        node: str,
        address: Address,
        lifetime_s: int,
        now_ms: int,
        done: Done[None],
        software: Software | None = UNKNOWN_SOFTWARE,
    ) -> None:
        """Take a registration at /rd; `done` runs after it is durable, or with an error at once when there is no room.

        `software` is None in a renewal, which says nothing about it: what is known stays.
        """
        if not self.admission(node, now_ms):
            done(
                None,
                StorageUnavailable("no room for another node here: an operator has to adopt it or raise the limit"),
            )
            return
        if software is None:
            known = self._nodes.get(node)
            software = UNKNOWN_SOFTWARE if known is None else known.software
        self._store(node, Node(address, lifetime_s, now_ms, software), done)

    def _store(self, node: str, entry: Node, done: Done[None]) -> None:
        previous = self._nodes.get(node)
        self._nodes[node] = entry
        if previous is not None and self._at.get(previous.address) == node:
            del self._at[previous.address]
        self._at[entry.address] = node
        row = (
            node, entry.address.host, entry.address.port, entry.lifetime_s, entry.seen_ms,
            entry.software.version, entry.software.revision,
        )  # fmt: skip

        def change(connection: sqlite3.Connection) -> None:
            names = "node, host, port, lifetime_s, seen_ms, version, revision"
            connection.execute(f"INSERT OR REPLACE INTO node ({names}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608 -- constant text

        self._database.submit(change, done)
        if previous is None or previous.address != entry.address or entry.lifetime_s is not None:
            for event in self._watchers.get(node, ()):
                event.set()

    def watch(self, node: str) -> asyncio.Event:
        """An event that is set whenever the node registers or its address changes; give it back to `unwatch`."""
        event = asyncio.Event()
        self._watchers.setdefault(node, set()).add(event)
        return event

    def unwatch(self, node: str, event: asyncio.Event) -> None:
        """Stop a watch."""
        events = self._watchers.get(node, set())
        events.discard(event)
        if not events:
            self._watchers.pop(node, None)
