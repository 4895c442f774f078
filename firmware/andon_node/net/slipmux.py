"""CoAP over a serial line: slipmux (draft-bormann-t2trg-slipmux) on SLIP framing (RFC 1055).

A frame is END, an initial byte that says what follows, the content, END; END and ESC inside are escaped. A CoAP message
(initial byte 0xA9) ends with the FCS-16 of RFC 1662 appendix C.2 over the initial byte and the message, low byte first.
"""

import struct

from micropython import const

END = 0xC0
ESC = 0xDB
_ESC_END = const(0xDC)
_ESC_ESC = const(0xDD)

DIAGNOSTIC = 0x0A
COAP = 0xA9

_FCS_INIT = const(0xFFFF)
# What the FCS comes to over a frame with its FCS [RFC 1662 C.2].
_FCS_GOOD = const(0xF0B8)
# One entry per nibble instead of per byte: 16 numbers are in the code, 256 would be on the heap.
_FCS_NIBBLES = (
    0x0000, 0x1081, 0x2102, 0x3183, 0x4204, 0x5285, 0x6306, 0x7387,
    0x8408, 0x9489, 0xA50A, 0xB58B, 0xC60C, 0xD68D, 0xE70E, 0xF78F,
)  # fmt: skip


def fcs16(data, fcs=_FCS_INIT):
    """Carry the FCS-16 of RFC 1662 on over some bytes, not yet complemented."""
    table = _FCS_NIBBLES
    for byte in data:
        fcs = fcs >> 4 ^ table[(fcs ^ byte) & 15]
        fcs = fcs >> 4 ^ table[(fcs ^ byte >> 4) & 15]
    return fcs


def encode(kind, content):
    """Return the frame of a CoAP message or a diagnostic text."""
    body = bytearray(1)
    body[0] = kind
    body.extend(content)
    if kind == COAP:
        body.extend(struct.pack("<H", fcs16(body) ^ 0xFFFF))
    frame = bytearray(1)
    frame[0] = END
    for byte in body:
        if byte == END:
            frame.append(ESC)
            byte = _ESC_END  # noqa: PLW2901 - the escaped byte takes the place of the one it stands for
        elif byte == ESC:
            frame.append(ESC)
            byte = _ESC_ESC  # noqa: PLW2901 - same
        frame.append(byte)
    frame.append(END)
    return frame


class Decoder:
    """Takes bytes as they come and gives frames; noise between frames, cut and broken frames cost only themselves.

    Attributes:
        broken: Frames dropped so far: wrong FCS, wrong escape, too long.
    """

    def __init__(self, max_content):
        """Take CoAP messages of at most this many bytes."""
        # The initial byte and the FCS come on top.
        self._buffer = bytearray(max_content + 3)
        self._length = 0
        self._escaped = False
        self._damaged = False
        self.broken = 0

    def feed(self, byte):
        """Take one byte; return the CoAP message that it completes, or None."""
        if byte == END:
            return self._finish()
        if self._escaped:
            self._escaped = False
            if byte == _ESC_END:
                byte = END
            elif byte == _ESC_ESC:
                byte = ESC
            else:
                self._damaged = True
                return None
        elif byte == ESC:
            self._escaped = True
            return None
        if self._length == len(self._buffer):
            self._damaged = True
        else:
            self._buffer[self._length] = byte
            self._length += 1
        return None

    def _finish(self):
        # ESC before END is how a sender gives a frame up.
        damaged = self._damaged or self._escaped
        length = self._length
        self._length = 0
        self._escaped = self._damaged = False
        if length == 0 or (self._buffer[0] != COAP and not damaged):
            # Two ENDs in a row, or a kind of frame that is for somebody else.
            return None
        view = memoryview(self._buffer)[:length]
        if damaged or length < 3 or fcs16(view) != _FCS_GOOD:
            self.broken += 1
            return None
        return bytes(view[1 : length - 2])
