"""CoAP messages (RFC 7252 section 3) as the lean node writes and reads them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

CON: Final = 0
ACK: Final = 2
RST: Final = 3
EMPTY: Final = 0x00
POST: Final = 0x02
CHANGED: Final = 0x44
BAD_REQUEST: Final = 0x80
UNAUTHORIZED: Final = 0x81
FORBIDDEN: Final = 0x83
REQUEST_ENTITY_TOO_LARGE: Final = 0x8D
UNSUPPORTED_CONTENT_FORMAT: Final = 0x8F

OSCORE: Final = 9
URI_PATH: Final = 11
CONTENT_FORMAT: Final = 12
MAX_AGE: Final = 14
ECHO: Final = 252

_MARKER: Final = 0xFF
_HEADER_BYTES: Final = 4
# RFC 7252 3.1: an option nibble of 13 has one byte more, 14 two, 15 is reserved.
_ONE_MORE, _TWO_MORE, _BASE_OF_TWO = 13, 14, 269

Options = list[tuple[int, bytes]]
"""(number, value) in ascending order."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `kind` is CON, NON (1), ACK or RST."""

    kind: int
    code: int
    mid: int
    token: bytes = b""
    options: tuple[tuple[int, bytes], ...] = ()
    payload: bytes = b""

    @property
    def is_response(self) -> bool:
        """Whether the code's class is 2 to 5."""
        return 2 <= self.code >> 5 <= 5  # noqa: PLR2004  RFC 7252 12.1

    def option(self, number: int) -> bytes | None:
        """The first option with the number."""
        return next((value for found, value in self.options if found == number), None)

    def encode(self) -> bytes:
        """The datagram."""
        head = bytes([0x40 | self.kind << 4 | len(self.token), self.code]) + self.mid.to_bytes(2, "big")
        return head + self.token + encode_body(self.options, self.payload)


def encode_body(options: Sequence[tuple[int, bytes]], payload: bytes) -> bytes:
    """Options, and the payload behind its marker."""
    parts, before = [], 0
    for number, value in options:
        delta, delta_more = _nibble(number - before)
        length, length_more = _nibble(len(value))
        parts.append(bytes([delta << 4 | length]) + delta_more + length_more + value)
        before = number
    return b"".join(parts) + (bytes([_MARKER]) + payload if payload else b"")


def decode_body(data: bytes) -> tuple[tuple[tuple[int, bytes], ...], bytes]:
    """The inverse of `encode_body`.

    Raises:
        ValueError: it is none.
    """
    options: Options = []
    number = at = 0
    while at < len(data):
        head = data[at]
        at += 1
        if head == _MARKER:
            return tuple(options), data[at:]
        delta, at = _extended(data, at, head >> 4)
        length, at = _extended(data, at, head & 0xF)
        number += delta
        if at + length > len(data):
            raise ValueError("an option is cut off")
        options.append((number, data[at : at + length]))
        at += length
    return tuple(options), b""


def decode(datagram: bytes) -> Message:
    """Read a datagram.

    Raises:
        ValueError: it is no CoAP message.
    """
    length = datagram[0] & 0xF if datagram else 0
    start = _HEADER_BYTES + length
    if len(datagram) < start or datagram[0] >> 6 != 1:
        raise ValueError("no CoAP message")
    options, payload = decode_body(datagram[start:])
    mid = int.from_bytes(datagram[2:4], "big")
    return Message(datagram[0] >> 4 & 3, datagram[1], mid, datagram[_HEADER_BYTES:start], options, payload)


def _nibble(value: int) -> tuple[int, bytes]:
    if value < _ONE_MORE:
        return value, b""
    if value < _BASE_OF_TWO:
        return _ONE_MORE, bytes([value - _ONE_MORE])
    return _TWO_MORE, (value - _BASE_OF_TWO).to_bytes(2, "big")


def _extended(data: bytes, at: int, nibble: int) -> tuple[int, int]:
    if nibble < _ONE_MORE:
        return nibble, at
    size = {_ONE_MORE: 1, _TWO_MORE: 2}.get(nibble, 0)
    if not size or at + size > len(data):
        raise ValueError("an option's head is malformed")
    base = _ONE_MORE if size == 1 else _BASE_OF_TWO
    return int.from_bytes(data[at : at + size], "big") + base, at + size
