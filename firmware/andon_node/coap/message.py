"""CoAP message codec (RFC 7252 section 3)."""

import struct

from micropython import const

# Types [3].
CON = 0
NON = 1
ACK = 2
RST = 3

# Codes [12.1], class << 5 | detail.
EMPTY = 0x00
GET = 0x01
POST = 0x02
PUT = 0x03
DELETE = 0x04
CREATED = 0x41
CHANGED = 0x44
CONTENT = 0x45
CONTINUE = 0x5F
BAD_REQUEST = 0x80
UNAUTHORIZED = 0x81
BAD_OPTION = 0x82
FORBIDDEN = 0x83
NOT_FOUND = 0x84
METHOD_NOT_ALLOWED = 0x85
NOT_ACCEPTABLE = 0x86
REQUEST_ENTITY_INCOMPLETE = 0x88
CONFLICT = 0x89  # RFC 8132
PRECONDITION_FAILED = 0x8C
REQUEST_ENTITY_TOO_LARGE = 0x8D
UNSUPPORTED_CONTENT_FORMAT = 0x8F
INTERNAL_SERVER_ERROR = 0xA0
SERVICE_UNAVAILABLE = 0xA3

# Options [12.2]; Observe RFC 7641, OSCORE RFC 8613, Block2, Block1, Size2 RFC 7959, Echo RFC 9175.
URI_HOST = 3
ETAG = 4
OBSERVE = 6
URI_PORT = 7
LOCATION_PATH = 8
OSCORE = 9
URI_PATH = 11
CONTENT_FORMAT = 12
MAX_AGE = 14
URI_QUERY = 15
ACCEPT = 17
BLOCK2 = 23
BLOCK1 = 27
SIZE2 = 28
ECHO = 252

_PAYLOAD_MARKER = const(0xFF)
# The critical options that a node understands, a bit each: Uri-Host, Uri-Port, OSCORE, Uri-Path, Uri-Query, Accept, Block2, Block1.
_UNDERSTOOD = const(1 << 3 | 1 << 7 | 1 << 9 | 1 << 11 | 1 << 15 | 1 << 17 | 1 << 23 | 1 << 27)


class MessageError(Exception):
    """A datagram that is no CoAP message.

    Attributes:
        reset_mid: Message id to reject with a Reset, or None where the datagram is to be ignored in silence.
    """

    def __init__(self, reason, reset_mid=None):
        super().__init__(reason)
        self.reset_mid = reset_mid


class Message:
    """One CoAP message; `options` is a list of (number, bytes) in ascending order of numbers."""

    def __init__(self, kind, code, mid, token=b"", options=(), payload=b""):
        self.kind = kind
        self.code = code
        self.mid = mid
        self.token = token
        self.options = options
        self.payload = payload

    def option(self, number):
        """Return the first value of an option, or None."""
        for found, value in self.options:
            if found == number:
                return value
        return None

    def values(self, number):
        """Return all values of a repeatable option."""
        return [value for found, value in self.options if found == number]

    def is_request(self):
        """Whether the code is of class 0, not empty."""
        return 0 < self.code < 32

    def is_response(self):
        """Whether the code is of class 2, 4 or 5."""
        return self.code >> 5 in (2, 4, 5)


def is_unknown_critical(number):
    """Whether a message with this option is to be refused: it must be understood [5.4.1: odd numbers] and is not."""
    return number & 1 == 1 and _UNDERSTOOD >> number & 1 == 0


def uint(value):
    """Encode an option value of format uint: no leading zeros, zero is empty [3.2]."""
    size = 0
    while value >> (8 * size):
        size += 1
    return value.to_bytes(size, "big")


def with_option(options, number, value):
    """Return the options with one more, behind those with the same or a lower number."""
    options = list(options)
    at = len(options)
    while at and options[at - 1][0] > number:
        at -= 1
    options.insert(at, (number, value))
    return options


def code_text(code):
    """Return a code as people write it, such as 4.04."""
    return "%d.%02d" % (code >> 5, code & 31)


def _extended(data, at, nibble, end):
    # [3.1]: 13 and 14 announce one and two more bytes, 15 is reserved for the payload marker.
    if nibble < 13:
        return nibble, at
    if nibble == 13 and at < end:
        return data[at] + 13, at + 1
    if nibble == 14 and at + 1 < end:
        return (data[at] << 8 | data[at + 1]) + 269, at + 2
    raise ValueError("option header cut off or reserved")


def _decode_options(data, at, end):
    options = []
    number = 0
    while at < end and data[at] != _PAYLOAD_MARKER:
        first = data[at]
        delta, at = _extended(data, at + 1, first >> 4, end)
        length, at = _extended(data, at, first & 15, end)
        if at + length > end:
            raise ValueError("option value cut off")
        number += delta
        if number > 0xFFFF:
            raise ValueError("option number above 65535")
        options.append((number, data[at : at + length]))
        at += length
    return options, at


def decode(data):
    """Decode a datagram.

    Raises:
        MessageError: It is no CoAP message of version 1.
    """
    end = len(data)
    if end < 4:
        raise MessageError("shorter than a header")
    first = data[0]
    if first >> 6 != 1:
        raise MessageError("not version 1")  # [3]: must be silently ignored
    kind = first >> 4 & 3
    length = first & 15
    code = data[1]
    mid = data[2] << 8 | data[3]
    # [4.2]: a format error in a Confirmable message is rejected with a Reset, in any other ignored.
    reset_mid = mid if kind == CON else None
    if length > 8 or 4 + length > end:
        raise MessageError("token length above 8 or token cut off", reset_mid)
    if code == EMPTY and end != 4:
        raise MessageError("empty message with content", reset_mid)
    try:
        options, at = _decode_options(data, 4 + length, end)
    except ValueError as error:
        raise MessageError(str(error), reset_mid)  # noqa: B904 - MicroPython keeps no cause
    if at == end - 1:
        raise MessageError("payload marker without payload", reset_mid)
    return Message(kind, code, mid, data[4 : 4 + length], options, data[at + 1 :])


def _extend(head, number, shift):
    if number < 13:
        head[0] |= number << shift
    elif number < 269:
        head[0] |= 13 << shift
        head.append(number - 13)
    else:
        head[0] |= 14 << shift
        head.extend(struct.pack(">H", number - 269))


def encode(message):
    """Encode a message.

    Raises:
        ValueError: The options are not in ascending order (MicroPython's sort would not keep a path's order).
    """
    data = bytearray(4)
    data[0] = 0x40 | message.kind << 4 | len(message.token)
    data[1] = message.code
    struct.pack_into(">H", data, 2, message.mid)
    data.extend(message.token)
    previous = 0
    for number, value in message.options:
        if number < previous:
            raise ValueError("options must be in ascending order")
        head = bytearray(1)
        _extend(head, number - previous, 4)
        _extend(head, len(value), 0)
        data.extend(head)
        data.extend(value)
        previous = number
    if message.payload:
        data.append(_PAYLOAD_MARKER)
        data.extend(message.payload)
    return data
