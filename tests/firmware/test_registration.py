"""The node's registration at an aiocoap directory: made once, renewed where it is, made again when it was forgotten."""

from __future__ import annotations

import asyncio
import subprocess
import time
from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
from aiocoap import resource
from firmware.micropython_vm import FIRMWARE, MICROPYTHON, vm_environment

from andon_workbench.bundle.build import source_version

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPT = """
import asyncio
import sys
from andon_node import gateway
from andon_node.clock import Clock
from andon_node.coap import endpoint as coap_endpoint
from andon_node.net import udp

coap_endpoint.ACK_TIMEOUT_MS = 100
gateway._RENEW_MS = 50

class Link:
    async def wait_connected(self):
        pass
    def gateway_address(self):
        return udp.address_of("127.0.0.1", int(sys.argv[1]))

async def handle(request):
    pass

endpoint = coap_endpoint.Endpoint(udp.DatagramSocket(0), handle)
node = gateway.GatewayLink(endpoint, Link(), Clock())

async def run():
    await asyncio.gather(endpoint.serve(), node.register("press-1", "</relay/0>", 0, 4))

asyncio.run(run())
"""


class Directory(resource.Resource):  # type: ignore[misc]  # untyped base
    """/rd."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[tuple[str, ...], tuple[str, ...], bytes]] = []
        self.forgotten = False

    async def render_post(self, request: Any) -> aiocoap.Message:
        path = request.opt.uri_path
        self.seen.append((path, request.opt.uri_query, request.payload))
        if not path:
            self.forgotten = False
            return aiocoap.Message(code=aiocoap.CREATED, location_path=("rd", "47", "a"))
        return aiocoap.Message(code=aiocoap.NOT_FOUND if self.forgotten else aiocoap.CHANGED)


class Below(resource.Resource, resource.PathCapable):  # type: ignore[misc]  # untyped base
    """What is below /rd."""

    def __init__(self, directory: Directory) -> None:
        super().__init__()
        self._directory = directory

    async def render_post(self, request: Any) -> aiocoap.Message:
        return await self._directory.render_post(request)


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.005)


async def test_registration_is_renewed_at_its_location() -> None:
    directory, site = Directory(), resource.Site()
    site.add_resource(["rd"], directory)
    site.add_resource(["rd"], Below(directory))
    context = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", 0), transports=["udp6"])
    transport = context.request_interfaces[0].token_interface.message_interface.transport
    port = transport.get_extra_info("socket").getsockname()[1]
    process = subprocess.Popen(  # noqa: ASYNC220 -- starts within milliseconds
        [str(MICROPYTHON), "-c", SCRIPT, str(port)], env=vm_environment(), stdout=subprocess.DEVNULL
    )
    try:
        await until(lambda: len(directory.seen) >= 4)
        said = ("ep=press-1", "lt=60", f"ver={source_version(FIRMWARE)}", "cfg=4")
        assert directory.seen[0] == ((), said, b"</relay/0>")
        assert directory.seen[1:4] == [(("47", "a"), ("lt=60",), b"")] * 3
        directory.forgotten = True
        await until(lambda: directory.seen[-1][0] == () and len(directory.seen) > 4)
        assert directory.seen[-2][0] == ("47", "a")
        assert directory.seen[-1] == directory.seen[0]
    finally:
        process.kill()
        process.wait(10)
        await context.shutdown()
