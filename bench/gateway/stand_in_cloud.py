"""A stand-in for the cloud that costs as little as can be: assets and keys out, line protocol in, 204 or "not now".

Run: python -m bench.gateway.stand_in_cloud TABLE.json, with `{"nodes": [names], "keys": {name: keys}}`. It prints `ready http=HOST:PORT`.
It counts the lines that it takes and keeps none. `POST /away` makes it answer writes with 503 and Retry-After 300, `GET /lines` tells
the number of lines.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Send = Callable[[dict[str, Any]], Awaitable[None]]
    Receive = Callable[[], Awaitable[dict[str, Any]]]

KEEP_ALIVE_S = 15.0


class Cloud:
    """The ASGI application."""

    def __init__(self, table: dict[str, Any]) -> None:
        places = {node: {"site": "bench", "area": "a1", "line": "l1", "machine": node} for node in table["nodes"]}
        assets = {"version": 1, "nodes": places}
        keys = {"version": 1, "nodes": table["keys"]}
        self._events = f"event: assets\ndata: {json.dumps(assets)}\n\nevent: credentials\ndata: {json.dumps(keys)}\n\n"
        self._lines = 0
        self._away = False

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = str(scope["path"])
        if path.endswith("/stream"):
            await self._stream(send)
            return
        body = await _body(receive)
        if path == "/away":
            self._away = True
        elif path == "/lines":
            await _answer(send, 200, [], str(self._lines).encode())
            return
        elif path == "/api/v2/write":
            if self._away:
                await _answer(send, 503, [(b"retry-after", b"300")])
                return
            compressed = (b"content-encoding", b"gzip") in scope["headers"]
            text = zlib.decompress(body, wbits=31) if compressed else body
            self._lines += len(text.splitlines())
        await _answer(send, 204, [])

    async def _stream(self, send: Send) -> None:
        await send({
            "type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")],
        })  # fmt: skip
        await send({"type": "http.response.body", "body": self._events.encode(), "more_body": True})
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            await send({"type": "http.response.body", "body": b": still here\n", "more_body": True})


async def _body(receive: Receive) -> bytes:
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve until killed."""
    table = json.loads(Path(sys.argv[1]).read_text())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"ready http=127.0.0.1:{listening.getsockname()[1]}", flush=True)
        config = uvicorn.Config(Cloud(table), log_level="warning", access_log=False, lifespan="off")
        uvloop.run(uvicorn.Server(config).serve(sockets=[listening]))


if __name__ == "__main__":
    main()
