"""CoAP client and server on one datagram socket (RFC 7252 sections 4 and 5, RFC 7641, RFC 7959, RFC 8613)."""

import asyncio
import random
import time
from binascii import crc32

from micropython import const

from andon_node.coap import message as coap
from andon_node.coap.blocks import Blocks
from andon_node.coap.observers import Observers
from andon_node.coap.response import CoapError, RequestResetError, RequestTimeoutError, Response

# Transmission parameters [4.8].
ACK_TIMEOUT_MS = 2000
MAX_RETRANSMIT = 4
# How long to wait for a separate response once the request was acknowledged [5.2.2 leaves it open].
SEPARATE_RESPONSE_MS = 30000
# A handler that takes longer gets its request acknowledged first and its response sent separately [5.2.2]; well below
# the client's ACK_TIMEOUT.
SEPARATE_AFTER_MS = 1000

# Requests remembered to answer a repeat without doing the work twice [4.2, 4.5], for EXCHANGE_LIFETIME [4.8.2] or until
# memory needs the place; what must never be done twice carries its own id (docs/protocol.md).
_REMEMBERED = const(16)
_REMEMBERED_BYTES = const(4096)
_EXCHANGE_LIFETIME_MS = const(247000)
_MAX_AT_WORK = const(4)

# Options of a message that this endpoint understands; any other critical one is refused [5.4.1].
_UNDERSTOOD = (
    coap.URI_HOST,
    coap.URI_PORT,
    coap.OSCORE,
    coap.URI_PATH,
    coap.URI_QUERY,
    coap.ACCEPT,
    coap.BLOCK2,
    coap.BLOCK1,
)


def is_unknown_critical(number):
    """Whether an option must be understood [5.4.1: odd numbers] and is not."""
    return number & 1 == 1 and number not in _UNDERSTOOD


class _Exchange:
    """A confirmable message of ours, and what came back."""

    def __init__(self, address, mid, token=None):
        self.address = address
        self.mid = mid
        self.token = token
        self.binding = None
        self.acknowledged = False
        self.rejected = False
        self.response = None
        self.problem = ""
        self.news = asyncio.Event()


class _Served:
    """A request that was received: the same message again is the same request."""

    def __init__(self, mid, source):
        self.mid = mid
        self.source = source
        self.at = time.ticks_ms()
        self.acknowledged = False
        self.answer = b""
        self.done = asyncio.Event()


class Endpoint:
    """Sends requests one at a time (NSTART = 1 [4.7]) and serves them, on the same socket.

    Args:
        datagrams: `await receive()` -> (bytes, address), `send(data, address)`.
        handler: `async handler(request) -> Response`.
        secure: A `coap.secure.Secure`: then all requests are protected, and unprotected ones are refused.
        boot: Number of this start, None: not known.
    """

    def __init__(self, datagrams, handler, secure=None, boot=None):
        self._datagrams = datagrams
        self._handler = handler
        self._secure = secure
        # An id is not used again within EXCHANGE_LIFETIME, 247 s [4.4]: the gateway would answer as it answered the start before.
        # So each of 16 starts has 4,096 ids, of which it begins within the first half.
        self._mid = random.getrandbits(16) if boot is None else (boot & 15) << 12 | random.getrandbits(11)
        self._token = random.getrandbits(30)
        self._turn = asyncio.Lock()
        self._working = asyncio.Lock()
        self._open = []
        self._answered = None
        self._remembered = []
        self._at_work = 0
        self._blocks = Blocks()
        self.observers = Observers(self)
        self.ignored = 0

    def next_mid(self):
        """Take a message id."""
        self._mid = (self._mid + 1) & 0xFFFF
        return self._mid

    def _next_token(self):
        # Random start, counted on: unlike the last ones, and not to be guessed by a stranger [5.3.1].
        self._token = (self._token + 1) & 0x3FFFFFFF
        return self._token.to_bytes(4, "big")

    # --- client ---

    async def request(self, address, code, options=(), payload=b"", refresh=None, max_retransmit=MAX_RETRANSMIT):
        """Send a confirmable request and return the response message.

        Args:
            address: The peer, as the socket names it.
            code: Method.
            options: (number, bytes) in ascending order.
            payload: Body.
            refresh: Called before every transmission with a payload that depends on the time of sending; returns it.
            max_retransmit: Repeats before giving up.

        Raises:
            RequestTimeoutError: No answer to any repeat.
            RequestResetError: The peer knows nothing of it.
            CoapError: It could not be protected.
        """
        async with self._turn:
            response = await self._ask(address, code, options, payload, refresh, max_retransmit)
            if self._secure is not None and response.code == coap.UNAUTHORIZED:
                echo = response.option(coap.ECHO)
                if echo is not None:
                    # The peer has restarted and wants to know that we are not a recording [RFC 8613 B.1.2].
                    options = coap.with_option(options, coap.ECHO, echo)
                    response = await self._ask(address, code, options, payload, refresh, max_retransmit)
            return response

    async def _ask(self, address, code, options, payload, refresh, max_retransmit):
        exchange = _Exchange(address, 0, self._next_token())
        data = checksum = None

        def prepare():
            # A repeat is the same message to the bit [4.2]; with another content it is another message, with another
            # id, and OSCORE must protect it anew.
            nonlocal data, checksum
            body = payload if refresh is None else refresh()
            fresh = crc32(body)
            if data is None or fresh != checksum:
                checksum = fresh
                exchange.mid = self.next_mid()
                data = self._encode_request(exchange, code, options, body)
            return data

        self._open.append(exchange)
        try:
            await self._transmit(exchange, prepare, max_retransmit)
            if exchange.response is None and not exchange.rejected:
                await self._news(exchange, SEPARATE_RESPONSE_MS)
                if exchange.response is None and not exchange.rejected:
                    raise RequestTimeoutError("acknowledged, but no response came" + exchange.problem)
        finally:
            self._open.remove(exchange)
            self._answered = (address, exchange.token)
        if exchange.rejected:
            raise RequestResetError("rejected with a Reset")
        return exchange.response

    def _encode_request(self, exchange, code, options, payload):
        if self._secure is not None:
            code, options, payload, exchange.binding = self._secure.protect(code, options, payload)
        return coap.encode(coap.Message(coap.CON, code, exchange.mid, exchange.token, options, payload))

    async def _transmit(self, exchange, prepare, max_retransmit):
        """Send a confirmable message until something comes back [4.2]."""
        # Initial timeout between ACK_TIMEOUT and ACK_TIMEOUT * ACK_RANDOM_FACTOR (1.5), doubled at each repeat.
        timeout = ACK_TIMEOUT_MS + random.randrange(ACK_TIMEOUT_MS // 2)
        for _ in range(max_retransmit + 1):
            self._datagrams.send(prepare(), exchange.address)
            await self._news(exchange, timeout)
            if exchange.acknowledged or exchange.rejected or exchange.response is not None:
                return
            timeout *= 2
        raise RequestTimeoutError("no answer to %d transmissions%s" % (max_retransmit + 1, exchange.problem))

    async def _news(self, exchange, within_ms):
        try:
            await asyncio.wait_for_ms(exchange.news.wait(), within_ms)
        except asyncio.TimeoutError:
            return
        exchange.news.clear()

    def send(self, data, address):
        """Send an encoded message once."""
        self._datagrams.send(data, address)

    async def confirm(self, data, mid, address, max_retransmit=MAX_RETRANSMIT):
        """Send a confirmable response until it is acknowledged; return whether it was."""
        exchange = _Exchange(address, mid)
        self._open.append(exchange)
        try:
            await self._transmit(exchange, lambda: data, max_retransmit)
        except RequestTimeoutError:
            return False
        finally:
            self._open.remove(exchange)
        return not exchange.rejected

    # --- what comes in ---

    async def serve(self):
        """Receive for ever. No datagram stops it."""
        while True:
            # Kept by no name here: the last datagram would lie in memory until the next one comes.
            self._take(*await self._datagrams.receive())

    def _take(self, data, source):
        try:
            received = coap.decode(data)
        except coap.MessageError as error:
            self.ignored += 1
            if error.reset_mid is not None:
                self._send_empty(coap.RST, error.reset_mid, source)
            return
        if received.kind in (coap.ACK, coap.RST):
            self._take_reply(received, source)
        elif received.is_request():
            self._take_request(received, source)
        elif received.is_response():
            self._take_separate_response(received, source)
        elif received.kind == coap.CON:
            # An empty message is a ping, a reserved class is no message for us: both are rejected [4.2, 4.3].
            self._send_empty(coap.RST, received.mid, source)

    def _take_reply(self, received, source):
        for exchange in self._open:
            if received.mid == exchange.mid and source == exchange.address:
                break
        else:
            if received.kind != coap.RST or not self.observers.forget(received.mid, source):
                self.ignored += 1
            return
        if received.kind == coap.RST:
            exchange.rejected = True
            exchange.news.set()
        elif received.code == coap.EMPTY:
            exchange.acknowledged = True
            exchange.news.set()
        elif not received.is_response() or received.token != exchange.token or not self._deliver(exchange, received):
            self.ignored += 1

    def _take_separate_response(self, received, source):
        for exchange in self._open:
            if source == exchange.address and received.token == exchange.token:
                if not self._deliver(exchange, received):
                    self.ignored += 1
                elif received.kind == coap.CON:
                    self._send_empty(coap.ACK, received.mid, source)
                return
        self.ignored += 1
        if received.kind != coap.CON:
            return
        answered = self._answered
        if answered is not None and source == answered[0]:
            # Our acknowledgement got lost if it is the last response again; otherwise it belongs to nothing here.
            kind = coap.ACK if received.token == answered[1] else coap.RST
            self._send_empty(kind, received.mid, source)

    def _deliver(self, exchange, response):
        """Take a response; False where it is not to be believed."""
        if exchange.binding is not None and not self._secure.open_response(exchange.binding, response):
            exchange.problem = "; an unprotected or forged one said " + coap.code_text(response.code)
            return False
        for number, _ in response.options:
            if is_unknown_critical(number):
                # [5.4.1]: a response with a critical option that is not understood is rejected.
                exchange.rejected = True
                exchange.news.set()
                return True
        exchange.response = response
        exchange.news.set()
        return True

    def _send_empty(self, kind, mid, source):
        self._datagrams.send(coap.encode(coap.Message(kind, coap.EMPTY, mid)), source)

    # --- server ---

    def _take_request(self, request, source):
        served = self._find_served(request.mid, source)
        if served is not None:
            if request.kind == coap.CON and (served.answer or served.acknowledged):
                if served.acknowledged:
                    self._send_empty(coap.ACK, request.mid, source)
                else:
                    self._datagrams.send(served.answer, source)
            return
        if self._at_work == _MAX_AT_WORK:
            return  # it will be repeated
        served = _Served(request.mid, source)
        if len(self._remembered) == _REMEMBERED:
            self._remembered.pop(0)
        self._remembered.append(served)
        self._at_work += 1
        asyncio.create_task(self._serve_request(served, request, source))  # noqa: RUF006 - MicroPython's loop holds its tasks

    def _find_served(self, mid, source):
        for served in self._remembered:
            if (
                served.mid == mid
                and served.source == source
                and time.ticks_diff(time.ticks_ms(), served.at) < _EXCHANGE_LIFETIME_MS
            ):
                return served
        return None

    async def _serve_request(self, served, request, source):
        try:
            work = asyncio.create_task(self._work(served, request, source))
            if request.kind == coap.CON:
                try:
                    await asyncio.wait_for_ms(served.done.wait(), SEPARATE_AFTER_MS)
                except asyncio.TimeoutError:
                    served.acknowledged = True
                    self._send_empty(coap.ACK, request.mid, source)
            await work
        finally:
            self._at_work -= 1

    async def _work(self, served, request, source):
        try:
            async with self._working:
                response, binding = await self._answer(request, source)
            if response is None:
                return
            separate = served.acknowledged
            if request.kind == coap.CON and not separate:
                kind, mid = coap.ACK, request.mid
            else:
                kind, mid = coap.CON if separate else coap.NON, self.next_mid()
            answer = self.encode_response(kind, mid, request.token, response, binding)
            if separate:
                await self.confirm(answer, mid, source)
                return
            self._datagrams.send(answer, source)
            served.answer = answer
            self._forget_beyond(_REMEMBERED_BYTES)
        except CoapError as error:
            print("coap: not answered:", error)
        finally:
            served.done.set()
            # Nobody waits for it again, and what is remembered should be small.
            served.done = None

    def encode_response(self, kind, mid, token, response, binding):
        """Encode a response, protected if its request was.

        Raises:
            CoapError: It cannot be protected.
        """
        code, options, payload = response.code, response.options(), response.payload
        if binding is not None:
            code, options, payload = self._secure.protect_response(binding, code, options, payload)
        return coap.encode(coap.Message(kind, code, mid, token, options, payload))

    def _forget_beyond(self, limit):
        total = 0
        for index in range(len(self._remembered) - 1, -1, -1):
            total += len(self._remembered[index].answer)
            if total > limit and self._remembered[index].answer:
                self._remembered.pop(index)

    async def _answer(self, request, source):
        """Return (response, binding); (None, None) where there is to be silence."""
        binding = None
        token = request.token
        if self._secure is not None:
            if request.option(coap.OSCORE) is not None:
                request, binding, refusal = self._secure.open_request(request)
            else:
                refusal = self._secure.refusal_of_unprotected(request)
            if request is None or refusal is not None:
                if refusal is None:
                    return None, None
                response = Response(refusal[0], refusal[1], None, refusal[2])
                response.extra = refusal[3]
                return response, binding
        for number, _ in request.options:
            if is_unknown_critical(number) or (number == coap.OSCORE and self._secure is None):
                return Response(coap.BAD_OPTION, "option %d is not understood here" % number), binding
        response = self._blocks.assemble(request, source) or self._blocks.cached(request, source)
        if response is None:
            request.source = source
            response = await self.handle(request)
            response = self._blocks.cut(request, source, response)
        if response.observable:
            self.observers.consider(request, source, token, response, binding)
        return response, binding

    async def handle(self, request):
        """Ask the handler; what it raises is the client's 5.00, not the end of the server."""
        try:
            return await self._handler(request)
        except Exception as error:
            print("coap: handler failed:", repr(error))
            return Response(coap.INTERNAL_SERVER_ERROR, repr(error))
