"""CBOR writer (RFC 8949) into a buffer that is allocated once."""

import struct

from micropython import const

_UNSIGNED = const(0x00)
_NEGATIVE = const(0x20)
_TEXT = const(0x60)
_ARRAY = const(0x80)
_MAP = const(0xA0)
_TAG = const(0xC0)


class BufferFullError(Exception):
    """What was to be written does not fit into the buffer."""


class Writer:
    """Appends CBOR items to a preallocated buffer; `length` may be set back to undo the last ones."""

    def __init__(self, size):
        self.buffer = bytearray(size)
        self.length = 0

    def _room(self, size):
        at = self.length
        if at + size > len(self.buffer):
            raise BufferFullError
        self.length = at + size
        return at

    def _head(self, major, number):
        # RFC 8949 section 3: the shortest head that holds the number.
        if number < 24:
            self.buffer[self._room(1)] = major | number
        elif number < 0x100:
            at = self._room(2)
            self.buffer[at] = major | 24
            self.buffer[at + 1] = number
        elif number < 0x10000:
            at = self._room(3)
            self.buffer[at] = major | 25
            struct.pack_into(">H", self.buffer, at + 1, number)
        elif number < 0x100000000:
            at = self._room(5)
            self.buffer[at] = major | 26
            struct.pack_into(">I", self.buffer, at + 1, number)
        else:
            at = self._room(9)
            self.buffer[at] = major | 27
            struct.pack_into(">Q", self.buffer, at + 1, number)

    def integer(self, value):
        """Write an integer of at most 64 bits."""
        if value < 0:
            self._head(_NEGATIVE, -1 - value)
        else:
            self._head(_UNSIGNED, value)

    def wide_integer(self, value):
        """Write an integer in the 64-bit form always, so that it can be replaced in place later."""
        put_wide_integer(self.buffer, self._room(9), value)

    def text(self, value):
        """Write a text string."""
        data = value.encode()
        self._head(_TEXT, len(data))
        at = self._room(len(data))
        self.buffer[at : at + len(data)] = data

    def number(self, value):
        """Write a float as binary32, the float of the board."""
        at = self._room(5)
        self.buffer[at] = 0xFA
        struct.pack_into(">f", self.buffer, at + 1, value)

    def boolean(self, value):
        """Write true or false."""
        self.buffer[self._room(1)] = 0xF5 if value else 0xF4

    def array(self, length):
        """Open an array of `length` items."""
        self._head(_ARRAY, length)

    def map(self, length):
        """Open a map of `length` pairs."""
        self._head(_MAP, length)

    def tag(self, number):
        """Tag the next item."""
        self._head(_TAG, number)


def put_wide_integer(buffer, at, value):
    """Write an integer as nine bytes at a place in a buffer."""
    if value < 0:
        buffer[at] = _NEGATIVE | 27
        value = -1 - value
    else:
        buffer[at] = _UNSIGNED | 27
    struct.pack_into(">Q", buffer, at + 1, value)
