"""A stand-in for the cloud: a real HTTP server with the endpoints that the gateway calls, and failures on demand."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

TOKEN = "stand-in-token"
GATEWAY = "gateway-1"
WriteRule = Callable[[list[str]], Response | None]


def wait_until(condition: Callable[[], object], what: str, limit_s: float = 60.0) -> None:
    """Wait for a condition, or fail with what was waited for."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit_s} s for: {what}")
        time.sleep(0.005)


def influx_error(status: int, code: str, message: str, retry_after: str | None = None) -> Response:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return JSONResponse({"code": code, "message": message}, status_code=status, headers=headers)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class StandInCloud:
    """Write endpoint, event stream and reports in a thread of its own.

    Attributes:
        points: Stored fields by (series, time): what an InfluxDB would hold; a repeated write changes nothing.
        writes: Number of requests to the write endpoint.
        rule: Answers a write instead of storing it, or None to store.
        quarantine: Reports about unknown nodes.
        reports: Reports in the order of arrival, (command, body).
        report_status: Answers to reports before 204, first to last.
        report_rule: Answers a report about this order with a status, or None to take it; `attempts` counts all by order.
        declared: Commands that rules issued at the gateway, as it told them.
        pulls: Number of requests for the rules.
        rules_status: What the gateway told about its rules, each time.
        bundles: Firmware by the SHA-256 under which it is asked for; `fetches` counts the requests.
        nodes: The newest report about each node.
        documents: Configurations by the id of their order.
    """

    def __init__(self, port: int = 0) -> None:
        self.points: dict[tuple[str, str], str] = {}
        self.arrived: dict[tuple[str, str], float] = {}
        self.writes = 0
        self.encodings: set[str] = set()
        self.queries: set[str] = set()
        self.rule: WriteRule | None = None
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.quarantine: list[dict[str, Any]] = []
        self.report_status: list[int] = []
        self.report_rule: Callable[[str], int | None] = lambda _order: None
        self.attempts: Counter[str] = Counter()
        self.declared: dict[str, dict[str, Any]] = {}
        self.pulls = 0
        self.rules_status: list[dict[str, Any]] = []
        self.stream_status: list[int] = []
        self.bundles: dict[str, bytes] = {}
        self.fetches = 0
        self.documents: dict[str, bytes] = {}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.progress: list[tuple[str, dict[str, Any]]] = []
        self._updates: list[dict[str, Any]] = []
        self._configurations: list[dict[str, Any]] = []
        self.streams = 0
        self._assets: dict[str, dict[str, str]] = {}
        self._keys: dict[str, dict[str, str]] = {}
        self._rules: tuple[int, str] | None = None
        self._commands: list[dict[str, Any]] = []
        self._queues: list[asyncio.Queue[str | None]] = []
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        base = "/api/v1/gateways/{gateway}"
        app = Starlette(
            routes=[
                Route("/api/v2/write", self._write_entry, methods=["POST"]),
                Route(f"{base}/stream", self._stream),
                Route(f"{base}/quarantine", self._take_quarantine, methods=["POST"]),
                Route(f"{base}/commands/{{id}}/events", self._report, methods=["POST"]),
                Route(f"{base}/commands/{{id}}", self._declare, methods=["PUT"]),
                Route(f"{base}/rules", self._pull),
                Route(f"{base}/rules/status", self._take_rules_status, methods=["PUT"]),
                Route(f"{base}/updates/{{id}}/events", self._report, methods=["POST"]),
                Route(f"{base}/updates/{{id}}/progress", self._take_progress, methods=["POST"]),
                Route(f"{base}/firmware/{{sha256}}", self._firmware),
                Route(f"{base}/configurations/{{id}}/events", self._report, methods=["POST"]),
                Route(f"{base}/configurations/{{id}}", self._document),
                Route(f"{base}/nodes", self._take_nodes, methods=["POST"]),
            ]
        )
        config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        self._server = _Server(config)
        self._write_now: Callable[[Request], Awaitable[Response]] = self._write
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="stand-in cloud", daemon=True)

    def start(self) -> StandInCloud:
        self._thread.start()
        wait_until(lambda: self._server.started, "the stand-in cloud to serve")
        return self

    def stop(self) -> None:
        self.drop_streams()
        self._server.should_exit = True
        self._thread.join(60)

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[self._socket])

        asyncio.run(serve())

    # --- what tests do ---------------------------------------------------------------------------------------------
    def mount(self, *nodes: str) -> None:
        """Give nodes an asset and tell the gateway."""
        for node in nodes:
            self._assets[node] = {"site": "demo", "area": "a1", "line": "l1", "machine": f"m-{node}"}
        self._emit(self._assets_event())

    def give_keys(self, **nodes: dict[str, str]) -> None:
        """Set the whole table of keys (underscores in names stand for hyphens) and tell the gateway."""
        self._keys = {name.replace("_", "-"): keys for name, keys in nodes.items()}
        self._emit(self._keys_event())

    def use_rules(self, version: int, *rules: dict[str, Any]) -> None:
        """Have another rule document and tell the gateway."""
        self._rules = (version, json.dumps({"version": version, "rules": rules}))
        self._emit(self._rules_event())

    def command(self, **fields: Any) -> None:
        """Issue a command; it is sent again at every connect until it is settled."""
        self._commands.append(fields)
        self._emit(self._command_event(fields))

    def order_updates(self, *updates: dict[str, Any]) -> None:
        """Set the whole list of open updates and tell the gateway."""
        self._updates = list(updates)
        self._emit(self._updates_event())

    def order_configurations(self, *configurations: dict[str, Any]) -> None:
        """Set the whole list of open configurations and tell the gateway."""
        self._configurations = list(configurations)
        self._emit(self._configurations_event())

    def resend(self, **fields: Any) -> None:
        self._emit(self._command_event(fields))

    def replace_write(self, handler: Callable[[Request], Awaitable[Response]]) -> None:
        """Put another handler in front of the write endpoint."""
        self._write_now = handler

    def call(self, function: Callable[[], object]) -> None:
        """Run something in the server's event loop."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(function)

    def raw_event(self, text: str) -> None:
        self._emit(text)

    def drop_streams(self) -> None:
        """End all open streams, as a restart of the cloud would."""
        self._emit(None)

    def reported(self, command: str) -> list[str]:
        return [body["state"] for name, body in self.reports if name == command]

    def values(self, measurement: str, field: str) -> list[tuple[int, str]]:
        """(time, value) of one field, by time."""
        found = []
        for (series, stamp), fields in self.points.items():
            if series.split(",")[0] == measurement:
                found += [(int(stamp), part.partition("=")[2]) for part in fields.split(",") if part.startswith(field)]
        return sorted(found)

    # --- HTTP ------------------------------------------------------------------------------------------------------
    def _allowed(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Token {TOKEN}"

    async def _write_entry(self, request: Request) -> Response:
        return await self._write_now(request)

    async def _write(self, request: Request) -> Response:
        self.writes += 1
        if not self._allowed(request):
            return influx_error(401, "unauthorized", "unauthorized access")
        body = await request.body()
        self.encodings.add(request.headers.get("content-encoding", "identity"))
        self.queries.add(str(request.url.query))
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        lines = body.decode().splitlines()
        answer = self.rule(lines) if self.rule else None
        if answer is not None:
            return answer
        for line in lines:
            series, fields, stamp = line.split(" ")
            self.points[series, stamp] = fields
            self.arrived.setdefault((series, stamp), time.time())
        return Response(status_code=204)

    async def _take_quarantine(self, request: Request) -> Response:
        self.quarantine.append(await request.json())
        return Response(status_code=204)

    async def _take_progress(self, request: Request) -> Response:
        self.progress.append((request.path_params["id"], await request.json()))
        return Response(status_code=204)

    async def _take_nodes(self, request: Request) -> Response:
        self.nodes.update({item["node"]: item for item in (await request.json())["nodes"]})
        return Response(status_code=204)

    async def _firmware(self, request: Request) -> Response:
        self.fetches += 1
        sha256 = request.path_params["sha256"]
        if not self._allowed(request) or sha256 not in self.bundles:
            return Response(status_code=404)
        return Response(self.bundles[sha256], headers={"ETag": f'"{sha256}"'})

    async def _document(self, request: Request) -> Response:
        self.fetches += 1
        document = self.documents.get(request.path_params["id"])
        return Response(status_code=404) if document is None else Response(document)

    async def _report(self, request: Request) -> Response:
        body = await request.json()
        order = request.path_params["id"]
        self.attempts[order] += 1
        if self.report_status:
            return Response(status_code=self.report_status.pop(0))
        status = self.report_rule(order)
        if status is not None:
            return Response(status_code=status)
        self.reports.append((order, body))
        return Response(status_code=204)

    async def _declare(self, request: Request) -> Response:
        self.declared[request.path_params["id"]] = await request.json()
        return Response(status_code=204)

    async def _take_rules_status(self, request: Request) -> Response:
        self.rules_status.append(await request.json())
        return Response(status_code=204)

    async def _pull(self, request: Request) -> Response:
        self.pulls += 1
        if self._rules is None or not self._allowed(request):
            return Response(status_code=404 if self._allowed(request) else 401)
        etag = f'"{self._rules[0]}"'
        known = request.headers.get("if-none-match") == etag
        return Response("" if known else self._rules[1], 304 if known else 200, {"etag": etag})

    async def _stream(self, request: Request) -> Response:
        if not self._allowed(request):
            return Response(status_code=401)
        if self.stream_status:
            return Response(status_code=self.stream_status.pop(0))
        self.streams += 1
        events: asyncio.Queue[str | None] = asyncio.Queue()
        events.put_nowait(self._assets_event())
        for there, event in (
            (self._keys, self._keys_event),
            (self._rules, self._rules_event),
            (self._updates, self._updates_event),
            (self._configurations, self._configurations_event),
        ):
            if there:
                events.put_nowait(event())
        final = {"acknowledged", "expired", "failed"}
        for command in self._commands:
            if not final & set(self.reported(command["id"])):
                events.put_nowait(self._command_event(command))
        self._queues.append(events)

        async def body() -> AsyncIterator[str]:
            while (event := await events.get()) is not None:
                yield event

        return StreamingResponse(body(), media_type="text/event-stream")

    def _assets_event(self) -> str:
        return f"event: assets\ndata: {json.dumps({'version': 1, 'nodes': self._assets})}\n\n"

    def _keys_event(self) -> str:
        return f"event: credentials\ndata: {json.dumps({'version': 1, 'nodes': self._keys})}\n\n"

    def _rules_event(self) -> str:
        version = self._rules[0] if self._rules else 0
        return f"event: rules\ndata: {json.dumps({'version': version, 'etag': f'{chr(34)}{version}{chr(34)}'})}\n\n"

    def _updates_event(self) -> str:
        return f"event: updates\ndata: {json.dumps({'updates': self._updates})}\n\n"

    def _configurations_event(self) -> str:
        return f"event: configurations\ndata: {json.dumps({'configurations': self._configurations})}\n\n"

    @staticmethod
    def _command_event(command: dict[str, Any]) -> str:
        return f"event: command\nid: {command.get('id')}\ndata: {json.dumps(command)}\n\n"

    def _emit(self, event: str | None) -> None:
        if self._loop is None or self._loop.is_closed():
            return

        def put() -> None:
            for events in self._queues:
                events.put_nowait(event)
            if event is None:
                self._queues.clear()

        done = threading.Event()
        self._loop.call_soon_threadsafe(put)
        self._loop.call_soon_threadsafe(done.set)
        assert done.wait(60), "the stand-in cloud hangs"
