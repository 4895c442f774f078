"""Mounting: several apps may live in one process one after the other, as tests of the cloud do."""

from __future__ import annotations

import httpx
import pytest
from cloud.console.memory_feed import MemoryFeed
from fastapi import FastAPI

from andon_cloud.console.mount import mount

NOW = 1_764_000_000_000


@pytest.mark.parametrize("name", ["First hall", "Second hall"])
async def test_each_app_shows_its_own_factory(name: str) -> None:
    feed = MemoryFeed(1, NOW)
    feed.seats["press-1"].name = name
    app = FastAPI()

    @app.get("/api/answer")
    async def answer() -> int:
        return 42

    mount(app, feed, now_ms=lambda: NOW)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            assert name in (await client.get("/")).text
            assert (await client.get("/api/answer")).json() == 42
            assert (await client.get("/api/no-such")).status_code == 404
            assert (await client.get("/apiary")).status_code == 404
            assert (await client.get("/apiary")).headers["content-type"].startswith("text/html")
            favicon = await client.get("/favicon.ico")
            assert favicon.headers["content-type"] == "image/svg+xml"
