"""What can go wrong in OSCORE, and the CoAP answer that each failure asks for.

`code` and `diagnostic` are what RFC 8613 section 8.2 lets a server answer, unprotected and with an outer Max-Age of 0;
`code` is 0 where no answer may be sent (client side, or a fault of our own).
"""

from micropython import const

_BAD_REQUEST = const(0x80)
_UNAUTHORIZED = const(0x81)
_BAD_OPTION = const(0x82)


class OscoreError(Exception):
    """Any failure of this package."""

    code = 0
    diagnostic = b""


class DecodeError(OscoreError):
    """The OSCORE option or the decrypted message is malformed (RFC 8613 8.2, step 2)."""

    code = _BAD_OPTION
    diagnostic = b"Failed to decode COSE"


class ContextNotFoundError(OscoreError):
    """No security context belongs to the message's kid and kid context (RFC 8613 8.2, step 2)."""

    code = _UNAUTHORIZED
    diagnostic = b"Security context not found"


class ReplayError(OscoreError):
    """The Partial IV was received before, or is too old to know (RFC 8613 7.4)."""

    code = _UNAUTHORIZED
    diagnostic = b"Replay detected"


class DecryptionError(OscoreError):
    """The tag does not match: wrong key, or changed on the way (RFC 8613 8.2, step 6)."""

    code = _BAD_REQUEST
    diagnostic = b"Decryption failed"


class EchoRequiredError(OscoreError):
    """An authentic request, but the replay window was lost in a restart (RFC 8613 B.1.2).

    Answer with `message.challenge(context, error.exchange)`, which is protected, instead of `code` and `diagnostic`.
    """

    def __init__(self, exchange: object) -> None:
        super().__init__("the replay window was lost in a restart: challenge the client with Echo")
        self.exchange = exchange


class ResponseRefusedError(OscoreError):
    """A response must be ignored (RFC 8613 8.4 step 8): replayed, stale, or not for this request."""


class NotProtectableError(OscoreError):
    """The plain message cannot be protected: nested OSCORE, Proxy-Uri, or too long."""


class SequenceError(OscoreError):
    """No sender sequence number can be had safely, so nothing may be sent with this context."""


class SequenceLostError(SequenceError):
    """The stored sequence number is gone or damaged beyond doubt: the node needs new keys."""
