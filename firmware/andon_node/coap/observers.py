"""Observation of resources (RFC 7641): a few observers, each notified when what it would read has changed."""

import asyncio
from binascii import crc32

from andon_node.coap import message as coap

# A node has few readers that need every value; the others ask the cloud.
MAX_OBSERVERS = 4
# Every n-th notification is confirmable, so that an observer that has gone is noticed [4.5].
CONFIRM_EVERY = 8
POLL_MS = 200
# A notification is worth Max-Age; one is sent before it runs out even when nothing has changed [4.3.1].
MAX_AGE_S = 60
_RENEW_POLLS = MAX_AGE_S * 500 // POLL_MS


class _Observer:
    """One registration: its request is asked again for every notification."""

    def __init__(self, request, source, token, binding):
        self.request = request
        self.source = source
        self.token = token
        self.binding = binding
        self.seen = 0
        self.count = 0
        self.quiet = 0
        self.mid = -1
        self.confirming = False


class Observers:
    """The observers of one server."""

    def __init__(self, endpoint, server):
        self._endpoint = endpoint
        self._server = server
        self._observers = []
        self._some = asyncio.Event()

    def __len__(self):
        return len(self._observers)

    def consider(self, request, source, token, response, binding):
        """Register or deregister as a GET's Observe option says, and number its response [3.1, 4.1]."""
        value = request.option(coap.OBSERVE)
        if value is None or request.code != coap.GET or request.option(coap.BLOCK2) is not None:
            return
        for known in self._observers:
            if known.source == source and known.token == token:
                self._observers.remove(known)
                break
        if any(value) or response.code != coap.CONTENT or len(self._observers) == MAX_OBSERVERS:
            return  # answered like any GET [4.1]
        observer = _Observer(request, source, token, binding)
        observer.seen = crc32(response.payload)
        self._observers.append(observer)
        self._some.set()
        self._number(observer, response)

    def forget(self, mid, source):
        """A Reset came for this message id: the observer wants no more [3.6]."""
        for known in self._observers:
            if known.mid == mid and known.source == source:
                self._observers.remove(known)
                return True
        return False

    def _number(self, observer, response):
        response.extra = coap.with_option(response.extra, coap.OBSERVE, coap.uint(observer.count))
        response.max_age = MAX_AGE_S
        observer.count = (observer.count + 1) & 0xFFFFFF

    async def run(self):
        """Notify for ever."""
        while True:
            if not self._observers:
                self._some.clear()
                await self._some.wait()
            await asyncio.sleep_ms(POLL_MS)
            for observer in list(self._observers):
                if not observer.confirming:
                    await self._look(observer)

    async def _look(self, observer):
        response = await self._server.handle(observer.request)
        fresh = crc32(response.payload)
        observer.quiet += 1
        if fresh == observer.seen and observer.quiet < _RENEW_POLLS:
            return
        observer.seen = fresh
        observer.quiet = 0
        if response.code != coap.CONTENT:
            # [4.2]: an error ends the observation; a reading that is missing for the moment does not change it.
            if response.code >> 5 == 4:
                self._drop(observer)
                self._send(observer, response, True)
            return
        self._number(observer, response)
        self._send(observer, response, observer.count % CONFIRM_EVERY == 0)

    def _send(self, observer, response, confirmable):
        observer.mid = self._endpoint.next_mid()
        kind = coap.CON if confirmable else coap.NON
        data = self._server.encode(kind, observer.mid, observer.token, response, observer.binding)
        if confirmable:
            observer.confirming = True
            asyncio.create_task(self._confirm(observer, data))  # noqa: RUF006 - MicroPython's loop holds its tasks
        else:
            self._endpoint.datagrams.send(data, observer.source)

    async def _confirm(self, observer, data):
        if not await self._endpoint.confirm(data, observer.mid, observer.source):
            self._drop(observer)
        observer.confirming = False

    def _drop(self, observer):
        if observer in self._observers:
            self._observers.remove(observer)
