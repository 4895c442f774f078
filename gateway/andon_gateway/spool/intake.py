"""Telemetry intake: bytes from any transport in, an outcome out. Knows CoAP's answers, but no CoAP library.

aiocoap's resource calls `TelemetryIntake.receive`; the fast path on the same socket `examine`, and `keep` for many packs at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from andon_gateway.errors import PackRefused, StorageUnavailable
from andon_gateway.nodes.own_clock import OwnClock
from andon_gateway.security.access import refusal_text
from andon_gateway.senml.pack import MAX_PACK_BYTES, SENML_CBOR, SENML_JSON, decode_pack
from andon_gateway.senml.quick import QuickDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from andon_gateway.nodes.gate import NodeGate
    from andon_gateway.nodes.table import Address, NodeTable
    from andon_gateway.security.access import AccessPolicy
    from andon_gateway.senml.pack import Pack
    from andon_gateway.spool.spool import Spool

RETRY_AFTER_S: Final = 5
"""Max-Age of a 5.03: long enough for a full disk to be drained a little, short against a node's memory."""
NO_ROOM_S: Final = 60
"""Max-Age of a 5.03 for a node that only a person can let in."""
CLOCK_WAIT_S: Final = 10
"""Max-Age of a 5.03 while the gateway's own clock may be wrong: what is taken late is dated right all the same."""


class Answer(Enum):
    """CoAP response codes of `POST /t` as code bytes (RFC 7252 12.1.2)."""

    CHANGED = 0x44
    BAD_REQUEST = 0x80
    UNAUTHORIZED = 0x81
    BAD_OPTION = 0x82
    FORBIDDEN = 0x83
    REQUEST_ENTITY_TOO_LARGE = 0x8D
    UNSUPPORTED_CONTENT_FORMAT = 0x8F
    TOO_MANY_REQUESTS = 0x9D  # RFC 8516
    SERVICE_UNAVAILABLE = 0xA3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the node is told.

    Attributes:
        answer: Response code.
        diagnostic: One line for the node's log; empty on success.
        max_age_s: When to try again, with 5.03 and 4.29.
    """

    answer: Answer
    diagnostic: str = ""
    max_age_s: int | None = None


TAKEN: Final = Outcome(Answer.CHANGED)
_UNSUPPORTED: Final = Outcome(
    Answer.UNSUPPORTED_CONTENT_FORMAT,
    f"expected content-format {SENML_CBOR} (application/senml+cbor) or {SENML_JSON} (application/senml+json)",
)
TOO_LARGE: Final = Outcome(Answer.REQUEST_ENTITY_TOO_LARGE, f"a pack has at most {MAX_PACK_BYTES} bytes in one message")


MALFORMED: Final = "malformed"


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A payload that is no pack: the answer, and the reason under which it is counted."""

    outcome: Outcome
    reason: str


class PackDecoder:
    """From a payload to a pack, or to the reason why not. Remembers shapes, so one instance serves one thread."""

    def __init__(self) -> None:
        self._quick = QuickDecoder()

    def decode(self, payload: bytes, content_format: int | None, now_ms: int) -> Pack | Undecodable:
        """Arguments as for `TelemetryIntake.receive`."""
        if content_format == SENML_CBOR:
            pack = self._quick.decode(payload, now_ms)
            if pack is not None:
                return pack
        elif content_format != SENML_JSON:
            return Undecodable(_UNSUPPORTED, "content_format")
        if len(payload) > MAX_PACK_BYTES:
            return Undecodable(TOO_LARGE, "size")
        try:
            return decode_pack(payload, content_format, now_ms)
        except PackRefused as refusal:
            return Undecodable(Outcome(Answer.BAD_REQUEST, str(refusal)), MALFORMED)


@dataclass(slots=True)
class IntakeCounts:
    """Counts since the start of the process, for /metrics."""

    packs: int = 0
    readings: int = 0
    duplicates: int = 0
    unavailable: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    postponed: Counter[str] = field(default_factory=Counter)


class TelemetryIntake:
    """Decodes packs, makes them durable and says how to answer."""

    def __init__(
        self, spool: Spool, nodes: NodeTable, access: AccessPolicy, gate: NodeGate, clock: OwnClock | None = None
    ) -> None:
        self.clock = clock or OwnClock(gate.others_in_time, trusted=True)
        """The gateway's own; after each of its looks call `clock_judged`."""
        self._spool = spool
        self._nodes = nodes
        self._access = access
        self._gate = gate
        self._decoder = PackDecoder()
        self._open = True
        self._taking = True  # open, and able to date what comes: one question for the usual pack
        self.counts = IntakeCounts()

    def close(self) -> None:
        """Turn new packs away with 5.03; those under way are still answered."""
        self._open = self._taking = False

    def clock_judged(self) -> None:
        """While the gateway's clock is certainly wrong all packs are turned away with 5.03."""
        self._taking = self._open and not self.clock.behind

    def receive(
        self,
        payload: bytes,
        content_format: int | None,
        source: Address,
        now_ms: int,
        done: Callable[[Outcome], None],
        *,
        identity: str | None = None,
    ) -> None:
        """Take one pack.

        Args:
            payload: The pack.
            content_format: CoAP content-format of the payload.
            source: The sender; becomes the node's address for commands.
            now_ms: Moment of arrival, ms since the epoch.
            done: Called once in the event loop: before this returns for a refusal, after the group commit for a pack.
            identity: The node that OSCORE has authenticated as the sender; None: it came unprotected.
        """
        found = self.examine(payload, content_format, source, now_ms, identity)
        if isinstance(found, Outcome):
            done(found)
        else:
            self.keep([found], [source], now_ms, lambda outcomes: done(outcomes[0]))

    def examine(
        self, payload: bytes, content_format: int | None, source: Address, now_ms: int, identity: str | None
    ) -> Pack | Outcome:
        """Decode a pack and check that its sender may send it now; arguments as for `receive`.

        Returns:
            The pack, to be given to `keep`, or the final answer.
        """
        pack = self._decoder.decode(payload, content_format, now_ms)
        if isinstance(pack, Undecodable):
            self.undecodable(pack.reason, source, identity)
            return pack.outcome
        return self.admit(pack, now_ms, identity)

    def admit(self, pack: Pack, now_ms: int, identity: str | None) -> Pack | Outcome:
        """The part of `examine` after decoding, which wants what only one process has: nodes, rates and clocks."""
        verdict = self._access.verdict(pack.node, identity)
        if verdict == "allowed" and self._taking and self._gate.passes(pack, now_ms):
            return pack
        if verdict != "allowed":
            answer = Answer.FORBIDDEN if verdict == "identity" else Answer.UNAUTHORIZED
            return self._refuse(Outcome(answer, refusal_text(verdict, pack.node, identity)), verdict)
        if (later := self._not_now(pack, now_ms)) is not None:
            return later
        self._gate.check_clock(pack, now_ms)
        return pack

    def undecodable(self, reason: str, source: Address, identity: str | None) -> None:
        """Count a pack that is not to be read; a worker process (workers/) has found that before."""
        self.counts.refused[reason] += 1
        if reason == MALFORMED:
            self._gate.refused(source, identity)

    def keep(
        self, packs: Sequence[Pack], sources: Sequence[Address], now_ms: int, done: Callable[[list[Outcome]], None]
    ) -> None:
        """Make examined packs durable in one step.

        Args:
            packs: From `examine`.
            sources: Their senders.
            now_ms: Moment of arrival, ms since the epoch.
            done: Called once in the event loop with an outcome for each, after the group commit.
        """

        def committed(news: list[bool] | None, error: StorageUnavailable | None) -> None:
            if news is None:
                self.counts.unavailable += len(packs)
                done([Outcome(Answer.SERVICE_UNAVAILABLE, str(error), RETRY_AFTER_S)] * len(packs))
                return
            self._count(packs, sources, news, now_ms)
            done([TAKEN] * len(packs))

        self._spool.append_all(packs, now_ms, committed)

    def _count(self, packs: Sequence[Pack], sources: Sequence[Address], news: Sequence[bool], now_ms: int) -> None:
        counts = self.counts
        readings = taken = 0
        for pack, new in zip(packs, news, strict=True):
            if new:
                taken += 1
                columns = pack.columns
                readings += len(pack.readings if columns is None else columns.form.names)
                if pack.rejected:
                    counts.rejected.update(pack.rejected)
        self._nodes.saw_senders(packs, sources, now_ms)
        self._gate.took(packs, sources, news, now_ms)
        counts.packs += taken
        counts.readings += readings
        counts.duplicates += len(packs) - taken

    def _not_now(self, pack: Pack, now_ms: int) -> Outcome | None:
        """The answer to a node that has to wait; None for all others."""
        if not self._open:
            return Outcome(Answer.SERVICE_UNAVAILABLE, "the gateway is stopping; try again", RETRY_AFTER_S)
        if not self._taking:
            return self._clock_wrong("the gateway's clock is wrong; try again")
        admission = self._gate.admit(pack.node, now_ms)
        if admission != "admitted":
            self.counts.postponed[admission] += 1
            text = f"{admission.replace('-', ' ')} here: an operator has to adopt {pack.node} or raise the limit in gateway.toml"
            return Outcome(Answer.SERVICE_UNAVAILABLE, text, NO_ROOM_S)
        wait_s = self._gate.wait_s(pack.node, now_ms)
        if wait_s:
            self.counts.postponed["rate"] += 1
            return Outcome(
                Answer.TOO_MANY_REQUESTS, f"at most {self._gate.limits.packs_per_s:g} packs/s per node", wait_s
            )
        future_ms = pack.future_ms
        if future_ms is not None and self.clock.holds(pack.node, future_ms, now_ms, votes=self._gate.votes(pack.node)):
            return self._clock_wrong("the gateway's clock may be behind these times; try again")
        return None

    def _clock_wrong(self, text: str) -> Outcome:
        self.counts.postponed["clock"] += 1
        return Outcome(Answer.SERVICE_UNAVAILABLE, text, CLOCK_WAIT_S)

    def _refuse(self, outcome: Outcome, reason: str) -> Outcome:
        self.counts.refused[reason] += 1
        return outcome
