"""The OSCORE option's value (RFC 8613 6.1), and the plaintext: code, options and payload in one buffer (5.3).

Options are a list of (number, value) with ascending numbers, as everywhere in this package.
"""

from micropython import const

from .errors import DecodeError, NotProtectableError

_PIV_LENGTH = const(0x07)
_KID = const(0x08)
_KID_CONTEXT = const(0x10)
_RESERVED = const(0xE0)
_MAX_PIV_BYTES = const(5)
_PAYLOAD_MARKER = const(0xFF)
_MAX_NUMBER = const(0xFFFF)
# RFC 7252 3.1: a nibble up to 12 is the value itself, 13 has one byte more, 14 two bytes, 15 is reserved
_ONE_MORE = const(13)
_TWO_MORE = const(14)
_BASE_OF_TWO = const(269)


def encode(piv: bytes, kid: "bytes | None" = None, kid_context: "bytes | None" = None) -> bytes:
    """The option's value; an empty `piv` means none, as in most responses."""
    flags = len(piv)
    if kid is not None:
        flags |= _KID
    if kid_context is not None:
        flags |= _KID_CONTEXT
        piv = piv + bytes([len(kid_context)]) + kid_context
    return bytes([flags]) + piv + (kid or b"") if flags else b""


def decode(value: bytes) -> "tuple[bytes, bytes | None, bytes | None]":
    """Return (piv, kid, kid context) of an option's value; `piv` is empty if there is none.

    Raises:
        DecodeError: Reserved bits or lengths are used, or bytes are missing or left over.
    """
    if not value:
        return b"", None, None
    flags = value[0]
    length = flags & _PIV_LENGTH
    if flags & _RESERVED or not flags or length > _MAX_PIV_BYTES:
        raise DecodeError("the OSCORE option uses reserved flags")
    at = 1 + length
    kid = context = None
    if flags & _KID_CONTEXT and len(value) > at:
        size = value[at]
        context = value[at + 1 : at + 1 + size]
        at += 1 + size
    elif flags & _KID_CONTEXT:
        at = len(value) + 1
    if at > len(value):
        raise DecodeError("the OSCORE option is cut short")
    if flags & _KID:
        kid = value[at:]
    elif at < len(value):
        raise DecodeError("the OSCORE option has bytes left over")
    return value[1 : 1 + length], kid, context


def _extended(number: int) -> int:
    """How many bytes an option's delta or length needs beyond its nibble (RFC 7252 3.1)."""
    return 0 if number < _ONE_MORE else 1 if number < _BASE_OF_TWO else 2


def _put(out: bytearray, at: int, number: int) -> int:
    """Write an extended delta or length at `at`; return its nibble."""
    if number < _ONE_MORE:
        return number
    if number < _BASE_OF_TWO:
        out[at] = number - _ONE_MORE
        return _ONE_MORE
    number -= _BASE_OF_TWO
    out[at] = number >> 8
    out[at + 1] = number & 0xFF
    return _TWO_MORE


def pack(code: int, options: "list[tuple[int, bytes]]", payload: bytes, spare: int) -> bytearray:
    """The plaintext in a buffer of its size plus `spare` bytes for the tag: allocated once, encrypted in place.

    Raises:
        NotProtectableError: The options' numbers do not ascend.
    """
    size = 1 + (len(payload) + 1 if payload else 0)
    last = 0
    for number, value in options:
        if number < last:
            raise NotProtectableError("options must be in ascending order of their numbers")
        size += 1 + _extended(number - last) + _extended(len(value)) + len(value)
        last = number
    out = bytearray(size + spare)
    out[0] = code
    at = 1
    last = 0
    for number, value in options:
        delta = number - last
        last = number
        length = len(value)
        head = at
        at += 1
        nibble = _put(out, at, delta)
        at += _extended(delta)
        out[head] = nibble << 4 | _put(out, at, length)
        at += _extended(length)
        out[at : at + length] = value
        at += length
    if payload:
        out[at] = _PAYLOAD_MARKER
        out[at + 1 : size] = payload
    return out


def unpack(plain: bytearray, size: int) -> "tuple[int, list[tuple[int, bytes]], bytes]":
    """Return (code, options, payload) of a plaintext of `size` bytes.

    Raises:
        DecodeError: It is no CoAP message without header (RFC 7252 3.1).
    """
    if size < 1:
        raise DecodeError("the plaintext is empty")
    options: "list[tuple[int, bytes]]" = []
    view = memoryview(plain)  # slicing it copies nothing
    number = 0
    at = 1
    while at < size:
        head = plain[at]
        at += 1
        if head == _PAYLOAD_MARKER:
            if at == size:
                raise DecodeError("a payload marker without payload")
            return plain[0], options, bytes(view[at:size])
        delta, at = _take(plain, at, size, head >> 4)
        length, at = _take(plain, at, size, head & 0x0F)
        number += delta
        if at + length > size or number > _MAX_NUMBER:
            raise DecodeError("an option runs over the end of the plaintext")
        options.append((number, bytes(view[at : at + length])))
        at += length
    return plain[0], options, b""


def _take(plain: bytearray, at: int, size: int, nibble: int) -> "tuple[int, int]":
    """Return (value, position behind it) of a delta or length that starts with this nibble."""
    if nibble < _ONE_MORE:
        return nibble, at
    if nibble == _ONE_MORE and at < size:
        return plain[at] + _ONE_MORE, at + 1
    if nibble == _TWO_MORE and at + 1 < size:
        return (plain[at] << 8 | plain[at + 1]) + _BASE_OF_TWO, at + 2
    raise DecodeError("an option's header is malformed")
