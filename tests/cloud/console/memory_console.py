"""The console over the in-memory feed as a process of its own, with routes by which a test turns the factory's knobs.

    python memory_console.py [--machines N] [--token TOKEN] [--port 0] [--live]

Prints `ready http=HOST:PORT` when it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse

sys.path.insert(0, str(Path(__file__).parents[2]))

from cloud.console.memory_feed import MemoryFeed

from andon_cloud.commands.lifecycle import CommandStatus
from andon_cloud.configurations.lifecycle import ConfigurationStatus
from andon_cloud.console.mount import mount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def build(machines: int, token: str | None, *, live: bool) -> FastAPI:
    feed = MemoryFeed(machines, now_ms())

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_run(feed, live=live))
        yield
        task.cancel()

    app = FastAPI(lifespan=lifespan)

    @app.post("/api/dev/seat/{machine_id}")
    async def seat(machine_id: str, change: dict[str, Any]) -> None:
        feed.seats[machine_id] = replace(feed.seats[machine_id], **change)

    @app.post("/api/dev/feed")
    async def knobs(change: dict[str, Any]) -> None:
        for name, value in change.items():
            setattr(feed, name, value)

    @app.post("/api/dev/waiting")
    async def waiting(change: dict[str, int]) -> None:
        feed.let_wait(change.get("nodes", 0), change.get("keys", 0), change.get("free", 0))

    @app.post("/api/dev/reset")
    async def reset() -> None:
        feed.__init__(machines, now_ms())  # type: ignore[misc]  # the same object, as new

    @app.post("/api/dev/command/{machine_id}/{status}")
    async def move(machine_id: str, status: str, detail: str = "") -> None:
        feed.move_command(machine_id, CommandStatus(status), detail)

    @app.post("/api/dev/configuration/{status}")
    async def move_configuration(status: str, detail: str = "") -> None:
        feed.move_configuration(ConfigurationStatus(status), detail)

    @app.get("/api/dev/log")
    async def log() -> JSONResponse:
        entries = [
            {"machine": machine, "relay": command.relay, "state": command.state, "lease_s": command.lease_s}
            | {"reason": command.reason, "actor": command.actor, "status": command.status}
            for machine, command in feed.log
        ]
        return JSONResponse({"commands": entries, "reads": feed.reads, "adopted": feed.adopted})

    mount(app, feed, api_token=token)
    return app


async def _run(feed: MemoryFeed, *, live: bool) -> None:
    rng = random.Random(1)
    while True:
        feed.now_ms = now_ms()
        for seat in feed.seats.values() if live else ():
            if seat.closed and seat.rate and not seat.quiet_ms:
                seat.temperature = round(seat.temperature + rng.gauss(0, 0.05), 2)
                seat.cycles += rng.random() < seat.rate / 60
            if seat.quiet_ms:
                seat.quiet_ms += 500
        await asyncio.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--machines", type=int, default=6)
    parser.add_argument("--token")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--live", action="store_true")
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", options.port))
    sys.stdout.write(f"ready http=127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(build(options.machines, options.token, live=options.live), log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
