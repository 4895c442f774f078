"""A gateway of aiocoap's making: takes packs, registrations and questions about the time."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import cbor2
from aiocoap import resource

from andon_workbench.ports import lasting_port


def free_udp_port() -> int:
    """A port that was free just now, and that the kernel will not hand out again soon."""
    return lasting_port()


class Pack:
    """A received pack, resolved with plain decimal arithmetic."""

    def __init__(self, payload: bytes) -> None:
        self.arrival_ms = int(time.time() * 1000)
        self.records: list[dict[int, Any]] = cbor2.loads(payload)
        head, seq, *readings = self.records
        self.boot: int = head[2]
        self.seq: int = seq[2]
        self.base_name: str = head[-2]
        self.base_time = Decimal(head[-3])
        self.readings = [(r[0], Decimal(r.get(6, 0)), r.get(2, r.get(3, r.get(4)))) for r in readings]

    def values(self, name: str) -> list[Any]:
        """Values of the records with this name."""
        return [value for found, _, value in self.readings if found == name]


class _Telemetry(resource.Resource):  # type: ignore[misc]  # aiocoap ships no types
    def __init__(self, gateway: AiocoapGateway) -> None:
        super().__init__()
        self._gateway = gateway

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        self._gateway.remote = request.remote
        self._gateway.attempts += 1
        code = self._gateway.telemetry_code
        if code == aiocoap.CHANGED:
            assert request.opt.content_format == 112
            self._gateway.packs.append(Pack(request.payload))
        return aiocoap.Message(code=code, payload=b"" if code.is_successful() else b"because")


class _Registration(resource.Resource):  # type: ignore[misc]  # aiocoap ships no types
    def __init__(self, gateway: AiocoapGateway) -> None:
        super().__init__()
        self._gateway = gateway

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        self._gateway.remote = request.remote
        self._gateway.registrations.append((request.opt.uri_query, request.payload.decode()))
        return aiocoap.Message(code=aiocoap.CREATED, location_path=("rd", "press-1"))


class _Time(resource.Resource):  # type: ignore[misc]  # aiocoap ships no types
    def __init__(self, gateway: AiocoapGateway) -> None:
        super().__init__()
        self._gateway = gateway

    async def render_get(self, _request: aiocoap.Message) -> aiocoap.Message:
        if not self._gateway.tells_time:
            return aiocoap.Message(code=aiocoap.NOT_FOUND, payload=b"no clock")
        return aiocoap.Message(code=aiocoap.CONTENT, payload=b"%d" % (time.time_ns() // 1_000_000))


class AiocoapGateway:
    """The server and the client towards the node, in one context."""

    def __init__(self) -> None:
        self.port = free_udp_port()
        self.packs: list[Pack] = []
        self.registrations: list[tuple[tuple[str, ...], str]] = []
        self.remote: Any = None
        self.attempts = 0
        self.telemetry_code = aiocoap.CHANGED
        self.tells_time = True
        self._context: aiocoap.Context | None = None

    async def start(self) -> None:
        """Serve."""
        site = resource.Site()
        site.add_resource(["t"], _Telemetry(self))
        site.add_resource(["rd"], _Registration(self))
        site.add_resource(["time"], _Time(self))
        self._context = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", self.port))

    async def stop(self) -> None:
        """Stop serving."""
        if self._context is not None:
            await self._context.shutdown()
            self._context = None

    async def ask(self, code: Any, path: str, payload: bytes = b"", **options: Any) -> aiocoap.Message:
        """Send a request to the node, at the address it registered from."""
        assert self._context is not None
        message = aiocoap.Message(code=code, payload=payload, uri=f"coap://{self.remote.hostinfo}/{path}", **options)
        return await self._context.request(message).response

    def values(self, name: str) -> list[Any]:
        """All received values with a name, in order of arrival."""
        return [value for pack in self.packs for value in pack.values(name)]
