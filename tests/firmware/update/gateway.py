"""A gateway for one board, made of aiocoap: takes packs, keeps firmware files, speaks to the board."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Self

import aiocoap  # type: ignore[import-untyped]  # no stubs
import cbor2
from aiocoap import resource
from aiocoap.numbers import TransportTuning  # type: ignore[import-untyped]  # same

from andon_workbench.ports import lasting_port

if TYPE_CHECKING:
    from types import TracebackType


class _Telemetry(resource.Resource):  # type: ignore[misc]  # untyped base
    def __init__(self) -> None:
        super().__init__()
        self.packs: list[Any] = []
        self.closed = False

    async def render_post(self, request: Any) -> aiocoap.Message:
        if self.closed:
            return aiocoap.Message(code=aiocoap.SERVICE_UNAVAILABLE, payload=b"closed")
        self.packs.append(cbor2.loads(request.payload))
        return aiocoap.Message(code=aiocoap.CHANGED)


class _Time(resource.Resource):  # type: ignore[misc]  # untyped base
    async def render_get(self, _request: Any) -> aiocoap.Message:
        return aiocoap.Message(payload=b"%d" % (time.time() * 1000))


class _Registration(resource.Resource):  # type: ignore[misc]  # untyped base
    async def render_post(self, _request: Any) -> aiocoap.Message:
        return aiocoap.Message(code=aiocoap.CREATED, location_path=("rd", "n"))


# A board that starts anew misses a request; RFC 7252's patience of seconds would miss the short trials of these tests.
_QUICK = TransportTuning()
_QUICK.ACK_TIMEOUT, _QUICK.ACK_RANDOM_FACTOR, _QUICK.MAX_RETRANSMIT = 1.0, 1.0, 0


class _Renewal(resource.Resource):  # type: ignore[misc]  # untyped base
    async def render_post(self, _request: Any) -> aiocoap.Message:
        return aiocoap.Message(code=aiocoap.CHANGED)


class _Firmware(resource.Resource, resource.PathCapable):  # type: ignore[misc]  # untyped base
    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.blocks = 0
        # A slow link, for tests that must be able to act between two blocks.
        self.seconds_per_block = 0.0

    async def needs_blockwise_assembly(self, _request: Any) -> bool:
        self.blocks += 1
        await asyncio.sleep(self.seconds_per_block)
        return True

    async def render_get(self, request: Any) -> aiocoap.Message:
        content = self.files.get("/".join(request.opt.uri_path))
        if content is None:
            return aiocoap.Message(code=aiocoap.NOT_FOUND)
        return aiocoap.Message(payload=content, etag=len(content).to_bytes(4, "big"))


class Gateway:
    """Serves on a free port of loopback; an async context manager."""

    async def __aenter__(self) -> Self:
        self.telemetry = _Telemetry()
        self.firmware = _Firmware()
        site = resource.Site()
        site.add_resource(["t"], self.telemetry)
        site.add_resource(["time"], _Time())
        site.add_resource(["rd"], _Registration())
        site.add_resource(["rd", "n"], _Renewal())
        site.add_resource(["fw"], self.firmware)
        self.port = lasting_port()
        self._context = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", self.port))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._context.shutdown()

    async def ask(self, port: int, method: Any, path: str, body: object = None) -> tuple[Any, Any]:
        """Ask the board; returns the code and the JSON, the code None when it does not answer in time."""
        payload = b"" if body is None else json.dumps(body).encode()
        request = aiocoap.Message(
            code=method, uri=f"coap://127.0.0.1:{port}/{path}", payload=payload, transport_tuning=_QUICK
        )
        try:
            response = await asyncio.wait_for(self._context.request(request).response, 10)
        except (TimeoutError, aiocoap.error.Error):
            return None, None
        try:
            return response.code, json.loads(response.payload)
        except ValueError:
            return response.code, response.payload.decode(errors="replace")
