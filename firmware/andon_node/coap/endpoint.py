"""A CoAP endpoint: the client's role, and what client and server share, one datagram socket (RFC 7252 sections 4 and 5)."""

import asyncio
import random
from binascii import crc32

from andon_node.coap import message as coap
from andon_node.coap.response import RequestResetError, RequestTimeoutError
from andon_node.coap.server import Server

# Transmission parameters [4.8].
ACK_TIMEOUT_MS = 2000
MAX_RETRANSMIT = 4
# How long to wait for a separate response once the request was acknowledged [5.2.2 leaves it open].
SEPARATE_RESPONSE_MS = 30000


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


class Endpoint:
    """Sends requests one at a time (NSTART = 1 [4.7]) and serves them, on the same socket.

    Args:
        datagrams: `await receive()` -> (bytes, address), `send(data, address)`.
        handler: `async handler(request) -> Response`.
        secure: A `coap.secure.Secure`: then all requests are protected, and unprotected ones are refused.
        boot: Number of this start, None: not known.
    """

    def __init__(self, datagrams, handler, secure=None, boot=None):
        self.datagrams = datagrams
        self._secure = secure
        # An id is not used again within EXCHANGE_LIFETIME, 247 s [4.4]: the gateway would answer as it answered the start before.
        # So each of 16 starts has 4,096 ids, of which it begins within the first half.
        self._mid = random.getrandbits(16) if boot is None else (boot & 15) << 12 | random.getrandbits(11)
        self._token = random.getrandbits(30)
        self._turn = asyncio.Lock()
        self._open = []
        self._answered = None
        self._server = Server(self, handler, secure)
        self.observers = self._server.observers
        self.ignored = 0

    def next_mid(self):
        """Take a message id."""
        self._mid = (self._mid + 1) & 0xFFFF
        return self._mid

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
        # Random start, counted on: unlike the last ones, and not to be guessed by a stranger [5.3.1].
        self._token = (self._token + 1) & 0x3FFFFFFF
        exchange = _Exchange(address, 0, self._token.to_bytes(4, "big"))
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
            self.datagrams.send(prepare(), exchange.address)
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

    async def serve(self):
        """Receive for ever. No datagram stops it."""
        while True:
            # Kept by no name here: the last datagram would lie in memory until the next one comes.
            self._take(*await self.datagrams.receive())

    def _take(self, data, source):
        try:
            received = coap.decode(data)
        except coap.MessageError as error:
            self.ignored += 1
            if error.reset_mid is not None:
                self.send_empty(coap.RST, error.reset_mid, source)
            return
        if received.kind in (coap.ACK, coap.RST):
            self._take_reply(received, source)
        elif received.is_request():
            self._server.take(received, source)
        elif received.is_response():
            self._take_separate_response(received, source)
        elif received.kind == coap.CON:
            # An empty message is a ping, a reserved class is no message for us: both are rejected [4.2, 4.3].
            self.send_empty(coap.RST, received.mid, source)

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
                    self.send_empty(coap.ACK, received.mid, source)
                return
        self.ignored += 1
        if received.kind != coap.CON:
            return
        answered = self._answered
        if answered is not None and source == answered[0]:
            # Our acknowledgement got lost if it is the last response again; otherwise it belongs to nothing here.
            kind = coap.ACK if received.token == answered[1] else coap.RST
            self.send_empty(kind, received.mid, source)

    def _deliver(self, exchange, response):
        """Take a response; False where it is not to be believed."""
        if exchange.binding is not None and not self._secure.open_response(exchange.binding, response):
            exchange.problem = "; an unprotected or forged one said " + coap.code_text(response.code)
            return False
        for number, _ in response.options:
            if coap.is_unknown_critical(number):
                # [5.4.1]: a response with a critical option that is not understood is rejected.
                exchange.rejected = True
                exchange.news.set()
                return True
        exchange.response = response
        exchange.news.set()
        return True

    def send_empty(self, kind, mid, source):
        """Acknowledge or reject a message [4.2]."""
        self.datagrams.send(coap.encode(coap.Message(kind, coap.EMPTY, mid)), source)
