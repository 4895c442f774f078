"""The node's side of the gateway's resources: telemetry, registration, time."""

import asyncio

from micropython import const

import andon_node
from andon_node import senml
from andon_node.coap import message as coap
from andon_node.coap.response import CoapError

_LINK_FORMAT = const(40)
# Repeats of a telemetry request. RFC 7252 4.8.1 lets MAX_RETRANSMIT be chosen; few, so that a gateway that comes
# back is noticed within seconds: the exchange starts anew with the short timeout, and (node, boot, seq) makes it safe.
_TELEMETRY_RETRANSMIT = const(2)
_PAUSE_MS = const(1000)
_MAX_PAUSE_S = const(60)

LIFETIME_S = 60
_RENEW_MS = LIFETIME_S * 1000 // 3

# Answers that the same pack would get again (docs/protocol.md); anything else may pass.
_USELESS = (coap.BAD_REQUEST, coap.REQUEST_ENTITY_TOO_LARGE, coap.UNSUPPORTED_CONTENT_FORMAT)

_RESYNC_MS = const(3600000)
_LOCKED_OUT_MS = const(10000)


class GatewayLink:
    """Everything the node asks of its gateway.

    Attributes:
        accepted: Packs that the gateway took.
        rejected: Packs that the gateway refused for good.
        heard_ms: Monotonic time of the gateway's last answer or request.
        reached: Whether the gateway accepted a registration or a pack since the start.
    """

    def __init__(self, endpoint, link, clock):
        self._endpoint = endpoint
        self._link = link
        self._clock = clock
        self._address = None
        self._registration_due = asyncio.Event()
        self.accepted = 0
        self.rejected = 0
        self.heard_ms = 0
        self.reached = False

    def heard(self, source):
        """Something valid came from this address."""
        if source == self._address:
            self.heard_ms = self._clock.monotonic_ms()

    async def ask(self, code, options):
        """Ask the gateway; returns when there is a response."""
        return await self._request(code, options)

    async def _request(self, code, options, payload=b"", refresh=None, max_retransmit=_TELEMETRY_RETRANSMIT):
        """One exchange with the gateway, whatever it takes: waits for the link, repeats for ever."""
        while True:
            await self._link.wait_connected()
            try:
                if self._address is None:
                    self._address = self._link.gateway_address()
                response = await self._endpoint.request(self._address, code, options, payload, refresh, max_retransmit)
            except (CoapError, OSError) as error:
                print("gateway: %s:" % coap_path(options), error)
                # It may have moved or forgotten us.
                self._address = None
                self._registration_due.set()
                await asyncio.sleep_ms(_PAUSE_MS)
            else:
                self.heard_ms = self._clock.monotonic_ms()
                return response

    async def send(self, outbox, dating):
        """Send the packs of an outbox, oldest first, for ever; `dating` knows when earlier boots were."""
        # A pack sent before the first answer about the time would carry its age, which a repeat makes wrong.
        await self.sync_clock()
        options = [(coap.URI_PATH, b"t"), (coap.CONTENT_FORMAT, coap.uint(senml.CONTENT_FORMAT))]
        while True:
            pack = await outbox.oldest()

            def stamped(pack=pack):
                pack.stamp(dating)
                return pack.data

            response = await self._request(coap.POST, options, b"", stamped)
            if response.code == coap.CHANGED:
                self.accepted += 1
                self.reached = True
                outbox.settle(pack)
            elif response.code in (coap.UNAUTHORIZED, coap.FORBIDDEN):
                # The site's configuration or our keys: a person will mend it, and the pack is good.
                print("gateway: does not let us in:", coap.code_text(response.code), bytes(response.payload))
                await asyncio.sleep_ms(_LOCKED_OUT_MS)
            elif response.code in _USELESS:
                # Sending it again is useless (docs/protocol.md).
                self.rejected += 1
                print("gateway: refused pack %d:" % pack.seq, coap.code_text(response.code), bytes(response.payload))
                outbox.settle(pack)
            else:
                await asyncio.sleep_ms(1000 * _pause_s(response))

    async def register(self, node, links, hold_ms, revision):
        """Register, and again whenever a third of the lifetime or of the hold time is over or the gateway was silent.

        The gateway is told what runs here: version of the firmware, revision of the configuration.
        """
        renew_ms = min(_RENEW_MS, hold_ms // 3) if hold_ms else _RENEW_MS
        lifetime = (coap.URI_QUERY, b"lt=%d" % LIFETIME_S)
        location: list = []
        while True:
            if location:
                # [RFC 9176 5.3.1]: renewed where the registration is, without repeating it.
                options = [(coap.URI_PATH, part) for part in location]
                options.append(lifetime)
                response = await self._request(coap.POST, options)
                if response.code >> 5 != 2:
                    location = []
                    continue
            else:
                options = [
                    (coap.URI_PATH, b"rd"),
                    (coap.CONTENT_FORMAT, coap.uint(_LINK_FORMAT)),
                    (coap.URI_QUERY, b"ep=" + node.encode()),
                    lifetime,
                    (coap.URI_QUERY, b"ver=" + andon_node.VERSION.encode()),
                    (coap.URI_QUERY, b"cfg=%d" % revision),
                ]
                response = await self._request(coap.POST, options, links)
                location = response.values(coap.LOCATION_PATH)
            if response.code >> 5 == 2:
                self.reached = True
            else:
                print("gateway: registration refused:", coap.code_text(response.code), bytes(response.payload))
            self._registration_due.clear()
            try:
                await asyncio.wait_for_ms(self._registration_due.wait(), renew_ms)
            except asyncio.TimeoutError:
                pass

    async def sync_clock(self):
        """Ask for the time once; half the round trip is taken for the way back."""
        times = [0]

        def sent():
            times[0] = self._clock.monotonic_ms()
            return b""

        # Never the same message again: the gateway answers a repeat like the first time [RFC 7252 4.5], with a time
        # that is as much too early as the repeat was late. Without an answer it is asked anew.
        response = await self._request(coap.GET, [(coap.URI_PATH, b"time")], b"", sent, max_retransmit=0)
        received = self._clock.monotonic_ms()
        try:
            epoch_ms = int(bytes(response.payload))
        except ValueError:
            epoch_ms = 0
        if response.code != coap.CONTENT or epoch_ms <= 0:
            print("gateway: no time:", coap.code_text(response.code))
            return False
        self._clock.set_epoch(epoch_ms, received - (received - times[0]) // 2)
        return True

    async def keep_clock(self):
        """Sync again every hour, or soon where it failed."""
        while True:
            known = self._clock.known()
            await asyncio.sleep_ms(_RESYNC_MS if known else 10 * _PAUSE_MS)
            # What `send` has learnt meanwhile is not an hour old.
            if known or not self._clock.known():
                await self.sync_clock()


def coap_path(options):
    """The path among options, for people."""
    return "/" + "/".join(value.decode() for number, value in options if number == coap.URI_PATH)


def _pause_s(response):
    # Max-Age of a 5.03 says when to come back [RFC 7252 5.9.3.4].
    max_age = response.option(coap.MAX_AGE)
    if max_age is None:
        return 1
    return min(max(int.from_bytes(max_age, "big"), 1), _MAX_PAUSE_S)
