"""A VM with the node's CoAP endpoint, with or without keys, for aiocoap and libcoap to talk to."""

from __future__ import annotations

import json
import select
import socket
import subprocess
from typing import TYPE_CHECKING, Self

from firmware.micropython_vm import MICROPYTHON, vm_environment

if TYPE_CHECKING:
    from pathlib import Path

NODE_KEYS = {
    "secret": "0102030405060708090a0b0c0d0e0f10",
    "salt": "9e7ca92223786340",
    "sender_id": "01",
    "recipient_id": "00",
}
GATEWAY_KEYS = NODE_KEYS | {"sender_id": "00", "recipient_id": "01"}

# `/count`: observable, counts PUTs to it. `/large`: 3,000 bytes. `/slow`: takes longer than a client would wait for an
# acknowledgement. `/body`: tells length and checksum of what was put. `/ask`: posts to the peer's `/thing`, or gets what the payload names, and tells what came of it as `/result`.
SCRIPT = """
import asyncio
import os
import sys
from binascii import crc32
os.chdir(sys.argv[2])
from andon_node.coap import endpoint as coap_endpoint
from andon_node.coap import message as coap
from andon_node.coap import observers, open_security, server
from andon_node.coap.endpoint import Endpoint
from andon_node.coap.response import CoapError, Response
from andon_node.net import udp

coap_endpoint.ACK_TIMEOUT_MS = 150
server.SEPARATE_AFTER_MS = 100
observers.POLL_MS = 10
peer = udp.address_of("127.0.0.1", int(sys.argv[1]))
count = 0
result = b"none"

async def ask(path):
    global result
    result = b"waiting"
    method, payload = (coap.GET, b"") if path else (coap.POST, "text")
    options = [(coap.URI_PATH, path or b"thing")]
    try:
        response = await endpoint.request(peer, method, options, payload, None, 3)
        result = coap.code_text(response.code).encode() + b" " + bytes(response.payload)
    except CoapError as error:
        result = repr(error).encode()

async def handle(request):
    global count
    path = request.values(coap.URI_PATH)
    if path == [b"count"]:
        if request.code == coap.PUT:
            count += 1
            return Response(coap.CHANGED)
        response = Response(coap.CONTENT, str(count), 0)
        response.observable = True
        return response
    if path == [b"observers"]:
        return Response(coap.CONTENT, str(len(endpoint.observers)))
    if path == [b"large"] or path == [b".well-known", b"core"]:
        return Response(coap.CONTENT, "".join("%06d" % n for n in range(500)), 0)
    if path == [b"slow"]:
        count += 1
        await asyncio.sleep_ms(400)
        return Response(coap.CONTENT, "slow %d" % count)
    if path == [b"body"]:
        return Response(coap.CHANGED, "%d %d" % (len(request.payload), crc32(request.payload)))
    if path == [b"ask"]:
        asyncio.create_task(ask(request.payload))
    if path == [b"result"]:
        return Response(coap.CONTENT, result)
    return Response(coap.CHANGED)

async def run():
    await asyncio.gather(endpoint.serve(), endpoint.observers.run())

datagrams = udp.DatagramSocket(0)
endpoint = Endpoint(datagrams, handle, open_security())
datagrams.send(b"hello", peer)
asyncio.run(run())
"""


class CoapVm:
    """The VM as a server at `port`; asked to ask, it asks `peer_port`.

    Args:
        folder: Its flash.
        peer_port: Where a server of the test listens; None: nobody does.
    """

    def __init__(self, folder: Path, *, peer_port: int | None = None, keys: dict[str, str] | None = None) -> None:
        self._folder = folder
        self._peer_port = peer_port
        if keys is not None:
            (folder / "keys.json").write_text(json.dumps(keys))
        self.log = folder / "console.txt"

    def __enter__(self) -> Self:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as greeter:
            greeter.bind(("127.0.0.1", self._peer_port or 0))
            own = greeter.getsockname()[1]
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [str(MICROPYTHON), "-X", "heapsize=256k", "-c", SCRIPT, str(own), str(self._folder)],
                    stdout=log,
                    stderr=log,
                    env=vm_environment(),
                )
            readable, _, _ = select.select([greeter], [], [], 10)
            assert readable, f"the VM says nothing: {self.log.read_text()}"
            self.port: int = greeter.recvfrom(100)[1][1]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)
        assert "Traceback" not in self.log.read_text()

    def uri(self, path: str) -> str:
        """A resource's address."""
        return f"coap://127.0.0.1:{self.port}/{path}"
