"""Protect and unprotect CoAP messages with OSCORE (RFC 8613 4 and 8). Plain code, options and payload in, protected ones out.

Options are a list of (number, value) with ascending numbers. Message type, message id and token are not touched:
they stay those of the plain message. Block options are inner: a message is split before it is protected (4.1.3.4.1).
"""

from micropython import const

from . import option
from .aes_ccm import TAG_BYTES
from .context import SecurityContext, encode_piv
from .errors import (
    ContextNotFoundError,
    DecodeError,
    DecryptionError,
    EchoRequiredError,
    NotProtectableError,
    ReplayError,
    ResponseRefusedError,
)

OSCORE = const(9)
ECHO = const(252)  # RFC 9175 2.2.1

_URI_HOST = const(3)
_OBSERVE = const(6)
_URI_PORT = const(7)
_PROXY_URI = const(35)
_PROXY_SCHEME = const(39)
_OUTER = (_URI_HOST, _URI_PORT, _PROXY_SCHEME)  # Class U only (RFC 8613 figure 5); Observe is both, the rest inner

_POST = const(0x02)
_FETCH = const(0x05)
_CHANGED = const(0x44)
_CONTENT = const(0x45)
_UNAUTHORIZED = const(0x81)
_FIRST_NON_REQUEST = const(0x20)  # codes 0.01 to 0.31 are requests (RFC 7252 12.1)
_FIRST_RESPONSE = const(0x40)


class Exchange:
    """What binds responses to their request (RFC 8613 7.1). Keep it as long as responses may come or go.

    Args:
        kid: Sender id of the request.
        piv: Partial IV of the request.
        nonce_free: Whether one response may still use the request's nonce.
        observe: Whether the request registers an observation.
    """

    def __init__(self, kid: bytes, piv: bytes, *, nonce_free: bool, observe: bool) -> None:
        self.kid = kid
        self.piv = piv
        self.nonce_free = nonce_free
        self.observe = observe
        self.notification = -1  # Partial IV of the newest notification (RFC 8613 7.4.1)
        self.answered = False


def find(options: "list[tuple[int, bytes]]", number: int) -> "bytes | None":
    """Return the value of the first option with this number, or None."""
    for candidate, value in options:
        if candidate == number:
            return value
    return None


def find_context(contexts: "list[SecurityContext]", options: "list[tuple[int, bytes]]") -> SecurityContext:
    """Return the security context that a request's OSCORE option names (RFC 8613 8.2, step 2).

    Raises:
        DecodeError: The option is malformed, or names no sender.
        ContextNotFoundError: None of the contexts has this kid (and kid context, if the request names one).
    """
    _, kid, kid_context = option.decode(_option_value(options))
    if kid is None:
        raise DecodeError("a request must name its sender")
    for context in contexts:
        if context.recipient_id == kid and kid_context in (None, context.id_context):
            return context
    raise ContextNotFoundError("no security context for this sender")


def protect_request(
    context: SecurityContext, code: int, options: "list[tuple[int, bytes]]", payload: bytes
) -> "tuple[int, list[tuple[int, bytes]], bytearray, Exchange]":
    """Return (code, options, payload) of the OSCORE request, and the exchange for its responses.

    Repeating the same bytes is a retransmission; a request that is sent anew must be protected anew.

    Raises:
        NotProtectableError: The message has an OSCORE or Proxy-Uri option, or is too long.
        SequenceError: No sequence number can be had; nothing may be sent.
    """
    observe = find(options, _OBSERVE)
    inner = []
    outer = []
    for entry in options:
        if entry[0] in (OSCORE, _PROXY_URI):
            raise NotProtectableError("a message with an OSCORE or Proxy-Uri option cannot be protected")
        if entry[0] in _OUTER:
            outer.append(entry)
        else:
            inner.append(entry)
            if entry[0] == _OBSERVE:
                outer.append(entry)
    text = option.pack(code, inner, payload, TAG_BYTES)
    piv = encode_piv(context.sequence.take())
    kid = context.sender_id
    _seal(context, kid, piv, kid, piv, text)
    _insert(outer, (OSCORE, option.encode(piv, kid, context.id_context)))
    outer_code = _POST if observe is None else _FETCH
    return outer_code, outer, text, Exchange(kid, piv, nonce_free=True, observe=_registers(options))


def unprotect_request(
    context: SecurityContext, options: "list[tuple[int, bytes]]", payload: bytes
) -> "tuple[int, list[tuple[int, bytes]], bytes, Exchange]":
    """Return (code, options, payload) of the plain request, and the exchange for protecting its responses.

    Args:
        context: As `find_context` found it.
        options: Of the OSCORE request; its outer code does not matter (RFC 8613 4.2).
        payload: Of the OSCORE request.

    Raises:
        DecodeError: Malformed before or after decryption.
        ReplayError: Received before.
        DecryptionError: Forged or damaged.
        EchoRequiredError: Authentic, but it may be older than our restart: answer with `challenge`.
    """
    piv, kid, kid_context = option.decode(_option_value(options))
    if not piv or kid is None:
        raise DecodeError("a request needs a Partial IV and a kid")
    if kid != context.recipient_id or kid_context not in (None, context.id_context):
        raise ContextNotFoundError("the request names another security context")
    number = int.from_bytes(piv, "big")
    window = context.window
    if window.usable and not window.is_new(number):
        raise ReplayError("this request was received before")
    code, inner, plain = _open(context, kid, piv, kid, piv, payload)
    if window.usable:
        window.accept(number)
    elif find(inner, ECHO) == context.echo:
        window.restart(number)
    else:
        raise EchoRequiredError(Exchange(kid, piv, nonce_free=False, observe=False))
    if not 0 < code < _FIRST_NON_REQUEST:
        raise DecodeError("not a request inside")
    exchange = Exchange(kid, piv, nonce_free=True, observe=_registers(inner))
    for entry in options:
        if entry[0] in _OUTER or entry[0] == _PROXY_URI:
            _insert(inner, entry)
    return code, inner, plain, exchange


def protect_response(
    context: SecurityContext, exchange: Exchange, code: int, options: "list[tuple[int, bytes]]", payload: bytes
) -> "tuple[int, list[tuple[int, bytes]], bytearray]":
    """Return (code, options, payload) of the OSCORE response.

    The first response uses the request's nonce, each further one (a notification, or a new answer to a repeated
    request) its own sequence number.

    Raises:
        NotProtectableError: The message has an OSCORE option, or is too long.
        SequenceError: No sequence number can be had; nothing may be sent.
    """
    outer = []
    inner = []
    outer_code = _CHANGED
    for entry in options:
        if entry[0] == OSCORE:
            raise NotProtectableError("a message with an OSCORE option cannot be protected")
        if entry[0] == _OBSERVE:
            outer_code = _CONTENT
            outer.append(entry)
            entry = (_OBSERVE, b"")  # noqa: PLW2901 - inner Observe is empty in notifications (4.1.3.5.2)
        inner.append(entry)
    text = option.pack(code, inner, payload, TAG_BYTES)
    if exchange.nonce_free:
        exchange.nonce_free = False
        own_piv = b""
        _seal(context, exchange.kid, exchange.piv, exchange.kid, exchange.piv, text)
    else:
        own_piv = encode_piv(context.sequence.take())
        _seal(context, context.sender_id, own_piv, exchange.kid, exchange.piv, text)
    _insert(outer, (OSCORE, option.encode(own_piv)))
    return outer_code, outer, text


def challenge(context: SecurityContext, exchange: Exchange) -> "tuple[int, list[tuple[int, bytes]], bytearray]":
    """Return the protected 4.01 with Echo that `EchoRequiredError` asks for (RFC 8613 B.1.2)."""
    return protect_response(context, exchange, _UNAUTHORIZED, [(ECHO, context.echo)], b"")


def unprotect_response(
    context: SecurityContext, exchange: Exchange, options: "list[tuple[int, bytes]]", payload: bytes
) -> "tuple[int, list[tuple[int, bytes]], bytes]":
    """Return (code, options, payload) of the plain response to this exchange's request.

    A 4.01 whose options hold `ECHO` asks to send the request again, protected anew, with that option (RFC 9175 2.3).
    In a notification the Observe value is the Partial IV's lower 24 bits, which orders it (RFC 8613 4.1.3.5.2).

    Raises:
        OscoreError: Ignore the response (RFC 8613 8.4, step 8); the exchange stays as it was.
    """
    piv, kid, kid_context = option.decode(_option_value(options))
    if kid not in (None, context.recipient_id) or kid_context not in (None, context.id_context):
        raise ResponseRefusedError("the response names another security context")
    if exchange.answered and not (exchange.observe and piv):
        raise ResponseRefusedError("the request has its answer already")
    number = int.from_bytes(piv, "big") if piv else -1
    if exchange.answered and number <= exchange.notification:
        raise ResponseRefusedError("an older notification than the last one")
    piv_id = context.recipient_id if piv else exchange.kid
    code, inner, plain = _open(context, piv_id, piv or exchange.piv, exchange.kid, exchange.piv, payload)
    observe = find(inner, _OBSERVE)
    if code < _FIRST_RESPONSE or (observe is not None and not exchange.observe):
        raise ResponseRefusedError("not a response to this request inside")
    exchange.answered = True
    exchange.notification = number
    if observe is not None:
        value = (number & 0xFFFFFF).to_bytes(3, "big") if number >= 0 else b""
        inner = [(n, value if n == _OBSERVE else v) for n, v in inner]
    return code, inner, plain


def _registers(options: "list[tuple[int, bytes]]") -> bool:
    """True for Observe 0, a registration (RFC 7641 2)."""
    value = find(options, _OBSERVE)
    return value is not None and not any(value)


def _option_value(options: "list[tuple[int, bytes]]") -> bytes:
    value = find(options, OSCORE)
    if value is None:
        raise DecodeError("the message is not protected with OSCORE")
    return value


def _insert(options: "list[tuple[int, bytes]]", entry: "tuple[int, bytes]") -> None:
    """Put an option behind those with the same or a lower number."""
    at = len(options)
    while at and options[at - 1][0] > entry[0]:
        at -= 1
    options.insert(at, entry)


def _seal(
    context: SecurityContext, piv_id: bytes, piv: bytes, request_kid: bytes, request_piv: bytes, text: bytearray
) -> None:
    """Encrypt a buffer from `option.pack` in place."""
    length = context.fill_aad(request_kid, request_piv)
    context.sender.seal(context.nonce(piv_id, piv), context.aad, length, text, len(text) - TAG_BYTES)


def _open(
    context: SecurityContext, piv_id: bytes, piv: bytes, request_kid: bytes, request_piv: bytes, payload: bytes
) -> "tuple[int, list[tuple[int, bytes]], bytes]":
    """Verify and decrypt a payload, in a copy of its own."""
    if len(payload) <= TAG_BYTES:
        raise DecryptionError("the ciphertext is too short")
    text = bytearray(payload)
    length = context.fill_aad(request_kid, request_piv)
    size = context.recipient.open(context.nonce(piv_id, piv), context.aad, length, text, len(text))
    code, options, plain = option.unpack(text, size)
    if find(options, OSCORE) is not None:
        raise DecodeError("OSCORE inside OSCORE is not supported")
    return code, options, plain
