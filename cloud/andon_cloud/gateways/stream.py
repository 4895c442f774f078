"""The event stream of one gateway: assets, version of the rules, open orders, then all as they change (docs/protocol.md)."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from andon_cloud.commands.offers import Offer, mark_offered, open_offers
from andon_cloud.configurations.service import configurations_of_gateway
from andon_cloud.registry.credentials import credentials_of_gateway
from andon_cloud.registry.models import Gateway, Machine, Node
from andon_cloud.rules.service import newest_etag
from andon_cloud.updates.service import updates_of_gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from andon_cloud.commands.schemas import CommandEvent
    from andon_cloud.db.engine import Database
    from andon_cloud.gateways.notifier import Notifier
    from andon_cloud.identifiers import Clock

# A comment alone, without the blank line that would end an event: some clients make an empty event of that.
KEEPALIVE = b": keep-alive\n"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a gateway should know now. `nodes` and `keys` are only read when the version differs from the one already sent.

    `lists` are the orders for nodes that are not at their end: the whole list under the name of its event.
    """

    token_hash: str
    version: int
    nodes: dict[str, dict[str, str]] | None
    keys: dict[str, dict[str, str]] | None
    offers: list[Offer]
    rules: tuple[int, str] | None
    lists: dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class GatewayStream:
    """Makes streams; each ends when the server stops, or its gateway is removed or gets another token."""

    database: Database
    notifier: Notifier
    clock: Clock
    poll_s: float
    keepalive_s: float

    async def events(self, gateway_id: str, token_hash: str) -> AsyncIterator[bytes]:
        """The stream's bytes.

        What to send is always read from the database and compared with what was sent, so the wake-up inside this
        process and the poll for other processes' changes share one path, and a reconnect repeats nothing but what is open.
        """
        version = -1
        rules: tuple[int, str] | None = None
        sent: set[str] = set()
        lists: dict[str, list[dict[str, Any]]] = {}
        loop = asyncio.get_running_loop()
        spoken = loop.time()
        with self.notifier.subscribed(gateway_id) as changed:
            while not self.notifier.closing:
                changed.clear()
                try:
                    snapshot = await self._read(gateway_id, version)
                    fresh = await self._take_fresh(snapshot, sent)
                except SQLAlchemyError:
                    return  # the gateway reconnects with its back-off; nothing was promised on this stream
                if snapshot is None or snapshot.token_hash != token_hash:
                    return
                chunk = _chunk(snapshot, fresh, rules_known=rules, lists_known=lists)
                version, rules, lists = snapshot.version, snapshot.rules, snapshot.lists
                sent = {offer.event.id for offer in snapshot.offers} & (sent | {event.id for event in fresh})
                if chunk:
                    yield chunk
                    spoken = loop.time()
                elif loop.time() - spoken >= self.keepalive_s:
                    yield KEEPALIVE
                    spoken = loop.time()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(self.poll_s, self.keepalive_s)):
                        await changed.wait()

    async def _take_fresh(self, snapshot: Snapshot | None, sent: set[str]) -> list[CommandEvent]:
        """The commands that this stream has not sent yet, marked as offered."""
        fresh = [] if snapshot is None else [offer for offer in snapshot.offers if offer.event.id not in sent]
        unmarked = [offer.event.id for offer in fresh if not offer.was_offered]
        marked: set[str] = set()
        if unmarked:
            async with self.database.writing() as session:
                marked = await mark_offered(session, unmarked, self.clock())
        return [offer.event for offer in fresh if offer.was_offered or offer.event.id in marked]

    async def _read(self, gateway_id: str, known_version: int) -> Snapshot | None:
        async with self.database.reading() as session:
            columns = select(Gateway.token_hash, Gateway.assets_version).where(Gateway.id == gateway_id)
            row = (await session.execute(columns)).one_or_none()
            if row is None:
                return None
            nodes = keys = None
            if row.assets_version != known_version:
                found = await session.execute(
                    select(Node.id, Machine.site, Machine.area, Machine.line, Machine.id.label("machine"))
                    .join(Machine, Machine.id == Node.machine_id)
                    .where(Node.gateway_id == gateway_id)
                    .order_by(Node.id)
                )
                nodes = {
                    node.id: {"site": node.site, "area": node.area, "line": node.line, "machine": node.machine}
                    for node in found
                }
                keys = await credentials_of_gateway(session, gateway_id)
            offers = await open_offers(session, gateway_id)
            configurations = await configurations_of_gateway(session, gateway_id)
            updates = await updates_of_gateway(session, gateway_id)
            lists = {
                "configurations": [event.model_dump() for event in configurations],
                "updates": [event.model_dump() for event in updates],
            }
            rules = await newest_etag(session)
            return Snapshot(row.token_hash, row.assets_version, nodes, keys, offers, rules, lists)


def _chunk(
    snapshot: Snapshot,
    fresh: list[CommandEvent],
    *,
    rules_known: tuple[int, str] | None,
    lists_known: dict[str, list[dict[str, Any]]],
) -> bytes:
    parts: list[bytes] = []
    if snapshot.nodes is not None:
        parts.append(sse_event("assets", {"version": snapshot.version, "nodes": snapshot.nodes}))
        parts.append(sse_event("credentials", {"version": snapshot.version, "nodes": snapshot.keys}))
    if snapshot.rules is not None and snapshot.rules != rules_known:
        parts.append(sse_event("rules", {"version": snapshot.rules[0], "etag": snapshot.rules[1]}))
    parts.extend(sse_event("command", event.model_dump(), event.id) for event in fresh)
    parts.extend(
        sse_event(name, {name: items}) for name, items in snapshot.lists.items() if items != lists_known.get(name)
    )
    return b"".join(parts)


def sse_event(name: str, data: object, identity: str | None = None) -> bytes:
    """One server-sent event (WHATWG HTML, section 9.2.5); JSON holds no line break."""
    head = f"event: {name}\n" + (f"id: {identity}\n" if identity is not None else "")
    return head.encode() + b"data: " + orjson.dumps(data) + b"\n\n"
