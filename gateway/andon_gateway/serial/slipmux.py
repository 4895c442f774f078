"""CoAP over a serial line: slipmux (draft-bormann-t2trg-slipmux-03) on SLIP framing (RFC 1055). Pure.

A frame is END, an initial byte that says what follows, the content, END; END and ESC inside are escaped. A CoAP message
(initial byte 0xA9) ends with the FCS-16 of RFC 1662 appendix C.2 over the initial byte and the message, low byte first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

END: Final = 0xC0
ESC: Final = 0xDB
ESC_END: Final = 0xDC
ESC_ESC: Final = 0xDD

DIAGNOSTIC: Final = 0x0A
COAP: Final = 0xA9

MAX_CONTENT: Final = 1152
"""The longest CoAP message that is taken (RFC 7252 4.6)."""

_OVERHEAD: Final = 3  # initial byte and FCS
_FCS_INIT: Final = 0xFFFF
_FCS_GOOD: Final = 0xF0B8  # what the FCS comes to over a frame with its FCS


def _fcs_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ 0x8408 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_FCS_TABLE: Final = _fcs_table()


def fcs16(data: bytes | bytearray) -> int:
    """The FCS-16 of RFC 1662 over some bytes, not yet complemented."""
    fcs = _FCS_INIT
    for byte in data:
        fcs = fcs >> 8 ^ _FCS_TABLE[(fcs ^ byte) & 0xFF]
    return fcs


def encode(message: bytes) -> bytes:
    """The frame of a CoAP message."""
    body = bytes([COAP]) + message
    body += (fcs16(body) ^ 0xFFFF).to_bytes(2, "little")
    escaped = body.replace(bytes([ESC]), bytes([ESC, ESC_ESC])).replace(bytes([END]), bytes([ESC, ESC_END]))
    return bytes([END]) + escaped + bytes([END])


@dataclass(slots=True)
class Received:
    """What came out of some bytes: CoAP messages, and diagnostic texts for the log."""

    messages: list[bytes] = field(default_factory=list)
    diagnostics: list[str] = field(default_factory=list)


class Decoder:
    """Takes bytes as they come and gives frames; noise between frames, cut and broken frames cost only themselves.

    Attributes:
        broken: Frames dropped so far: wrong FCS, wrong escape, too long.
    """

    def __init__(self, max_content: int = MAX_CONTENT) -> None:
        self.broken = 0
        self._most = max_content + _OVERHEAD
        self._frame = bytearray()
        self._escaped = False
        self._damaged = False

    def feed(self, data: bytes) -> Received:
        """Take some bytes; never raises and keeps at most one frame."""
        received = Received()
        for byte in data:
            if byte == END:
                self._finish(received)
            elif self._escaped:
                self._escaped = False
                self._append({ESC_END: END, ESC_ESC: ESC}.get(byte))
            elif byte == ESC:
                self._escaped = True
            else:
                self._append(byte)
        return received

    def _append(self, byte: int | None) -> None:
        if byte is None or len(self._frame) == self._most:
            self._damaged = True
        else:
            self._frame.append(byte)

    def _finish(self, received: Received) -> None:
        frame = bytes(self._frame)
        damaged = self._damaged or self._escaped  # ESC before END is how a sender gives a frame up
        self._frame.clear()
        self._escaped = self._damaged = False
        if not frame:
            return
        if damaged or (frame[0] == COAP and (len(frame) < _OVERHEAD or fcs16(frame) != _FCS_GOOD)):
            self.broken += 1
        elif frame[0] == COAP:
            received.messages.append(frame[1:-2])
        elif frame[0] == DIAGNOSTIC:
            received.diagnostics.append(frame[1:].decode(errors="replace"))
