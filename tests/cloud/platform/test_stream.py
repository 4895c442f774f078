"""The gateway's stream from a real server process: order, resume, several processes, and endings."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cloud.platform.harness import GATEWAY_TOKEN, LIMIT_S, servers, wait_until
from httpx_sse import EventSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cloud.platform.harness import ServerProcess, StartServer

WISH = {"state": True, "lease_s": 60, "reason": "test", "expires_s": 60}
PLACE = {"site": "demo", "area": "a1", "line": "l1"}
# Made once: loading the certificates takes longer than most requests here.
TLS = ssl.create_default_context()


class Follower:
    """A gateway's stream read in a thread."""

    def __init__(self, response: httpx.Response) -> None:
        self.events: list[tuple[str, str, Any]] = []
        self.ended = threading.Event()
        self._response = response
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        try:
            for event in EventSource(self._response).iter_sse():
                self.events.append((event.event, event.id, json.loads(event.data)))
        except httpx.HTTPError:
            return  # cut off, by the test or by the server
        finally:
            self.ended.set()

    def cut(self) -> None:
        """End the connection; closing it alone would not wake the thread that reads."""
        connection: socket.socket = self._response.extensions["network_stream"].get_extra_info("socket")
        with suppress(OSError):  # the server may have been first
            connection.shutdown(socket.SHUT_RDWR)

    def commands(self) -> list[str]:
        return [identity for name, identity, _ in self.events if name == "command"]

    def assets(self) -> list[dict[str, Any]]:
        return [data for name, _, data in self.events if name == "assets"]


@dataclass
class Factory:
    """One gateway of a server, and the calls that people and this gateway make."""

    server: ServerProcess
    gateway: str = "gw-1"
    token: str = GATEWAY_TOKEN

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.server.url, timeout=LIMIT_S, verify=TLS)
        self.headers = {"Authorization": f"Token {self.token}"}
        self.path = f"/api/v1/gateways/{self.gateway}"

    def post(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        answer = self.http.post(path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def register(self, machine: str) -> None:
        self.post("/api/v1/machines", {"id": machine, "name": machine} | PLACE)
        self.post("/api/v1/nodes", {"id": machine, "machine_id": machine, "gateway_id": self.gateway})

    def issue(self, machine: str, **changes: Any) -> dict[str, Any]:
        command: dict[str, Any] = self.post(f"/api/v1/machines/{machine}/relays/0/commands", WISH | changes)
        return command

    def report(self, command: str, state: str) -> None:
        body = {"state": state, "at_ms": time.time_ns() // 1_000_000, "contact": None, "detail": ""}
        self.post(f"{self.path}/commands/{command}/events", body, self.headers)

    def status(self, command: str) -> str:
        found: str = self.http.get(f"/api/v1/commands/{command}").json()["status"]
        return found

    @contextmanager
    def following(self) -> Iterator[Follower]:
        with self.http.stream("GET", f"{self.path}/stream", headers=self.headers) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            follower = Follower(response)
            yield follower
            follower.cut()
            assert follower.ended.wait(LIMIT_S)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server for the tests that need nothing special, each with its own gateway.

    It polls once a minute, so whatever arrives sooner arrives by the wake-up inside the process.
    """
    with servers(tmp_path_factory.mktemp("shared")) as start:
        yield start(command_poll_s="60")


@pytest.fixture
def factory(shared: ServerProcess, request: pytest.FixtureRequest) -> Factory:
    """A gateway of its own on the shared server."""
    gateway = f"gw-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]}"
    made = Factory(shared).post("/api/v1/gateways", {"id": gateway, "name": gateway})
    return Factory(shared, gateway, made["token"])


def test_assets_first_then_open_commands_oldest_first_then_what_happens(factory: Factory) -> None:
    factory.register("order-1")
    first, second, done = (factory.issue("order-1") for _ in range(3))
    factory.report(second["id"], "acknowledged")  # not final: a gateway that lost its memory hears of it again
    factory.report(done["id"], "failed")
    with factory.following() as stream:
        wait_until(lambda: len(stream.events) >= 4)
        assert stream.events[0] == ("assets", "", {"version": 2, "nodes": {"order-1": PLACE | {"machine": "order-1"}}})
        assert stream.commands() == [first["id"], second["id"]]
        assert stream.events[1] == ("credentials", "", {"version": 2, "nodes": {}})
        assert stream.events[2][2] == {
            "id": first["id"],
            "node": "order-1",
            "relay": 0,
            "state": True,
            "lease_s": 60,
            "expires_ms": first["expires_ms"],
        }
        third = factory.issue("order-1")
        wait_until(lambda: third["id"] in stream.commands(), 10)
        factory.register("order-2")
        wait_until(lambda: len(stream.assets()) >= 2, 10)
        assert set(stream.assets()[-1]["nodes"]) == {"order-1", "order-2"}
        assert stream.commands() == [first["id"], second["id"], third["id"]], "something was sent twice"


def test_a_reconnect_repeats_what_is_open_and_nothing_else(factory: Factory) -> None:
    factory.register("again-1")
    first, second = factory.issue("again-1"), factory.issue("again-1")
    with factory.following() as stream:
        wait_until(lambda: len(stream.commands()) == 2)
    factory.report(first["id"], "expired")
    with factory.following() as again:
        wait_until(lambda: len(again.events) >= 3)
        assert again.commands() == [second["id"]]


def test_a_new_token_ends_the_stream_of_the_old_one(factory: Factory) -> None:
    with factory.following() as stream:
        wait_until(lambda: len(stream.events) > 0)
        factory.post(f"{factory.path}/token", {})
        assert stream.ended.wait(LIMIT_S)
    assert factory.http.get(f"{factory.path}/stream", headers=factory.headers).status_code == 401


def test_a_kill_loses_no_command(start_server: StartServer, tmp_path: Path) -> None:
    data = str(tmp_path / "kept")
    before = Factory(start_server(data_dir=data))
    before.register("press-7")
    command = before.issue("press-7")
    before.server.stop(signal.SIGKILL)
    with Factory(start_server(data_dir=data)).following() as stream:
        wait_until(lambda: stream.commands() == [command["id"]])


def test_late_comers_get_no_expired_command_and_silence_is_kept_alive(start_server: StartServer) -> None:
    factory = Factory(start_server(command_poll_s="0.05", stream_keepalive_s="0.1"))
    factory.register("press-7")
    late, good = factory.issue("press-7", expires_s=1), factory.issue("press-7")
    wait_until(lambda: factory.status(late["id"]) == "expired")
    with factory.http.stream("GET", f"{factory.path}/stream", headers=factory.headers) as response:
        lines: list[str] = []
        for line in response.iter_lines():
            lines.append(line)
            if line.startswith(":"):
                break
        assert [line for line in lines if line.startswith("id:")] == [f"id: {good['id']}"]
        assert lines[-2:] == ["", ": keep-alive"], "a comment alone must not look like an event"


def test_a_command_given_to_one_process_reaches_a_stream_of_another(
    start_server: StartServer, database_url: str
) -> None:
    one, other = (Factory(start_server(database_url=database_url, command_poll_s="0.1")) for _ in range(2))
    one.register("press-7")
    with other.following() as stream:
        wait_until(lambda: len(stream.events) > 0)
        command = one.issue("press-7")
        wait_until(lambda: stream.commands() == [command["id"]])
        other.report(command["id"], "acknowledged")
        assert one.status(command["id"]) == "acknowledged"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_open_streams_do_not_hold_up_the_end(start_server: StartServer, number: signal.Signals) -> None:
    server = start_server(command_poll_s="60")
    with Factory(server).following() as stream:
        wait_until(lambda: len(stream.events) > 0)
        assert server.stop(number) == 0
        assert stream.ended.wait(LIMIT_S)
    said = server.log.read_text()
    assert "Traceback" not in said
    assert "graceful shutdown exceeded" not in said, "uvicorn had to cancel the stream at the end of its patience"
