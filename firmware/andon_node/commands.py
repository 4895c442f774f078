"""Relay commands: checked, executed once per id, answered the same way every time."""

import json

from micropython import const

from andon_node.coap import message as coap
from andon_node.coap.response import Response

JSON = 50
_MAX_ID = const(64)
_REMEMBERED = const(8)


class CommandError(Exception):
    """A command body that is not as docs/protocol.md has it."""


def parse(payload, lease_max_s):
    """Return (id, state, lease in seconds, expiry in epoch milliseconds) of a JSON body; id and expiry may be None.

    Raises:
        CommandError: Says what was expected.
    """
    try:
        body = json.loads(payload)
    except ValueError:
        raise CommandError("body: expected a JSON object")  # noqa: B904 - MicroPython keeps no cause
    if not isinstance(body, dict):
        raise CommandError("body: expected a JSON object")
    if type(body.get("state")) is not bool:
        raise CommandError("state: expected true or false")
    lease_s = body.get("lease_s")
    if type(lease_s) is not int or not 1 <= lease_s <= lease_max_s:
        raise CommandError("lease_s: expected whole seconds from 1 to %d" % lease_max_s)
    command_id = body.get("id")
    if command_id is not None and (not isinstance(command_id, str) or not 0 < len(command_id) <= _MAX_ID):
        raise CommandError("id: expected text of 1 to %d characters" % _MAX_ID)
    expires_ms = body.get("expires_ms")
    if expires_ms is not None and type(expires_ms) is not int:
        raise CommandError("expires_ms: expected whole milliseconds since 1970")
    return command_id, body["state"], lease_s, expires_ms


class CommandDesk:
    """Executes commands for the relays of a node."""

    def __init__(self, relays, clock, lease_max_s, leases):
        self.relays = relays
        self._leases = leases
        self._clock = clock
        self._lease_max_s = lease_max_s
        self._answers: list = [None] * _REMEMBERED
        self._oldest = 0

    def relay(self, channel):
        """Return the relay of a channel, or None."""
        for relay in self.relays:
            if relay.channel == channel:
                return relay
        return None

    def status(self, relay):
        """Answer with what a relay does."""
        body = {"state": relay.state(), "contact": relay.contact(), "lease_s": (relay.lease_left_ms() + 999) // 1000}
        return Response(coap.CONTENT, json.dumps(body), JSON)

    async def execute(self, relay, payload):
        """Carry a command out, or answer a repeated id like the first time."""
        try:
            command_id, state, lease_s, expires_ms = parse(payload, self._lease_max_s)
        except CommandError as error:
            return Response(coap.BAD_REQUEST, str(error))
        if command_id is not None:
            for remembered in self._answers:
                if remembered is not None and remembered[0] == command_id:
                    return Response(*remembered[1:])
        if expires_ms is not None:
            refusal = self._refuse_expired(expires_ms)
            if refusal is not None:
                return refusal
        why = relay.refusal(state)
        if why is not None:
            return Response(coap.CONFLICT, "relay %d: %s" % (relay.channel, why))
        self._leases.forget(relay)
        if await relay.switch(state, lease_s):
            response = self.status(relay)
            response.code = coap.CHANGED
        else:
            response = Response(coap.INTERNAL_SERVER_ERROR, "relay %d: the contact does not follow" % relay.channel)
        if command_id is not None:
            self._answers[self._oldest] = (command_id, response.code, response.payload, response.content_format)
            self._oldest = (self._oldest + 1) % _REMEMBERED
        return response

    def _refuse_expired(self, expires_ms):
        now = self._clock.epoch_ms(self._clock.monotonic_ms())
        if now is None:
            # An expired command is never executed, and without a clock there is no telling.
            return Response(coap.SERVICE_UNAVAILABLE, "expires_ms: the clock is not known yet", max_age=2)
        if now > expires_ms:
            return Response(coap.PRECONDITION_FAILED, "expires_ms: expired %d ms ago" % (now - expires_ms))
        return None
