"""A small app with the telemetry routers, and helpers to talk to it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn
from fastapi import FastAPI

from andon_cloud import problems
from andon_cloud.telemetry.query_api import QueryLimits, query_router
from andon_cloud.telemetry.write_api import WriteLimits, write_router

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from andon_cloud.telemetry.store import TelemetryStore
    from andon_cloud.telemetry.write_api import Observer

TOKEN = "gateway-token-0123456789"
NOW_MS = 1_764_000_000_000
WRITE = "/api/v2/write?org=andon&bucket=telemetry&precision=ms"


async def authenticate(token: str) -> str | None:
    return "gw-1" if token == TOKEN else None


def build(
    store: TelemetryStore,
    observers: Sequence[Observer] = (),
    write_limits: WriteLimits | None = None,
    query_limits: QueryLimits | None = None,
) -> FastAPI:
    app = FastAPI()
    problems.install(app)
    app.include_router(write_router(store, authenticate, observers, limits=write_limits))
    app.include_router(query_router(store, limits=query_limits, now_ms=lambda: NOW_MS))
    return app


def connect(app: FastAPI, **arguments: Any) -> httpx.AsyncClient:
    headers = {"Authorization": f"Token {TOKEN}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud", headers=headers, **arguments)


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Serve the app on a free loopback port; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await asyncio.wait_for(serving, 10)
