"""`POST /t` on the datagram itself: authenticated, deduplicated, decoded and answered without aiocoap's objects and tasks.

Whatever is not exactly such a request in a usual shape is left to aiocoap, on the same socket; so is every request whose message id
aiocoap has seen before from the same sender. What both can handle they answer alike (tests/gateway/test_fast_path.py compares them).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from andon_gateway.coap.bucket import Bucket
from andon_gateway.coap.recent import ELSEWHERE, MOST_PEERS, UNDER_WAY, RecentRequests
from andon_gateway.coap.wire import (
    CHANGED,
    CON,
    FIRST_RESPONSE,
    HEADER_BYTES,
    MAX_TOKEN_BYTES,
    NON,
    POST,
    acknowledgement,
    non_confirmable,
    piggybacked,
    protected,
    protected_tail,
    tail,
    telemetry,
)
from andon_gateway.security.oscore import OscoreError, UnknownContextError, decode_option
from andon_gateway.spool.intake import Outcome

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from andon_gateway.coap.batches import Outgoing
    from andon_gateway.coap.route import Route, SocketAddress
    from andon_gateway.nodes.table import Address
    from andon_gateway.security.oscore import Binding, SecurityContext

EMPTY_ACK_DELAY_S: Final = 0.1
"""A confirmable request whose answer takes longer is acknowledged first (RFC 7252 5.2.2); aiocoap waits as long."""
SLOW_PER_SENDER_S: Final = 100.0
SLOW_PER_SENDER_BURST: Final = 400.0
"""Requests of one sender that aiocoap gets; a node that fetches firmware in blocks asks some ten times a second."""
SLOW_PER_S: Final = 300.0
SLOW_BURST: Final = 4000.0
"""Of all senders: aiocoap keeps about 3 kB for 247 s for each, and its work must leave time for telemetry."""
_VERSION: Final = 1


class Wire(Protocol):
    """The socket, and what aiocoap keeps for all of its users."""

    def send(self, message: bytes, route: Route) -> None:
        """Send one datagram; it may be lost like any other."""

    def send_all(self, messages: Sequence[Outgoing]) -> None:
        """Send many, in their order."""

    def send_separately(self, code: int, token: bytes, rest: bytes, route: Route) -> None:
        """Send a separate response, confirmable and repeated (RFC 7252 5.2.2)."""

    def next_message_id(self) -> int:
        """A message id for a message of ours that acknowledges nothing."""


@dataclass(slots=True)
class FastCounts:
    """Datagrams since the start of the process, for /metrics.

    Attributes:
        fast: Requests handled here.
        repeated: Of a message id known from here.
        aiocoap: Left to aiocoap.
        malformed: No CoAP at all, dropped.
        shed: Requests for aiocoap beyond what one sender, or all together, may ask of it; dropped.
    """

    fast: int = 0
    repeated: int = 0
    aiocoap: int = 0
    malformed: int = 0
    shed: int = 0


class Intake(Protocol):
    """Where packs go: `TelemetryIntake`, or what stands for it in a worker process."""

    def examine(
        self, payload: bytes, content_format: int | None, source: Address, now_ms: int, identity: str | None
    ) -> object:
        """An `Outcome`, which is the answer, or something to keep."""

    def keep(
        self, packs: Sequence[Any], sources: Sequence[Address], now_ms: int, done: Callable[[list[Outcome]], None]
    ) -> None:
        """Keep what `examine` gave, then call `done` with an answer for each."""


class Heard(Protocol):
    """Whom we have heard with keys that are not here."""

    def heard(self, kid: bytes, address: Address, now_ms: int) -> None:
        """One more message."""


class Keys(Protocol):
    """Whose messages can be read: `KeyRing`, or what stands for it in a worker process."""

    refused: Counter[str]

    @property
    def strangers(self) -> Heard:
        """For those that cannot."""

    def of_kid(self, kid: bytes) -> SecurityContext | None:
        """The context that a request's kid names."""


class _Exchange:
    """A request that waits for its answer."""

    __slots__ = ("answered", "binding", "context", "head", "key", "route", "separate")

    def __init__(self, key: int, head: bytes, route: Route) -> None:
        self.key = key
        self.head = head  # header and token
        self.route = route
        self.context: SecurityContext | None = None
        self.binding: Binding | None = None
        self.answered = False
        self.separate = False


class FastPath:
    """Used in the event loop only.

    Args:
        intake: Where packs go.
        keys: The security contexts.
        source: An `Address` for a socket address.
        later: Calls something after so many seconds.
        counts: To be counted in.
    """

    def __init__(
        self,
        intake: Intake,
        keys: Keys,
        source: Callable[[SocketAddress], Address],
        later: Callable[[float, Callable[[], None]], object],
        counts: FastCounts,
    ) -> None:
        self._intake = intake
        self._keys = keys
        self._source = source
        self._later = later
        self._wire: Wire | None = None
        self._peers: dict[SocketAddress, tuple[int, Address]] = {}
        self._met = 0
        self._recent = RecentRequests()
        self._now_ms = 0
        self._now_s = 0.0
        self._packs: list[Any] = []  # what the intake wants to keep
        self._sources: list[Address] = []
        self._exchanges: list[_Exchange] = []
        self._unacknowledged: deque[tuple[float, list[_Exchange]]] = deque()
        self._slow: dict[SocketAddress, Bucket] = {}
        self._all_slow = Bucket(SLOW_PER_S, SLOW_BURST)
        self.counts = counts

    def attach(self, wire: Wire) -> None:
        """Where answers go from now on."""
        self._wire = wire

    def begin(self, now_ms: int) -> None:
        """A batch of datagrams follows, all of this arrival time in ms since the epoch."""
        self._now_ms = now_ms

    def take(self, data: bytes, route: Route) -> bool:
        """Handle one datagram; False: it is aiocoap's."""
        if len(data) < HEADER_BYTES or data[0] >> 6 != _VERSION:
            self.counts.malformed += 1
            return True
        if not 0 < data[1] < FIRST_RESPONSE:
            self.counts.aiocoap += 1
            return False  # a response, an acknowledgement, a ping
        key = (route.base or self._meet(route)) | data[2] << 8 | data[3]
        recent = self._recent
        answers = recent.answers
        if key in answers:
            return self._repeat(data, answers[key], route)
        answers[key] = UNDER_WAY
        recent.fresh.append(key)
        if self._telemetry(key, data, route):
            return True
        if not self._room(route.address):
            del answers[key]  # as if it had been lost on the way: sent again, it has another chance
            self.counts.shed += 1
            return True
        answers[key] = ELSEWHERE
        self.counts.aiocoap += 1
        return False

    def _telemetry(self, key: int, data: bytes, route: Route) -> bool:
        """Handle a `POST /t`; False: it is something else."""
        start = HEADER_BYTES + (data[0] & 15)
        if data[1] != POST or data[0] >> 4 & 3 > NON or start > HEADER_BYTES + MAX_TOKEN_BYTES:
            return False
        exchange = _Exchange(key, data[:start], route)
        found = telemetry(data, start)
        if found is not None:
            self._examine(exchange, found[0], found[1])
            return True
        sealed = protected(data, start)
        return sealed is not None and self._unseal(exchange, *sealed)

    def _room(self, address: SocketAddress) -> bool:
        """Whether aiocoap may have one more request; it needs memory and time for each, for minutes (RFC 7252 4.5)."""
        own = self._slow.get(address)
        if own is None:
            if len(self._slow) >= MOST_PEERS:
                self._slow.clear()
            own = self._slow[address] = Bucket(SLOW_PER_SENDER_S, SLOW_PER_SENDER_BURST)
        return own.take() and self._all_slow.take()

    def end(self, now_s: float) -> None:
        """The batch is complete.

        Args:
            now_s: By a monotonic clock.
        """
        self._now_s = now_s
        self._recent.age(now_s)
        if not self._packs:
            return
        packs, sources, exchanges = self._packs, self._sources, self._exchanges
        self._packs, self._sources, self._exchanges = [], [], []
        self._unacknowledged.append((now_s + EMPTY_ACK_DELAY_S, exchanges))
        if len(self._unacknowledged) == 1:
            self._later(EMPTY_ACK_DELAY_S, self._acknowledge)
        self._keep(packs, sources, exchanges)

    def _keep(self, packs: Sequence[Any], sources: Sequence[Address], exchanges: list[_Exchange]) -> None:
        def done(outcomes: list[Outcome]) -> None:
            self._answer_all(exchanges, outcomes)
            exchanges.clear()  # `_acknowledge` would hold them for long, and the next ones would lie in memory that no cache has

        self._intake.keep(packs, sources, self._now_ms, done)

    def _meet(self, route: Route) -> int:
        """Number a sender. Numbers are never used again, so forgetting senders cannot confuse one with another."""
        known = self._peers.get(route.address)
        if known is None:
            if len(self._peers) >= MOST_PEERS:
                self._peers.clear()
            self._met += 1
            known = self._peers[route.address] = (self._met << 16, self._source(route.address))
        route.base, route.source = known
        return route.base

    def _repeat(self, data: bytes, answer: bytes | None, route: Route) -> bool:
        """Another message of a known id: the answer again, if it is confirmable and there is one."""
        if answer is ELSEWHERE:
            self.counts.aiocoap += 1
            return False
        self.counts.repeated += 1
        if answer and data[0] >> 4 & 3 == CON:
            self._send(answer, route)
        return True

    def _examine(self, exchange: _Exchange, content_format: int | None, payload: bytes) -> None:
        self.counts.fast += 1
        source = exchange.route.source
        assert source is not None  # noqa: S101 -- `take` has met the sender
        node = None if exchange.context is None else exchange.context.node
        found = self._intake.examine(payload, content_format, source, self._now_ms, node)
        if isinstance(found, Outcome):
            self._answer(exchange, found.answer.value, tail(found.diagnostic, found.max_age_s))
            return
        self._packs.append(found)
        self._sources.append(source)
        self._exchanges.append(exchange)

    def _unseal(self, exchange: _Exchange, option: bytes, ciphertext: bytes) -> bool:
        """A protected request; False: for aiocoap, as if nobody had looked at it."""
        try:
            kid = decode_option(option)[1]
            context = None if kid is None else self._keys.of_kid(kid)
            if context is None:
                source = exchange.route.source
                if kid is not None and source is not None:
                    self._keys.strangers.heard(kid, source, self._now_ms)
                raise UnknownContextError("Security context not found")
            if not context.window.usable:
                return False  # it has to prove its freshness first
            plaintext, binding = context.open_request(option, ciphertext)
        except OscoreError as refused:
            self.counts.fast += 1
            self._refuse(exchange, refused, option)
            return True
        found = telemetry(plaintext, 1) if plaintext[0] == POST else None
        if found is None:
            return False
        context.accept(binding)
        exchange.context, exchange.binding = context, binding
        self._examine(exchange, *found)
        return True

    def _refuse(self, exchange: _Exchange, refused: OscoreError, option: bytes) -> None:  # noqa: ARG002 -- workers/path.py needs it
        self._keys.refused[type(refused).__name__] += 1
        if exchange.head[0] >> 4 & 3 == CON:
            self._answer(exchange, refused.code, tail(str(refused), 0))

    def _answer_all(self, exchanges: Sequence[_Exchange], outcomes: Sequence[Outcome]) -> None:
        last: Outcome | None = None
        code, rest = CHANGED, b""
        ready: list[Outgoing] = []
        try:
            for exchange, outcome in zip(exchanges, outcomes, strict=True):
                if outcome is not last:
                    last, code = outcome, outcome.answer.value
                    rest = tail(outcome.diagnostic, outcome.max_age_s)
                message = self._form(exchange, code, rest)
                if message is not None:
                    ready.append((message, exchange.route))
        finally:  # whatever was raised, those before it have their answers
            if ready:
                assert self._wire is not None  # noqa: S101 -- datagrams come from it
                self._wire.send_all(ready)

    def _answer(self, exchange: _Exchange, code: int, rest: bytes) -> None:
        message = self._form(exchange, code, rest)
        if message is not None:
            self._send(message, exchange.route)

    def _form(self, exchange: _Exchange, code: int, rest: bytes) -> bytes | None:
        """The answer as a message; None: it goes separately."""
        exchange.answered = True
        head = exchange.head
        if exchange.context is not None and exchange.binding is not None:
            rest = protected_tail(*exchange.context.protect_response(exchange.binding, bytes((code,)) + rest))
            code = CHANGED  # outside, whatever is inside (RFC 8613 4.2)
        if exchange.separate:
            assert self._wire is not None  # noqa: S101 -- it sent the acknowledgement
            self._wire.send_separately(code, head[HEADER_BYTES:], rest, exchange.route)
            return None
        if head[0] >> 4 & 3 == CON:
            message = piggybacked(head, code, rest)
            answers = self._recent.answers
            if exchange.key in answers:  # `settle`, without a call
                answers[exchange.key] = message
            return message
        assert self._wire is not None  # noqa: S101 -- datagrams come from it
        return non_confirmable(head, self._wire.next_message_id(), code, rest)

    def _acknowledge(self) -> None:
        """Acknowledge what the disk keeps waiting; its answer will come separately."""
        # All that are due: timers come late under load, and one batch for each would never catch up.
        due_s = max(self._unacknowledged[0][0], self._now_s)
        while self._unacknowledged and self._unacknowledged[0][0] <= due_s:
            for exchange in self._unacknowledged.popleft()[1]:
                if not exchange.answered and exchange.head[0] >> 4 & 3 == CON:
                    exchange.separate = True
                    message = acknowledgement(exchange.head)
                    self._recent.settle(exchange.key, message)
                    self._send(message, exchange.route)
        if self._unacknowledged:
            self._later(self._unacknowledged[0][0] - due_s, self._acknowledge)

    def _send(self, message: bytes, route: Route) -> None:
        assert self._wire is not None  # noqa: S101 -- datagrams come from it
        self._wire.send(message, route)
