"""Nodes that speak OSCORE: their keys, the proof of freshness, and requests that are encrypted before the time is taken.

The node's half is computed with the gateway's own OSCORE module with the roles exchanged; tests/gateway holds that module to the RFC's
vectors and to aiocoap, and the aiocoap peer here accepts the very same datagrams.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from andon_gateway.security.oscore import ECHO_BYTES, Credential, SecurityContext
from bench.gateway.load import CHANGED, LoadError
from bench.gateway.packs import PATH_T_112, coap_request

if TYPE_CHECKING:
    import socket

    from andon_gateway.security.oscore import Binding

_POST: Final = b"\x02"
_ACK: Final = b"\x60\x00"
_TYPE: Final = 0x30
_OSCORE: Final = 9

_ECHO_AFTER_12: Final = b"\xd8\xe3"  # delta 240 (Echo is option 252), length 8
_OPTION_AT: Final = 8
_UNAUTHORIZED: Final = 0x81
_FIRST_NUMBER: Final = 0xFFF0
"""Message id of the first request, far from those that follow."""
_SETTLE_LIMIT_S: Final = 10.0


def keys(number: int) -> dict[str, str]:
    """One node's keys as the cloud's `credentials` event has them."""
    secret = hashlib.sha256(f"bench node {number}".encode()).hexdigest()[:32]
    return {"secret": secret, "salt": "9e7ca92223786340", "sender_id": f"{number + 1:04x}", "recipient_id": "00"}


class _Counter:
    """Sender sequence numbers of a node that never restarts."""

    def __init__(self) -> None:
        self._next = 0

    def take(self) -> int:
        self._next += 1
        return self._next - 1


class OscoreNode:
    """One node's half of its keys."""

    def __init__(self, node: str, own: dict[str, str]) -> None:
        credential = Credential(
            node,
            bytes.fromhex(own["secret"]),
            bytes.fromhex(own["salt"]),
            node_id=bytes.fromhex(own["recipient_id"]),
            gateway_id=bytes.fromhex(own["sender_id"]),
        )
        self._context = SecurityContext(credential, _Counter())
        self._bindings: dict[bytes, Binding] = {}

    def protect(self, number: int, plaintext: bytes) -> bytes:
        """A protected request; its answer can be opened with `open`."""
        option, ciphertext, binding = self._context.protect_request(plaintext)
        datagram = coap_request(number, bytes([_OSCORE << 4 | len(option)]) + option, ciphertext)
        self._bindings[datagram[4:8]] = binding
        return datagram

    def pack(self, number: int, payload: bytes, echo: bytes = b"") -> bytes:
        """A protected `POST /t`."""
        options = PATH_T_112 + (_ECHO_AFTER_12 + echo if echo else b"")
        return self.protect(number, _POST + options + b"\xff" + payload)

    def open(self, answer: bytes) -> bytes:
        """The plaintext of an answer: code, options, payload. Each can be opened once.

        Raises:
            LoadError: The answer is not protected.
            OscoreError: It is not authentic.
        """
        if len(answer) <= _OPTION_AT or answer[_OPTION_AT] >> 4 != _OSCORE:
            raise LoadError(f"an answer without OSCORE: {answer!r}")
        length = answer[_OPTION_AT] & 15
        option = answer[_OPTION_AT + 1 : _OPTION_AT + 1 + length]
        binding = self._bindings.pop(answer[4:8])
        return self._context.unprotect_response(binding, option, answer[_OPTION_AT + 2 + length :])

    def settle(self, link: socket.socket, payload: bytes) -> None:
        """Send one pack and, when the server asks for it, the proof of freshness (RFC 8613 B.1.2).

        Raises:
            LoadError: The server does not take the node's pack.
        """
        link.settimeout(_SETTLE_LIMIT_S)
        echo, plain = b"", b""
        for number in (_FIRST_NUMBER, _FIRST_NUMBER + 1):
            link.send(self.pack(number, payload, echo))
            plain = self.open(_response(link))
            if plain[0] != _UNAUTHORIZED:
                break
            echo = plain[-ECHO_BYTES:]
        link.settimeout(None)
        if plain[:1] != bytes([CHANGED]):
            raise LoadError(f"the server answers a protected pack with {plain!r}")


def _response(link: socket.socket) -> bytes:
    """The next response; an empty acknowledgement (RFC 7252 5.2.2) only says that it comes later, to be acknowledged."""
    while not (data := link.recv(2048))[1]:
        pass
    if not data[0] & _TYPE:
        link.send(_ACK + data[2:4])
    return data
