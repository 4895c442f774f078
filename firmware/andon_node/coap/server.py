"""The server's role of an endpoint: every request answered once, however often it comes (RFC 7252 section 5.2)."""

import asyncio
import time

from micropython import const

from andon_node.coap import message as coap
from andon_node.coap.observers import Observers
from andon_node.coap.response import CoapError, Response

# A handler that takes longer gets its request acknowledged first and its response sent separately [5.2.2]; well below
# the client's ACK_TIMEOUT.
SEPARATE_AFTER_MS = 1000

# Requests remembered to answer a repeat without doing the work twice [4.2, 4.5], for EXCHANGE_LIFETIME [4.8.2] or until
# memory needs the place; what must never be done twice carries its own id (docs/protocol.md).
_REMEMBERED = const(16)
_REMEMBERED_BYTES = const(4096)
_EXCHANGE_LIFETIME_MS = const(247000)
_MAX_AT_WORK = const(4)
# A response up to a whole message goes out in one piece unless the client asks for blocks.
_WHOLE = const(1024)


class _Served:
    """A request that was received: the same message again is the same request. Small, because many are remembered.

    Attributes:
        answer: What was answered; empty: it was acknowledged, and the response comes separately; None: nothing yet.
    """

    def __init__(self, mid, source):
        self.mid = mid
        self.source = source
        self.at = time.ticks_ms()
        self.answer = None


class Server:
    """Serves requests, one handler at a time.

    Args:
        endpoint: Sends what is to be sent.
        handler: `async handler(request) -> Response`.
        secure: A `coap.secure.Secure`: then unprotected requests are refused.
    """

    def __init__(self, endpoint, handler, secure):
        self._endpoint = endpoint
        self._handler = handler
        self._secure = secure
        self._working = asyncio.Lock()
        self._remembered = []
        self._at_work = 0
        self._blocks = None
        self.observers = Observers(endpoint, self)

    def take(self, request, source):
        """Take a request that came from an address."""
        for served in self._remembered:
            if (
                served.mid == request.mid
                and served.source == source
                and time.ticks_diff(time.ticks_ms(), served.at) < _EXCHANGE_LIFETIME_MS
            ):
                if request.kind == coap.CON and served.answer:
                    self._endpoint.datagrams.send(served.answer, source)
                elif request.kind == coap.CON and served.answer is not None:
                    self._endpoint.send_empty(coap.ACK, request.mid, source)
                return
        if self._at_work == _MAX_AT_WORK:
            return  # it will be repeated
        served = _Served(request.mid, source)
        if len(self._remembered) == _REMEMBERED:
            self._remembered.pop(0)
        self._remembered.append(served)
        self._at_work += 1
        asyncio.create_task(self._serve(served, request, source))  # noqa: RUF006 - MicroPython's loop holds its tasks

    async def _serve(self, served, request, source):
        try:
            done = asyncio.Event()
            work = asyncio.create_task(self._work(served, request, source, done))
            if request.kind == coap.CON:
                try:
                    await asyncio.wait_for_ms(done.wait(), SEPARATE_AFTER_MS)
                except asyncio.TimeoutError:
                    if served.answer is None:
                        served.answer = b""
                        self._endpoint.send_empty(coap.ACK, request.mid, source)
            await work
        finally:
            self._at_work -= 1

    async def _work(self, served, request, source, done):
        try:
            async with self._working:
                response, binding = await self._answer(request, source)
            if response is None:
                return
            separate = served.answer is not None
            if request.kind == coap.CON and not separate:
                kind, mid = coap.ACK, request.mid
            else:
                kind, mid = coap.CON if separate else coap.NON, self._endpoint.next_mid()
            answer = self.encode(kind, mid, request.token, response, binding)
            if separate:
                await self._endpoint.confirm(answer, mid, source)
                return
            self._endpoint.datagrams.send(answer, source)
            served.answer = answer
            self._forget_old_answers()
        except CoapError as error:
            print("coap: not answered:", error)
        finally:
            done.set()

    def _forget_old_answers(self):
        total = 0
        for index in range(len(self._remembered) - 1, -1, -1):
            answer = self._remembered[index].answer
            if answer:
                total += len(answer)
                if total > _REMEMBERED_BYTES:
                    self._remembered.pop(index)

    def encode(self, kind, mid, token, response, binding):
        """Encode a response, protected if its request was.

        Raises:
            CoapError: It cannot be protected.
        """
        code, options, payload = response.code, response.options(), response.payload
        if binding is not None:
            code, options, payload = self._secure.protect_response(binding, code, options, payload)
        return coap.encode(coap.Message(kind, code, mid, token, options, payload))

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
            if coap.is_unknown_critical(number) or (number == coap.OSCORE and self._secure is None):
                return Response(coap.BAD_OPTION, "option %d is not understood here" % number), binding
        request.source = source
        response = await self._answer_in_blocks(request)
        if response.observable:
            self.observers.consider(request, source, token, response, binding)
        return response, binding

    async def _answer_in_blocks(self, request):
        """Ask the handler for a request that may be a part of one, or want a part of the response [RFC 7959]."""
        block2 = request.option(coap.BLOCK2)
        if block2 is not None or request.option(coap.BLOCK1) is not None:
            response = self._transfers().take(request)
            if response is not None:
                return response
        response = await self.handle(request)
        if isinstance(response.payload, str):
            response.payload = response.payload.encode()
        if block2 is not None or len(response.payload) > _WHOLE:
            response = self._transfers().cut(request, response)
        return response

    def _transfers(self):
        """Few requests come in blocks: what can do that is loaded with the first."""
        if self._blocks is None:
            from andon_node.coap.blocks import Blocks

            self._blocks = Blocks()
        return self._blocks

    async def handle(self, request):
        """Ask the handler; what it raises is the client's 5.00, not the end of the server."""
        try:
            return await self._handler(request)
        except Exception as error:
            print("coap: handler failed:", repr(error))
            return Response(coap.INTERNAL_SERVER_ERROR, repr(error))
