"""A node of aiocoap's making that speaks aiocoap's OSCORE: client and server on one socket."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Self

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
from aiocoap import oscore, resource
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper  # type: ignore[import-untyped]  # same


class PeerContext(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):  # type: ignore[misc]  # untyped base
    """aiocoap's algorithms with keys of the `credentials` event, in memory; the window is lost, as after a start."""

    authenticated_claims: tuple[str, ...] = ()

    def __init__(self, keys: dict[str, str], *, first: int = 0, echo: bytes | None = None) -> None:
        self.alg_aead = oscore.algorithms["AES-CCM-16-64-128"]
        self.hashfun = oscore.hashfunctions["sha256"]
        self.sender_id, self.recipient_id = bytes.fromhex(keys["sender_id"]), bytes.fromhex(keys["recipient_id"])
        self.id_context = None
        self.derive_keys(bytes.fromhex(keys["salt"]), bytes.fromhex(keys["secret"]))
        self.sender_sequence_number = first
        self.echo_recovery = echo
        self.recipient_replay_window = oscore.ReplayWindow(32, lambda: None)
        if echo is None:
            self.recipient_replay_window.initialize_empty()

    def post_seqnoincrease(self) -> None:
        """Nothing is stored: a test's context lives once."""


SECRET = "0102030405060708090a0b0c0d0e0f10"


def keys(number: int, secret: str = SECRET) -> dict[str, str]:
    """Keys as the cloud's event has them."""
    return {"secret": secret, "salt": "9e7ca92223786340", "sender_id": f"{number:02x}", "recipient_id": "00"}


class OscoreNode:
    """One UDP socket, optionally with keys; `site` holds what it serves."""

    def __init__(self, own: dict[str, str] | None, gateway_port: int, site: resource.Site | None = None) -> None:
        self.security = None if own is None else PeerContext(own, echo=b"freshnow")
        self._uri = f"coap://127.0.0.1:{gateway_port}"
        self._site = site or resource.Site()

    async def __aenter__(self) -> Self:
        site = (
            self._site if self.security is None else OscoreSiteWrapper(self._site, aiocoap.credentials.CredentialsMap())
        )
        self._context = await aiocoap.Context.create_server_context(
            site, bind=("127.0.0.1", 0), transports=["oscore", "udp6"]
        )
        if self.security is not None:
            self._context.client_credentials[f"{self._uri}/*"] = self.security
            site.server_credentials[":gateway"] = self.security
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._context.shutdown()

    async def ask(
        self, code: Any, path: str, payload: bytes = b"", *, assemble: bool = True, **options: Any
    ) -> aiocoap.Message:
        """One request to the gateway; `assemble`: fetch all blocks."""
        message = aiocoap.Message(code=code, uri=f"{self._uri}/{path}", payload=payload, **options)
        return await asyncio.wait_for(self._context.request(message, handle_blockwise=assemble).response, 90)

    def protected(self, code: Any, path: str, payload: bytes, mid: int, **options: Any) -> bytes:
        """The datagram of a protected request, to be recorded, replayed or spoilt."""
        assert self.security is not None
        plain = aiocoap.Message(code=code, uri_path=tuple(path.split("/")), payload=payload, **options)
        outer, _ = self.security.protect(plain)
        outer.mtype, outer.mid, outer.token = aiocoap.CON, mid, b"tk"
        encoded: bytes = outer.encode()
        return encoded


class Wire:
    """A bare socket towards the gateway."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(60)
        self._to = ("127.0.0.1", port)

    def exchange(self, datagram: bytes) -> aiocoap.Message:
        """Send bytes, return the answer; a busy gateway acknowledges first and answers later (RFC 7252 5.2.2)."""
        self._socket.sendto(datagram, self._to)
        while True:
            answer = aiocoap.Message.decode(self._socket.recv(2048))
            if answer.mtype == aiocoap.CON:
                self._socket.sendto(b"\x60\x00" + answer.mid.to_bytes(2, "big"), self._to)
            if answer.code != aiocoap.EMPTY:
                return answer

    def close(self) -> None:
        """Release the port."""
        self._socket.close()
