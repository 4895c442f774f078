"""CoAP messages as bytes (RFC 7252 3), as far as the fast path needs them. Pure.

Only the usual shapes of `POST /t` are read here: anything else, wrong or only unusual, is not understood on purpose and left to aiocoap.
"""

from __future__ import annotations

from typing import Final

CON, NON = 0, 1
POST, CHANGED = 0x02, 0x44
FIRST_RESPONSE: Final = 0x20
HEADER_BYTES: Final = 4
MAX_TOKEN_BYTES: Final = 8
_MAX_AGE: Final = 14
_EXTENDED: Final = 13  # option nibbles from here on have more bytes
_MAX_AGE_NIBBLE: Final = _EXTENDED << 4
_MARKER: Final = 0xFF
_PATH_T: Final = b"\xb1t"
_PATH_T_CBOR: Final = b"\xb1t\x11\x70\xff"
"""Uri-Path t, Content-Format 112, payload marker: what a node sends."""
_OSCORE_NIBBLE: Final = 0x90  # option 9 as the first one, with a length below 13
_CONTENT_FORMAT_AFTER_PATH: Final = 0x10
_MOST_FORMAT_BYTES: Final = 2
_CBOR_FORMAT: Final = 112
_STARTS: Final = [[bytes((0x60 | length, code)) for length in range(MAX_TOKEN_BYTES + 1)] for code in range(256)]
"""First two bytes of an acknowledgement by code and token length."""


def telemetry(data: bytes, start: int) -> tuple[int | None, bytes] | None:
    """(content-format, payload) of a `POST /t` without any other option.

    Args:
        data: A datagram, or the plaintext of an OSCORE message.
        start: Where its options begin.

    Returns:
        None: another request, another shape or no message at all.
    """
    after = start + len(_PATH_T_CBOR)
    if data[start:after] == _PATH_T_CBOR:
        return (_CBOR_FORMAT, data[after:]) if len(data) > after else None
    if data[start : start + 2] != _PATH_T:
        return None
    at = start + len(_PATH_T)
    content_format = None
    if at < len(data) and data[at] & 0xF0 == _CONTENT_FORMAT_AFTER_PATH:
        length = data[at] & 15
        at += 1
        if length > _MOST_FORMAT_BYTES or at + length > len(data):
            return None
        content_format = int.from_bytes(data[at : at + length], "big")
        at += length
    if at == len(data):
        return content_format, b""
    if data[at] != _MARKER or at + 1 == len(data):
        return None
    return content_format, data[at + 1 :]


def protected(data: bytes, start: int) -> tuple[bytes, bytes] | None:
    """(OSCORE option, ciphertext) of a request that has no other option outside (RFC 8613 6.1); None: another shape."""
    if start >= len(data) or data[start] & 0xF0 != _OSCORE_NIBBLE:
        return None
    length = data[start] & 15
    end = start + 1 + length
    if length >= _EXTENDED or end + 1 >= len(data) or data[end] != _MARKER:
        return None
    return data[start + 1 : end], data[end + 1 :]


def tail(diagnostic: str, max_age_s: int | None) -> bytes:
    """Options and payload of an answer: Max-Age where there is one, and the diagnostic text (RFC 7252 5.5.2)."""
    head = b""
    if max_age_s is not None:
        value = max_age_s.to_bytes((max_age_s.bit_length() + 7) // 8, "big")
        head = bytes((_MAX_AGE_NIBBLE | len(value), _MAX_AGE - _EXTENDED)) + value
    return head + b"\xff" + diagnostic.encode() if diagnostic else head


def protected_tail(option: bytes, ciphertext: bytes) -> bytes:
    """Option and payload of a protected answer."""
    return bytes((_OSCORE_NIBBLE | len(option),)) + option + b"\xff" + ciphertext


def piggybacked(head: bytes, code: int, rest: bytes) -> bytes:
    """The acknowledgement of a confirmable request that carries the answer (RFC 7252 5.2.1).

    Args:
        head: Header and token of the request.
        code: Of the answer.
        rest: Its options and payload.
    """
    return _STARTS[code][head[0] & 15] + head[2:] + rest


def non_confirmable(head: bytes, message_id: int, code: int, rest: bytes) -> bytes:
    """The answer to a non-confirmable request (RFC 7252 5.2.3)."""
    return bytes((0x50 | head[0] & 15, code, message_id >> 8, message_id & 0xFF)) + head[HEADER_BYTES:] + rest


def acknowledgement(head: bytes) -> bytes:
    """An empty one: the answer comes later in a message of its own (RFC 7252 5.2.2)."""
    return b"\x60\x00" + head[2:HEADER_BYTES]
