"""A node as the gateway sees one, without a board: it samples, keeps, sends and repeats by the firmware's rules.

What it does not do: register, ask for the time, serve commands. The rules are those of firmware/andon_node/gateway.py and
coap/endpoint.py: one confirmable exchange at a time, RFC 7252's back-off with two repeats, a new exchange after that, and
the same (node, boot, seq) again until a 2.04 has come.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from andon_workbench.chaos import message as coap
from andon_workbench.chaos.pack import CHANNELS, SENML_CBOR, Pack, encode, raw_of_sample

if TYPE_CHECKING:
    from random import Random

    from andon_workbench.chaos.oscore import Binding, ClientContext

SAMPLE_S: Final = 1.0
# Boots live so long; within a run every node has some, below the 32 that the gateway keeps apart.
BOOT_S: Final = (20.0, 90.0)
ACK_TIMEOUT_S: Final = 2.0  # RFC 7252 4.8, as are the next two
ACK_RANDOM_FACTOR: Final = 1.5
MAX_RETRANSMIT: Final = 2  # the firmware's choice for telemetry
SEPARATE_RESPONSE_S: Final = 30.0
PAUSE_S: Final = 1.0
LOCKED_OUT_S: Final = 10.0
LONGEST_PAUSE_S: Final = 60
NUMBERS_PER_BOOT: Final = 1024
MOST_CYCLES: Final = 3
_USELESS: Final = (coap.BAD_REQUEST, coap.REQUEST_ENTITY_TOO_LARGE, coap.UNSUPPORTED_CONTENT_FORMAT)


class _NoResponseError(Exception):
    """An exchange ended without a response."""


@dataclass(slots=True)
class _Exchange:
    """A request under way, and what came back."""

    token: bytes
    mid: int = -1
    binding: Binding | None = None
    acknowledged: bool = False
    rejected: bool = False
    response: coap.Message | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)


class LeanNode(asyncio.DatagramProtocol):
    """One node with a journal that outlives its boots.

    Args:
        name: Node id.
        gateway: Where it sends to.
        rng: Decides its machine, its boots and its time-outs.
        security: Its keys; None: it speaks openly.
        clockless: It never learns the time and sends ages (docs/protocol.md, `bt`).

    Attributes:
        packs: All samples ever taken: this node's ledger.
        boots: How many times it has started.
        refused: Packs that the gateway refused for good, with its reason.
        transmissions: Requests sent, repeats included.
    """

    def __init__(
        self,
        name: str,
        gateway: tuple[str, int],
        rng: Random,
        security: ClientContext | None,
        *,
        clockless: bool = False,
    ) -> None:
        self.name = name
        self.clockless = clockless
        self.packs: list[Pack] = []
        self.boots = 0
        self.refused: list[str] = []
        self.transmissions = 0
        self._gateway = gateway
        self._rng = rng
        self._security = security
        self._waiting: deque[Pack] = deque()
        self._arrived = asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None
        self._exchange: _Exchange | None = None
        self._mid = 0
        self._token = 0
        self._count = 0
        self._counted_before = 0
        self._measuring = True

    @property
    def waiting(self) -> int:
        """Packs without a 2.04."""
        return len(self._waiting)

    def stop_measuring(self) -> None:
        """Take no more samples and do not start again; what waits is still sent."""
        self._measuring = False

    async def run(self) -> None:
        """Live for ever: boot after boot, on one socket."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        try:
            await asyncio.sleep(self._rng.uniform(0, SAMPLE_S))
            while True:
                await self._one_boot(self._rng.uniform(*BOOT_S))
        finally:
            self._transport.close()

    async def _one_boot(self, lasts_s: float) -> None:
        self.boots += 1
        self._counted_before += self._count
        self._count = 0
        self._mid, self._token = self._rng.getrandbits(16), self._rng.getrandbits(30)
        if self._security is not None:
            self._security.skip(NUMBERS_PER_BOOT)
        sending = asyncio.create_task(self._send(), name=f"sending of {self.name}")
        try:
            await self._measure(lasts_s)
        finally:
            sending.cancel()
            self._exchange = None
            with contextlib.suppress(asyncio.CancelledError):
                await sending

    async def _measure(self, lasts_s: float) -> None:
        due = began = time.monotonic()
        seq = 0
        while not self._measuring or due - began < lasts_s:
            if self._measuring:
                self._take(seq)
                seq += 1
            due += SAMPLE_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _take(self, seq: int) -> None:
        number = len(self.packs)
        self._count += self._rng.randint(0, MOST_CYCLES)
        now_ms = time.time_ns() // 1_000_000
        pack = Pack(
            boot=self.boots,
            seq=seq,
            # One point per time: a host whose clock is stepped back must not look like a lost reading.
            taken_ms=max(now_ms, self.packs[-1].taken_ms + 1) if self.packs else now_ms,
            # A gateway that was busy may date two packs of a clockless node alike; they would be one point.
            channel=number % CHANNELS if self.clockless else 0,
            raw=raw_of_sample(number),
            count=self._count,
            total=self._counted_before + self._count,
        )
        self.packs.append(pack)
        self._waiting.append(pack)
        self._arrived.set()

    async def _send(self) -> None:
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            pack = self._waiting[0]
            try:
                response = await self._ask(pack)
            except _NoResponseError:
                await asyncio.sleep(PAUSE_S)
                continue
            if response.code == coap.CHANGED:
                pack.acknowledged = True
                self._waiting.popleft()
            elif response.code in _USELESS:
                self._waiting.popleft()
                self.refused.append(f"{self.name} pack {pack.boot}/{pack.seq}: {response.payload.decode()}")
            elif response.code in (coap.UNAUTHORIZED, coap.FORBIDDEN):
                await asyncio.sleep(LOCKED_OUT_S)
            else:
                await asyncio.sleep(_pause_s(response))

    async def _ask(self, pack: Pack) -> coap.Message:
        """One exchange; a second one where the gateway has restarted and asks for an echo (RFC 8613 B.1.2)."""
        response = await self._request(pack, None)
        echo = response.option(coap.ECHO)
        if self._security is not None and response.code == coap.UNAUTHORIZED and echo is not None:
            response = await self._request(pack, echo)
        return response

    async def _request(self, pack: Pack, echo: bytes | None) -> coap.Message:
        self._token = (self._token + 1) & 0x3FFFFFFF
        exchange = self._exchange = _Exchange(self._token.to_bytes(4, "big"))
        try:
            await self._transmit(exchange, pack, echo)
            if exchange.response is None and not exchange.rejected:
                await self._news(exchange, SEPARATE_RESPONSE_S)
        finally:
            self._exchange = None
        if exchange.response is None:
            raise _NoResponseError
        return exchange.response

    async def _transmit(self, exchange: _Exchange, pack: Pack, echo: bytes | None) -> None:
        timeout_s = self._rng.uniform(ACK_TIMEOUT_S, ACK_TIMEOUT_S * ACK_RANDOM_FACTOR)
        sent, datagram = b"", b""
        for _ in range(MAX_RETRANSMIT + 1):
            age_ms = time.time_ns() // 1_000_000 - pack.taken_ms
            body = encode(self.name, pack, -max(1, age_ms) if self.clockless else pack.taken_ms)
            if body != sent:
                # Another content is another message, with another id, and protected anew.
                sent, datagram = body, self._encode(exchange, body, echo)
            self.transmissions += 1
            if self._transport is not None:
                self._transport.sendto(datagram, self._gateway)
            await self._news(exchange, timeout_s)
            if exchange.acknowledged or exchange.rejected or exchange.response is not None:
                return
            timeout_s *= 2
        raise _NoResponseError

    def _encode(self, exchange: _Exchange, body: bytes, echo: bytes | None) -> bytes:
        self._mid = exchange.mid = (self._mid + 1) & 0xFFFF
        options: coap.Options = [(coap.URI_PATH, b"t"), (coap.CONTENT_FORMAT, bytes([SENML_CBOR]))]
        if echo is not None:
            options.append((coap.ECHO, echo))
        if self._security is not None:
            plaintext = bytes([coap.POST]) + coap.encode_body(options, body)
            value, body, exchange.binding = self._security.protect(plaintext)
            options = [(coap.OSCORE, value)]
        return coap.Message(coap.CON, coap.POST, exchange.mid, exchange.token, tuple(options), body).encode()

    async def _news(self, exchange: _Exchange, within_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await exchange.news.wait()
        exchange.news.clear()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Match a datagram with the exchange under way; everything else is ignored, as on the node."""
        try:
            received = coap.decode(data)
        except ValueError:
            return
        exchange = self._exchange
        if received.kind in (coap.ACK, coap.RST):
            if exchange is None or received.mid != exchange.mid:
                return
            if received.kind == coap.RST:
                exchange.rejected = True
            elif received.code == coap.EMPTY:
                exchange.acknowledged = True
            elif received.token != exchange.token or not self._deliver(exchange, received):
                return
            exchange.news.set()
        elif received.is_response:
            known = exchange is not None and received.token == exchange.token
            if known and exchange is not None and self._deliver(exchange, received):
                exchange.news.set()
            if received.kind == coap.CON and self._transport is not None:
                reply = coap.Message(coap.ACK if known else coap.RST, coap.EMPTY, received.mid)
                self._transport.sendto(reply.encode(), addr)

    def _deliver(self, exchange: _Exchange, response: coap.Message) -> bool:
        """Take a response; with keys only one that is protected and belongs to this request."""
        if self._security is not None:
            option = response.option(coap.OSCORE)
            if option is None or exchange.binding is None:
                return False
            plaintext = self._security.open(exchange.binding, option, response.payload)
            if not plaintext:
                return False
            options, payload = coap.decode_body(plaintext[1:])
            response = coap.Message(response.kind, plaintext[0], response.mid, response.token, options, payload)
        exchange.response = response
        return True


def _pause_s(response: coap.Message) -> float:
    """When a 5.03 or 4.29 wants to see us again (Max-Age)."""
    value = response.option(coap.MAX_AGE)
    return PAUSE_S if value is None else float(min(max(int.from_bytes(value, "big"), 1), LONGEST_PAUSE_S))
