"""A VM with the node's CoAP endpoint, and a peer that speaks datagram by datagram with aiocoap's codec."""

from __future__ import annotations

import select
import socket
import subprocess
import time

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
from firmware.micropython_vm import MICROPYTHON, vm_environment

# Serves `/count` (how often a handler ran), `/fail`, and `/ask`: send a request to the peer and keep what came of it
# for `/result`. Says hello first, so that the peer knows its port.
SCRIPT = """
import asyncio
import sys
from andon_node.coap import endpoint as coap_endpoint
from andon_node.coap import message as coap
from andon_node.coap.endpoint import Endpoint
from andon_node.coap.response import CoapError, Response
from andon_node.net import udp

coap_endpoint.ACK_TIMEOUT_MS = int(sys.argv[2])
coap_endpoint.SEPARATE_RESPONSE_MS = 1000
peer = udp.address_of("127.0.0.1", int(sys.argv[1]))
count = 0
result = b"none"

async def ask(retransmit):
    global result
    result = b"waiting"
    try:
        response = await endpoint.request(peer, coap.GET, [(coap.URI_PATH, b"thing")], max_retransmit=retransmit)
        result = coap.code_text(response.code).encode() + b" " + bytes(response.payload)
    except CoapError as error:
        result = repr(error).encode()

async def handle(request):
    global count
    count += 1
    path = request.values(coap.URI_PATH)
    if path == [b"fail"]:
        raise ValueError("broken")
    if path == [b"ask"]:
        asyncio.create_task(ask(int(request.payload)))
    if path == [b"result"]:
        return Response(coap.CONTENT, result)
    return Response(coap.CONTENT, str(count), 0)

datagrams = udp.DatagramSocket(0)
endpoint = Endpoint(datagrams, handle)
datagrams.send(b"hello", peer)
asyncio.run(endpoint.serve())
"""


class Peer:
    """A UDP socket that speaks CoAP messages."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def close(self) -> None:
        self.socket.close()

    def receive_bytes(self, limit_s: float = 5.0) -> bytes:
        """The next datagram."""
        readable, _, _ = select.select([self.socket], [], [], limit_s)
        assert readable, "nothing came"
        data, self.source = self.socket.recvfrom(2048)
        return data

    def receive(self, limit_s: float = 5.0) -> aiocoap.Message:
        """The next message."""
        return aiocoap.Message.decode(self.receive_bytes(limit_s))

    def is_silent(self, for_s: float = 0.1) -> bool:
        """Whether nothing comes for a while."""
        return not select.select([self.socket], [], [], for_s)[0]


def message(
    kind: aiocoap.Type,
    code: aiocoap.Code,
    mid: int,
    token: bytes = b"",
    payload: bytes = b"",
    path: tuple[str, ...] = (),
) -> bytes:
    """Encode a message with aiocoap."""
    built = aiocoap.Message(code=code, payload=payload, uri_path=path)
    built.mtype, built.mid, built.token = kind, mid, token
    encoded: bytes = built.encode()
    return encoded


class EndpointVm:
    """The VM under test with its peer (whom it asks) and clients (who ask it)."""

    def __init__(self, ack_timeout_ms: int = 100) -> None:
        self.peer = Peer()
        self.client = Peer()
        self.stranger = Peer()
        self._mid = 1000
        self._process = subprocess.Popen(
            [str(MICROPYTHON), "-c", SCRIPT, str(self.peer.port), str(ack_timeout_ms)],
            stdout=subprocess.DEVNULL,
            env=vm_environment(),
        )
        assert self.peer.receive_bytes() == b"hello"
        self.address = self.peer.source

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)
        for peer in (self.peer, self.client, self.stranger):
            peer.close()

    def alive(self) -> bool:
        """Whether the VM still runs."""
        return self._process.poll() is None

    def send(self, data: bytes, by: Peer | None = None) -> None:
        """Send a datagram to the VM."""
        (by or self.client).socket.sendto(data, self.address)

    def get(self, path: str, payload: bytes = b"", by: Peer | None = None) -> aiocoap.Message:
        """Ask the VM, as a client."""
        self._mid += 1
        client = by or self.client
        self.send(message(aiocoap.CON, aiocoap.GET, self._mid, b"tk", payload, (path,)), client)
        answer = client.receive()
        assert (answer.mtype, answer.mid, answer.token) == (aiocoap.ACK, self._mid, b"tk")
        return answer

    def let_it_ask(self, retransmit: int = 4) -> None:
        """Make the VM send a request to its peer."""
        self.get("ask", str(retransmit).encode())

    def result(self, limit_s: float = 5.0) -> str:
        """What came of the VM's request."""
        end = time.monotonic() + limit_s
        while True:
            payload: bytes = self.get("result").payload
            if payload not in {b"waiting", b"none"}:
                return payload.decode()
            assert time.monotonic() < end, "no result in time"
