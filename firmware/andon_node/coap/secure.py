"""OSCORE at the endpoint: what goes to the peer is protected, what comes from it must be (docs/security.md)."""

import time

from micropython import const

from andon_node.coap import message as coap
from andon_node.coap.response import CoapError
from andon_node.oscore import message as oscore
from andon_node.oscore.errors import EchoRequiredError, OscoreError
from andon_node.passing import forget

# Challenges that recordings may make us send.
_CHALLENGES = const(5)
_CHALLENGE_MS = const(1000)


def load():
    """Return what protects this node's messages, None for a node without keys, which speaks openly."""
    from andon_node.oscore import keys

    try:
        context = keys.load()
    except keys.KeysError as error:
        # Without its keys a node measures on and keeps what it measures; it never falls back to open speech.
        print("keys:", error)
        return Secure(None, str(error))
    finally:
        # What reads and derives keys has done its work.
        forget("andon_node.oscore.keys", "andon_node.oscore.derivation", "andon_node.oscore.hkdf")
    return None if context is None else Secure(context)


class Secure:
    """The security context with the gateway.

    Args:
        context: The context; None where there are keys that cannot be used: then nothing is sent and nobody believed.
        why: What is wrong with the keys.
    """

    def __init__(self, context, why=""):
        self._context = context
        self._why = why
        self._challenges = _CHALLENGES
        self._challenged = time.ticks_ms()

    def protect(self, code, options, payload):
        """Return (code, options, payload, binding) of a protected request.

        Raises:
            CoapError: It cannot be protected.
        """
        if self._context is None:
            raise CoapError("keys: " + self._why)
        if isinstance(payload, str):
            payload = payload.encode()
        try:
            return oscore.protect_request(self._context, code, options, payload)
        except OscoreError as error:
            raise CoapError("oscore: %s" % error)  # noqa: B904 - MicroPython keeps no cause

    def open_response(self, binding, response):
        """Put the plain response into its message; False where it is not one of the peer to this request."""
        try:
            code, options, payload = oscore.unprotect_response(
                self._context, binding, response.options, response.payload
            )
        except OscoreError:
            return False
        response.code, response.options, response.payload = code, options, payload
        return True

    def open_request(self, request):
        """Return (request, binding, refusal); a refusal is (code, payload, Max-Age, options)."""
        confirmable = request.kind == coap.CON
        context = self._context
        if context is None:
            return None, None, self._locked(confirmable)
        try:
            oscore.find_context([context], request.options)
            code, options, payload, binding = oscore.unprotect_request(context, request.options, request.payload)
        except EchoRequiredError as error:
            if not self._may_challenge():
                return None, None, None
            return request, error.exchange, (coap.UNAUTHORIZED, b"", None, [(coap.ECHO, context.echo)])
        except OscoreError as error:
            # [RFC 8613 8.2]: unprotected, and not to be cached.
            refusal = (error.code, error.diagnostic, 0, ()) if confirmable and error.code else None
            return None, None, refusal
        plain = coap.Message(request.kind, code, request.mid, request.token, options, payload)
        return plain, binding, None

    def refusal_of_unprotected(self, request):
        """The answer to a request without OSCORE; None where everybody may ask."""
        if self._context is None:
            return self._locked(True)
        if request.values(coap.URI_PATH) == [b".well-known", b"core"] and request.code == coap.GET:
            return None
        return coap.UNAUTHORIZED, b"protected requests only (OSCORE)", None, ()

    def protect_response(self, binding, code, options, payload):
        """Return (code, options, payload) of a protected response.

        Raises:
            CoapError: It cannot be protected.
        """
        if isinstance(payload, str):
            payload = payload.encode()
        try:
            return oscore.protect_response(self._context, binding, code, options, payload)
        except OscoreError as error:
            raise CoapError("oscore: %s" % error)  # noqa: B904 - MicroPython keeps no cause

    def _locked(self, confirmable):
        return (coap.SERVICE_UNAVAILABLE, b"this node has no usable keys", None, ()) if confirmable else None

    def _may_challenge(self):
        now = time.ticks_ms()
        earned = time.ticks_diff(now, self._challenged) // _CHALLENGE_MS
        if earned:
            self._challenged = now
            self._challenges = min(_CHALLENGES, self._challenges + earned)
        if not self._challenges:
            return False
        self._challenges -= 1
        return True
