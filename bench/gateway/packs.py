"""The traffic: packs of eight readings as a node writes them, in CoAP or MQTT frames that are built before they are needed.

A pack is put together from pieces, not by a CBOR library, so that the generator can build many; tests/bench checks it against cbor2.
"""

from __future__ import annotations

import struct
from typing import Final

READINGS: Final = 8
TOKEN: Final = slice(4, 8)
"""Where a frame has its token: every CoAP message here has four bytes of it, as the firmware's."""
PATH_T_112: Final = b"\xb1t\x11\x70"
"""Uri-Path `t`, Content-Format 112."""
_CON_TOKEN4: Final = 0x44
_POST: Final = 0x02
_MARKER: Final = b"\xff"
_RECORDS: Final = READINGS + 2
_TEMPERATURES: Final = 6
_VARIANTS: Final = 64
_DECIMAL_MS: Final = b"\xc4\x82\x22"  # tag 4, array of exponent -3 and a mantissa
_ONE_BYTE, _TWO_BYTES, _FOUR_BYTES = 24, 1 << 8, 1 << 16
_SPACING_MS: Final = 20


def _uint(value: int) -> bytes:
    """CBOR unsigned integer in its shortest form (RFC 8949 4.2.1)."""
    if value < _ONE_BYTE:
        return bytes([value])
    if value < _TWO_BYTES:
        return b"\x18" + bytes([value])
    return b"\x19" + value.to_bytes(2, "big") if value < _FOUR_BYTES else b"\x1a" + value.to_bytes(4, "big")


def _text(text: str) -> bytes:
    data = text.encode()
    head = bytes([0x60 | len(data)]) if len(data) < _ONE_BYTE else b"\x78" + bytes([len(data)])
    return head + data


def _record(name: str, unit: str, offset_ms: int) -> tuple[bytes, bytes]:
    """What stands before and after the value; the time is left out where it is zero, as the firmware does."""
    pairs = b"\xa4" if offset_ms else b"\xa3"
    after = b"\x06" + _DECIMAL_MS + _uint(offset_ms) if offset_ms else b""
    return pairs + b"\x00" + _text(name) + b"\x01" + _text(unit) + b"\x02", after


def _temperatures(variant: int) -> bytes:
    parts = []
    for channel in range(_TEMPERATURES):
        before, after = _record(f"temperature/{channel}", "Cel", channel * _SPACING_MS)
        parts.append(before + struct.pack("!Bf", 0xFA, 40 + channel + variant / 16) + after)
    return b"".join(parts)


_BODIES: Final = [_temperatures(variant) for variant in range(_VARIANTS)]
_CYCLES: Final = [_record(f"cycles/{channel}", "count", _SPACING_MS * (channel + 1)) for channel in range(2)]


class PackSource:
    """The packs of one node: boot 1, seq from 0, one every `every_ms` of its own time.

    Args:
        node: Node id.
        start_ms: Time of the first pack, ms since the epoch.
        every_ms: Between two packs; no two of one node have the same time.
    """

    def __init__(self, node: str, start_ms: int, every_ms: int = 1) -> None:
        self.node = node
        self.seq = 0
        self._start_ms = start_ms
        self._every_ms = every_ms
        self._before_time = bytes([0x98, _RECORDS, 0xA4, 0x21]) + _text(f"{node}/") + b"\x22" + _DECIMAL_MS + b"\x1b"
        self._after_time = b"\x00" + _text("boot") + b"\x02" + _uint(1) + b"\xa2\x00" + _text("seq") + b"\x02"

    @property
    def next_ms(self) -> int:
        """Base time of the next pack."""
        return self._start_ms + self.seq * self._every_ms

    def next(self) -> bytes:
        """The next pack."""
        seq, time = self.seq, self.next_ms.to_bytes(8, "big")
        self.seq += 1
        number = _uint(seq)
        (first, first_end), (second, second_end) = _CYCLES
        return b"".join((
            self._before_time, time, self._after_time, number, _BODIES[seq % _VARIANTS],
            first, number, first_end, second, number, second_end,
        ))  # fmt: skip


def coap_request(number: int, options: bytes, payload: bytes = b"") -> bytes:
    """A confirmable POST; `number` makes its message id and its token."""
    head = struct.pack("!BBHI", _CON_TOKEN4, _POST, number & 0xFFFF, number & 0xFFFFFFFF)
    return head + options + (_MARKER + payload if payload else b"")


def pack_request(number: int, payload: bytes) -> bytes:
    """`POST /t` with a pack."""
    return coap_request(number, PATH_T_112, payload)


def registration(number: int, node: str) -> bytes:
    """`POST /rd?ep=NODE&lt=86400` (RFC 9176 5.1)."""
    options = b"\xb2rd"
    delta = 0x40  # from Uri-Path (11) to Uri-Query (15)
    for query in (f"ep={node}", "lt=86400"):
        data = query.encode()
        options += bytes([delta | len(data)]) if len(data) < 13 else bytes([delta | 13, len(data) - 13])  # noqa: PLR2004  # RFC 7252 3.1
        options += data
        delta = 0
    return coap_request(number, options)


def mqtt_connect(client: str) -> bytes:
    """MQTT 3.1.1 CONNECT with a clean session and no keep-alive."""
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack("!H", len(client)) + client.encode()
    return b"\x10" + _remaining(len(body)) + body


def mqtt_publish(number: int, topic: str, payload: bytes) -> bytes:
    """PUBLISH at QoS 1; packet ids are 1 to 65,535."""
    name = topic.encode()
    body = struct.pack("!H", len(name)) + name + struct.pack("!H", number % 0xFFFF + 1) + payload
    return b"\x32" + _remaining(len(body)) + body


def _remaining(length: int) -> bytes:
    """MQTT 3.1.1 2.2.3."""
    encoded = bytearray()
    while True:
        length, digit = divmod(length, 128)
        encoded.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(encoded)
