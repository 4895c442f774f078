"""A node as bytes on a UDP socket: the CoAP messages are put together here, by RFC 7252, without any library."""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

CON_TOKEN2 = 0x42  # version 1, confirmable, token length 2
OPTION_PATH_T = b"\xb1t"  # delta 11 (Uri-Path), length 1
OPTION_FORMAT_112 = b"\x11\x70"  # delta 1 (Content-Format), length 1
OPTION_PATH_RD = b"\xb2rd"
OPTION_PATH_TIME = b"\xb4time"
GET, POST = 1, 2
TIMED_OUT = (0, 0)


class UdpNode:
    """Sends one request at a time and repeats it, always from the same port."""

    def __init__(self, gateway_port: int) -> None:
        self._gateway = ("127.0.0.1", gateway_port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._message_id = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._socket.close()

    def register(self, name: str, limit_s: float) -> tuple[int, int]:
        """POST /rd?ep=name; the response code as (class, detail), or `TIMED_OUT`."""
        query = f"ep={name}".encode()
        return self._request(OPTION_PATH_RD + bytes([0x40 | len(query)]) + query, limit_s)

    def receive(self, limit_s: float) -> bytes | None:
        """The next datagram, not answered; None when none comes."""
        self._socket.settimeout(limit_s)
        try:
            return self._socket.recv(1500)
        except TimeoutError:
            return None

    def post(self, payload: bytes, limit_s: float) -> tuple[int, int]:
        """POST /t; the response code as (class, detail), or `TIMED_OUT`."""
        return self._request(OPTION_PATH_T + OPTION_FORMAT_112 + b"\xff" + payload, limit_s)

    def ask_time(self, limit_s: float) -> tuple[int, int]:
        """GET /time; the response code as (class, detail), or `TIMED_OUT`."""
        return self._request(OPTION_PATH_TIME, limit_s, GET)

    def _request(self, rest: bytes, limit_s: float, code: int = POST) -> tuple[int, int]:
        self._message_id = self._message_id % 0xFFFF + 1
        token = struct.pack("!H", self._message_id)
        head = struct.pack("!BBH", CON_TOKEN2, code, self._message_id) + token
        self._socket.sendto(head + rest, self._gateway)
        deadline = time.monotonic() + limit_s
        while (left_s := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                answer = self._socket.recv(1500)
            except TimeoutError:
                break
            except ConnectionRefusedError:
                continue
            if answer[4:6] == token and answer[1]:
                if answer[0] >> 4 & 3 == 0:  # a separate response (RFC 7252 5.2.2), to be acknowledged
                    self._socket.sendto(b"\x60\x00" + answer[2:4], self._gateway)
                return answer[1] >> 5, answer[1] & 0x1F
        return TIMED_OUT
