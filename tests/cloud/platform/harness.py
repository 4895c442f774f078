"""What the cloud's tests work with: the app in this process under a simulated clock, and the server as a process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest

from andon_cloud.app import create_app
from andon_cloud.telemetry.embedded import EmbeddedStore

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi import FastAPI

    from andon_cloud.services import Services
    from andon_cloud.settings import Settings

GATEWAY_TOKEN = "gateway-token-of-gw-1"
LIMIT_S = 60.0


def wait_until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not reached within {limit_s} s")
        time.sleep(0.02)


def is_problem(answer: httpx.Response, status: int, *words: str) -> None:
    """The answer is an RFC 9457 problem of this status whose detail holds the words."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    for word in words:
        assert word in body["detail"]


# --- the app in this process ------------------------------------------------------------------------------------------


@dataclass
class SimulatedClock:
    """Milliseconds since the epoch, moved by the test."""

    now_ms: int = 1_764_000_000_000

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)


@dataclass
class Cloud:
    """A running app and the ways in."""

    app: FastAPI
    people: httpx.AsyncClient
    gateway: httpx.AsyncClient
    clock: SimulatedClock
    services: Services = field(init=False)

    def __post_init__(self) -> None:
        self.services = self.app.state.services

    async def register(self, machine: str = "press-7", gateway: str = "gw-1") -> None:
        """Register a machine and its node."""
        body: dict[str, object] = {"id": machine, "name": machine, "site": "demo", "area": "a1", "line": "l1"}
        answer = await self.people.post("/api/v1/machines", json=body)
        assert answer.status_code == 201, answer.text
        body = {"id": machine, "machine_id": machine, "gateway_id": gateway}
        answer = await self.people.post("/api/v1/nodes", json=body)
        assert answer.status_code == 201, answer.text


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Cloud]:
    clock = SimulatedClock()
    store = EmbeddedStore(settings.data_dir / "telemetry.sqlite", synchronous="OFF")
    app = create_app(settings, clock=clock, store=store)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as people,
        httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers={"Authorization": f"Token {GATEWAY_TOKEN}"}
        ) as gateway,
    ):
        yield Cloud(app, people, gateway, clock)


# --- the server as a process ------------------------------------------------------------------------------------------


@dataclass
class ServerProcess:
    """`andon-cloud serve` on a free port."""

    process: subprocess.Popen[str]
    url: str
    log: Path

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and give back the exit status."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT_S)


def cloud_environment(**settings: str) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ANDON_CLOUD_")}
    return clean | {f"ANDON_CLOUD_{key.upper()}": value for key, value in settings.items()}


StartServer = Callable[..., ServerProcess]


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[StartServer]:
    """Starts servers in a folder; all end with the block."""
    started: list[ServerProcess] = []

    def start(**settings: str) -> ServerProcess:
        number = len(started)
        defaults = {
            "port": "0",
            "console": "false",
            "data_dir": str(folder / f"server-{number}"),
            "bootstrap_gateways": f"gw-1:{GATEWAY_TOKEN}",
        }
        log = folder / f"server-{number}.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "andon_cloud.cli", "serve"],
                env=cloud_environment(**(defaults | settings)),
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        started.append(ServerProcess(process, "", log))
        assert process.stdout is not None
        line = process.stdout.readline()  # ends at the latest when the process does; pytest-timeout bounds the rest
        ready = re.fullmatch(r"ready http=(\S+:\d+)\n", line)
        assert ready is not None, f"{line!r} {log.read_text()}"
        started[-1].url = f"http://{ready[1]}"
        return started[-1]

    try:
        yield start
    finally:
        for server in started:
            if server.process.poll() is None:
                server.process.kill()
            server.process.wait(LIMIT_S)
            if server.process.stdout is not None:
                server.process.stdout.close()
