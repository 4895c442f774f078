"""GET /metrics and GET /healthz, served by uvicorn in the gateway's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.requests import Request

Health = dict[str, bool]
Numbers = dict[str, int]


def build_http(
    registry: CollectorRegistry, health: Callable[[], Health], numbers: Callable[[], Numbers] = dict
) -> Starlette:
    """The two resources.

    Args:
        registry: What /metrics shows.
        health: Parts and whether each works; those named in `NEEDED` decide between 200 and 503.
        numbers: What /healthz says beside it, such as the packs that were dropped.
    """

    async def metrics(_request: Request) -> Response:
        body = await asyncio.to_thread(generate_latest, registry)
        return Response(body, media_type=None, headers={"content-type": CONTENT_TYPE_LATEST})

    async def healthz(_request: Request) -> Response:
        parts = health()
        healthy = all(parts[part] for part in NEEDED)
        return JSONResponse({"healthy": healthy, **parts, **numbers()}, status_code=200 if healthy else 503)

    return Starlette(routes=[Route("/metrics", metrics), Route("/healthz", healthz)])


NEEDED = ("storage", "uplink_thread")
"""The cloud being away is no fault of the gateway: it keeps taking readings."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the gateway stops all its parts in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind_tcp(host: str, port: int) -> socket.socket:
    """A listening address; port 0 picks a free one.

    Raises:
        OSError: In use or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


class HttpServer:
    """uvicorn on a bound socket."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2)
        self._server = _Server(config)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to serve; connections wait in the socket's backlog until the loop gets to them."""
        self._listener.listen()
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="http")

    async def stop(self) -> None:
        """Finish requests under way, then stop."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
