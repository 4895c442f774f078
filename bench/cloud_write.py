#!/usr/bin/env python3
"""How many points the cloud's write endpoint takes per core: embedded store, and pass-through to InfluxDB.

    python bench/cloud_write.py [--points 200000] [--batch 5000] [--repeat 3] [--gzip] [--json]

Runs the real FastAPI app under uvicorn (uvloop, httptools) in a process of its own and sends it line protocol as a gateway
does, from this process. `points_per_s_per_core` is points divided by the CPU time (user and system) of the cloud's process
alone. For the pass-through, InfluxDB is replaced by a sink that reads the body and answers 204, so that the cloud is what
is measured; the sink is a process of its own too. The embedded store runs with synchronous=FULL.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import multiprocessing
import os
import platform
import resource
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import uvicorn
import uvloop
from fastapi import FastAPI

from andon_cloud.telemetry.embedded import EmbeddedStore
from andon_cloud.telemetry.influx import InfluxStore
from andon_cloud.telemetry.lineprotocol import LineParser
from andon_cloud.telemetry.store import Precision, TelemetryStore
from andon_cloud.telemetry.write_api import write_router

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

TOKEN = "bench-token-0123456789"  # noqa: S105  # of a server that lives for seconds on loopback
NODES = 100
T0 = 1_764_000_000_000
URL = "/api/v2/write?org=andon&bucket=telemetry&precision=ms"
CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Result:
    """What one way of writing costs; the best of the repeats."""

    way: str
    points: int
    batch: int
    gzip: bool
    cpu_s: float
    wall_s: float
    us_per_point: float
    points_per_s_per_core: int


def bodies(points: int, batch: int) -> list[bytes]:
    """Line protocol as the gateway writes it: a temperature and a cycle count per node and second, a relay sometimes."""
    tags = [f"area=a1,channel=0,line=l{n % 8},machine=press-{n},node=press-{n},site=demo" for n in range(NODES)]
    lines: list[str] = []
    for n in range(points):
        node, stamp = n // 2 % NODES, T0 + n // (2 * NODES) * 1000 + n // 2 % NODES
        if n % 200 == 199:  # noqa: PLR2004  # one in two hundred points
            lines.append(f"relay,{tags[node]} on={'true' if n % 400 < 200 else 'false'} {stamp}")  # noqa: PLR2004  # same
        elif n % 2:
            lines.append(f"cycles,{tags[node]} total={n}i {stamp}")
        else:
            lines.append(f"temperature,{tags[node]} celsius={20 + n % 640 / 16} {stamp}")
    return ["\n".join(lines[start : start + batch]).encode() for start in range(0, points, batch)]


async def _authenticate(token: str) -> str | None:
    return "gw-bench" if token == TOKEN else None


async def _observe(_readings: object) -> None:
    """Stands for the command service: the readings are parsed, as in the real app."""


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _serve(app: FastAPI, pipe: Connection) -> None:
    """Serve until the other side says so; answer each message with the CPU time used so far."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        pipe.send(listening.getsockname()[1])
        while await asyncio.to_thread(pipe.recv) != "stop":
            pipe.send(_cpu_s())
        server.should_exit = True
        await serving


def run_sink(pipe: Connection) -> None:
    """A process: stands in for InfluxDB, which would cost CPU of its own."""

    async def sink(scope: dict[str, object], receive: object, send: object) -> None:
        if scope["type"] != "http":
            return
        more = True
        while more:
            message = await receive()  # type: ignore[operator]  # ASGI's callables
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]  # same
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]  # same

    uvloop.run(_serve(sink, pipe))  # type: ignore[arg-type]  # any ASGI app will do


def run_cloud(pipe: Connection, folder: str, sink_url: str | None) -> None:
    """A process: the cloud's write endpoint with one of the stores."""

    async def main() -> None:
        store: TelemetryStore
        if sink_url is None:
            store = EmbeddedStore(Path(folder) / "telemetry.sqlite")
        else:
            store = InfluxStore(sink_url, "token", "andon", "andon")
        await store.open()
        app = FastAPI()
        app.include_router(write_router(store, _authenticate, [_observe]))
        await _serve(app, pipe)
        await store.close()

    uvloop.run(main())


class Child:
    """One of the processes above; it tells its port first and its CPU time whenever asked."""

    def __init__(self, target: object, *arguments: object) -> None:
        self._pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=target, args=(theirs, *arguments), daemon=True)  # type: ignore[arg-type]  # a function
        self._process.start()
        self.url = f"http://127.0.0.1:{self._pipe.recv()}"

    def cpu_s(self) -> float:
        """User and system time that the process has used."""
        self._pipe.send("cpu")
        return float(self._pipe.recv())

    def stop(self) -> None:
        """End the process."""
        self._pipe.send("stop")
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()


async def _send(url: str, encoded: list[bytes], *, compressed: bool) -> None:
    headers = {"Authorization": f"Token {TOKEN}"} | ({"Content-Encoding": "gzip"} if compressed else {})
    waiting = iter(encoded)

    async def sender(client: httpx.AsyncClient) -> None:
        for body in waiting:
            answer = await client.post(URL, content=body, headers=headers)
            if answer.status_code != httpx.codes.NO_CONTENT:
                raise SystemExit(f"the cloud answered {answer.status_code}: {answer.text}")

    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await asyncio.gather(*(sender(client) for _ in range(4)))


def measure(way: str, points: int, batch: int, *, compressed: bool) -> Result:
    """One run in fresh processes, with a warm-up of two batches that is not counted."""
    prepared = [gzip.compress(body, 1) if compressed else body for body in bodies(points, batch)]
    with tempfile.TemporaryDirectory() as folder:
        sink = Child(run_sink) if way == "pass-through" else None
        cloud = Child(run_cloud, folder, sink.url if sink else None)
        try:
            asyncio.run(_send(cloud.url, prepared[:2], compressed=compressed))
            before, start = cloud.cpu_s(), time.perf_counter()
            asyncio.run(_send(cloud.url, prepared, compressed=compressed))
            wall_s, cpu_s = time.perf_counter() - start, cloud.cpu_s() - before
        finally:
            cloud.stop()
            if sink:
                sink.stop()
    return Result(
        way,
        points,
        batch,
        compressed,
        round(cpu_s, 4),
        round(wall_s, 4),
        round(cpu_s / points * 1e6, 3),
        int(points / cpu_s),
    )


def measure_parser(points: int, batch: int) -> Result:
    """The parser alone, in this process."""
    parser, prepared = LineParser(), bodies(points, batch)
    before = time.process_time()
    for body in prepared:
        parser.parse(body, Precision.MS, 0)
    cpu_s = time.process_time() - before
    return Result(
        "parser alone",
        points,
        batch,
        False,
        round(cpu_s, 4),
        round(cpu_s, 4),
        round(cpu_s / points * 1e6, 3),
        int(points / cpu_s),
    )


def _machine() -> dict[str, object]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit,
        "python": platform.python_version(),
        "cpu": model or platform.processor(),
        "cores": os.cpu_count(),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="CPU per point of the cloud's write endpoint")
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=5_000, help="lines per request")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the best counts")
    parser.add_argument("--gzip", action="store_true", help="send the bodies compressed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    def best(way: str) -> Result:
        runs = [
            measure(way, arguments.points, arguments.batch, compressed=arguments.gzip) for _ in range(arguments.repeat)
        ]
        return min(runs, key=lambda run: run.cpu_s)

    results = [best("embedded"), best("pass-through"), measure_parser(arguments.points, arguments.batch)]
    if arguments.json:
        print(json.dumps({"machine": _machine(), "results": [asdict(result) for result in results]}))
        return
    for result in results:
        sys.stdout.write(
            f"{result.way:13} {result.points_per_s_per_core:>10,} points/s per core   {result.us_per_point:6.2f} us CPU/point   "
            f"{result.points / result.wall_s:>10,.0f} points/s on this machine\n"
        )


if __name__ == "__main__":
    main()
