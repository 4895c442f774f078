"""The gateway's side of one worker: checks and keeps its packs, takes its other datagrams, tells it keys."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from andon_gateway.coap.bucket import Bucket
from andon_gateway.coap.datagrams import TOLD_AT_ONCE, TOLD_PER_S
from andon_gateway.coap.route import Route
from andon_gateway.nodes.table import Address
from andon_gateway.security.oscore import ReplayError
from andon_gateway.spool import intake
from andon_gateway.spool.intake import Outcome
from andon_gateway.workers import frames
from andon_gateway.workers.crossing import Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from andon_gateway.coap.datagrams import CoapSocket
    from andon_gateway.coap.fast_path import FastCounts
    from andon_gateway.security.oscore_keys import KeyRing
    from andon_gateway.senml.pack import Pack
    from andon_gateway.spool.intake import TelemetryIntake

log = logging.getLogger(__name__)

IDS_AT_ONCE: Final = 1024
MOST_ADDRESSES: Final = 1 << 15


@dataclass(frozen=True, slots=True)
class Office:
    """What the gateway has once, and all workers use."""

    intake: TelemetryIntake
    keys: KeyRing
    socket: CoapSocket
    counts: FastCounts


class Desk:
    """Used in the gateway's event loop.

    Args:
        office: Of the gateway.
        ready: Called when the worker reads its socket.
        lost: Called when it is gone.
    """

    def __init__(self, office: Office, ready: Callable[[], None], lost: Callable[[], None]) -> None:
        self._office = office
        self._ready = ready
        self._addresses: dict[tuple[str, int], Address] = {}
        self._unpacker = Unpacker()
        self._told = Bucket(TOLD_PER_S, TOLD_AT_ONCE)
        self.frames = frames.Frames(self._received, lambda _free: None, lost)
        self.messages = 0
        """That came from the worker; one that works sends some every second."""

    def tell_keys(self) -> None:
        """Send the table of keys; with the first one the worker begins."""
        keys = self._office.keys
        rows = [
            (c.node, c.secret, c.salt, c.node_id, c.gateway_id, context.window.usable)
            for context in keys.contexts()
            for c in (context.credential,)
            # Of two nodes with the same kid only one is ever asked here, so the worker must not open the other's messages.
            if keys.of_kid(c.node_id) is context
        ]
        self.frames.send((frames.KEYS, keys.version, rows))

    def tell_usable(self, kid: bytes) -> None:
        """A node has proven its freshness."""
        self.frames.send((frames.USABLE, kid))

    def tell_ids(self) -> None:
        """Set message ids aside for the worker."""
        self.frames.send((frames.IDS, [self._office.socket.next_message_id() for _ in range(IDS_AT_ONCE)]))

    def stop(self) -> None:
        """Everything is answered: let the worker end."""
        self.frames.send((frames.STOP,))

    def _received(self, message: frames.Message) -> None:
        self.messages += 1
        kind, *rest = message
        match kind:
            case frames.PACKS:
                self._packs(*rest)
            case frames.DATAGRAMS:
                now_ms, datagrams = rest
                self._office.socket.feed(datagrams, now_ms)
            case frames.ERRORS:
                self._office.socket.feed_errors(*rest)
            case frames.SEPARATE:
                code, token, tail, ancillary, address = rest
                self._office.socket.send_separately(code, token, tail, Route(ancillary, address))
            case frames.COUNTS:
                self._count(*rest)
            case frames.MORE_IDS:
                self.tell_ids()
            case frames.READY:
                self._ready()

    def _packs(self, number: int, now_ms: int, version: int, items: Sequence[tuple[Any, ...]]) -> None:
        verdicts: list[Any] = []
        kept: list[Pack] = []
        sources: list[Address] = []
        places: list[int] = []
        for found, host, port, kid, piv in items:
            source = self._address(host, port)
            try:
                decided = self._decide(found, source, kid, piv, now_ms, current=version == self._office.keys.version)
            except Exception:
                if self._told.take():
                    log.exception("a pack of %s:%d failed unexpectedly", host, port)
                decided = frames.LOST
            if isinstance(decided, (int, tuple)):
                verdicts.append(decided)
            else:
                places.append(len(verdicts))
                verdicts.append(frames.TAKEN)
                kept.append(decided)
                sources.append(source)
        if not kept:
            self.frames.send((frames.ANSWERS, number, verdicts))
            return

        def done(outcomes: list[Outcome]) -> None:
            for place, outcome in zip(places, outcomes, strict=True):
                if outcome is not intake.TAKEN:
                    verdicts[place] = _told(outcome)
            self.frames.send((frames.ANSWERS, number, verdicts if any(verdicts) else None))

        self._office.intake.keep(kept, sources, now_ms, done)

    def _decide(
        self, found: Any, source: Address, kid: bytes | None, piv: bytes, now_ms: int, *, current: bool
    ) -> Pack | int | tuple[Any, ...]:
        """A pack to keep, or the verdict."""
        identity = None
        if kid is not None:
            context = self._office.keys.of_kid(kid) if current else None
            if context is None or not context.window.usable:
                return frames.LOST  # the keys have changed meanwhile
            if not context.window.is_new(int.from_bytes(piv, "big")):
                self._office.keys.refused[ReplayError.__name__] += 1
                return frames.REPLAYED
            if isinstance(found, str) and found.startswith(frames.UNREADABLE):
                self._office.keys.refused[found.removeprefix(frames.UNREADABLE)] += 1
                return frames.OWN
            context.window.accept(int.from_bytes(piv, "big"))
            identity = context.node
        if isinstance(found, str):
            self._office.intake.undecodable(found, source, identity)
            return frames.OWN
        admitted = self._office.intake.admit(self._unpacker.unpack(found), now_ms, identity)
        return _told(admitted) if isinstance(admitted, Outcome) else admitted

    def _address(self, host: str, port: int) -> Address:
        address = self._addresses.get((host, port))
        if address is None:
            if len(self._addresses) >= MOST_ADDRESSES:
                self._addresses.clear()
            address = self._addresses[host, port] = Address(host, port)
        return address

    def _count(
        self, ways: dict[str, int], refused: dict[str, int], heard: Sequence[tuple[bytes, str, int, int]]
    ) -> None:
        counts, keys = self._office.counts, self._office.keys
        for name, more in ways.items():
            if name != "aiocoap":  # counted when it is fed
                setattr(counts, name, getattr(counts, name) + more)
        keys.refused.update(refused)
        now_ms = time.time_ns() // 1_000_000
        for kid, host, port, messages in heard:
            for _ in range(messages):
                keys.strangers.heard(kid, self._address(host, port), now_ms)


def _told(outcome: Outcome) -> tuple[int, str, int | None]:
    return outcome.answer.value, outcome.diagnostic, outcome.max_age_s
