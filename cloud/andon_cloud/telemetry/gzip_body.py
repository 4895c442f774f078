"""Decompress a gzip body (RFC 1952) without trusting it: never more than the limit, never half a body."""

from __future__ import annotations

import zlib

from andon_cloud.telemetry.store import BodyTooLargeError

_GZIP_WINDOW = 16 + zlib.MAX_WBITS

# Each member costs a copy of what follows it; nobody joins more than a few.
_MEMBERS = 64


class MalformedGzipError(Exception):
    """The body is not gzip, is damaged or incomplete."""


def gunzip(body: bytes, limit: int) -> bytes:
    """Decompress all members of a gzip body.

    Args:
        body: The compressed bytes.
        limit: Most bytes that the result may have; memory stays below about twice that, whatever the body.

    Raises:
        MalformedGzipError: not gzip, damaged (CRC-32 or length wrong) or cut off.
        BodyTooLargeError: the result would be longer than `limit`.
    """
    parts: list[bytes] = []
    room = limit
    rest = body
    while rest or not parts:
        if len(parts) == _MEMBERS:
            raise MalformedGzipError(f"the gzip body has more than {_MEMBERS} members")
        member = zlib.decompressobj(_GZIP_WINDOW)
        try:
            part = member.decompress(rest, room + 1)
        except zlib.error as error:
            raise MalformedGzipError(f"the body is not valid gzip: {error}") from error
        room -= len(part)
        if room < 0:
            raise BodyTooLargeError(f"the decompressed body is larger than {limit} bytes; send fewer lines at once")
        if not member.eof:
            raise MalformedGzipError("the gzip body is cut off")
        parts.append(part)
        rest = member.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)
