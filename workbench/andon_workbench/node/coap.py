"""One CoAP request over UDP (RFC 7252), as the doctor needs it: GET of a one-segment path, nothing else."""

from __future__ import annotations

import secrets
import socket
import time
from typing import Final

CONTENT: Final = 0x45
UNAUTHORIZED: Final = 0x81

_GET: Final = 1
_VERSION_AND_CON: Final = 0x40
_TYPE_MASK: Final = 0x30
_CON: Final = 0x00
_ACK: Final = 0x60
_URI_PATH: Final = 11
_PAYLOAD: Final = 0xFF
_TOKEN_BYTES: Final = 4
_HEADER_BYTES: Final = 4
_REPEAT_S: Final = 2.0
_MAX_SEGMENT: Final = 12


def request(path: str, message_id: int, token: bytes) -> bytes:
    """A confirmable GET; `path` is one segment of up to 12 characters."""
    segment = path.encode()
    if not 0 < len(segment) <= _MAX_SEGMENT:
        raise ValueError(path)
    head = bytes([_VERSION_AND_CON | len(token), _GET]) + message_id.to_bytes(2, "big")
    return head + token + bytes([_URI_PATH << 4 | len(segment)]) + segment


def read_response(message: bytes, token: bytes) -> tuple[int, bytes] | None:
    """Code and payload of a response to `token`; None for any other datagram."""
    size = _HEADER_BYTES + len(token)
    if len(message) < size or message[0] >> 6 != 1 or message[0] & 0xF != len(token) or message[1] < CONTENT - 5:
        return None
    if message[_HEADER_BYTES:size] != token:
        return None
    # Options are told apart from the payload marker by walking them (RFC 7252 3.1).
    at = size
    while at < len(message) and message[at] != _PAYLOAD:
        delta, length = message[at] >> 4, message[at] & 0xF
        at += 1 + {13: 1, 14: 2}.get(delta, 0)
        if length == 13:  # noqa: PLR2004  RFC 7252 3.1: one byte follows, plus 13
            length = 13 + message[at] if at < len(message) else 0
            at += 1
        at += length
    return message[1], message[at + 1 :]


def get(host: str, port: int, path: str, limit_s: float) -> tuple[int | None, bytes]:
    """Ask, and ask again, until an answer comes; (None, b"") when none came within `limit_s`."""
    token = secrets.token_bytes(_TOKEN_BYTES)
    message_id = secrets.randbelow(1 << 16)
    end = time.monotonic() + limit_s
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        while (left := end - time.monotonic()) > 0:
            try:
                line.connect((host, port))
                line.send(request(path, message_id, token))
                line.settimeout(min(left, _REPEAT_S))
                message = line.recv(2048)
            except TimeoutError:
                continue
            except OSError:
                # Refused: the node has not opened its port yet.
                time.sleep(min(left, 0.2))
                continue
            answer = read_response(message, token)
            if answer is None:
                continue
            if message[0] & _TYPE_MASK == _CON:
                line.send(bytes([_ACK, 0]) + message[2:4])
            return answer
    return None, b""
