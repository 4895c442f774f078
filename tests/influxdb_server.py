"""A real InfluxDB 2.x server for tests: an existing one by URL, or our own process in a temporary folder.

Looked for in this order: `ANDON_TEST_INFLUXDB_URL` (with `ANDON_TEST_INFLUXDB_TOKEN` and `ANDON_TEST_INFLUXDB_ORG` where it is
set up already), `influxd` on PATH, `influxd` in the cache folder that `make influxd` fills. Use the fixture with

    from influxdb_server import influxdb_server  # noqa: F401  # a fixture

in a conftest.py, and make a bucket of your own for each test: `influxdb_server.create_bucket()`.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest
from parts import require_part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

HOW = "make influxd"
# Made once: loading the certificates takes longer than most requests here.
_TLS = ssl.create_default_context()
_START_LIMIT_S = 60
_STOP_LIMIT_S = 20


def find_influxd() -> Path | None:
    """The server's program, on PATH or in the cache folder; None if there is none."""
    on_path = shutil.which("influxd")
    if on_path is not None:
        return Path(on_path)
    cache = Path(os.environ.get("ANDON_CACHE") or Path.home() / ".cache" / "andon")
    cached = cache / "bin" / "influxd"
    return cached if os.access(cached, os.X_OK) else None


@dataclass(frozen=True, slots=True)
class InfluxServer:
    """A server that is set up: its address, a token that may do everything, and the organization."""

    url: str
    token: str
    org: str

    def create_bucket(self, name: str | None = None) -> str:
        """Make a bucket that keeps everything; returns its name."""
        name = name or f"test-{secrets.token_hex(6)}"
        found = self.request("GET", "/api/v2/orgs", params={"org": self.org})
        bucket = {"orgID": found["orgs"][0]["id"], "name": name, "retentionRules": []}
        self.request("POST", "/api/v2/buckets", json=bucket)
        return name

    def request(self, method: str, path: str, **arguments: Any) -> Any:
        """Call the server's API; returns the JSON of the answer, or None if it is empty."""
        headers = {"Authorization": f"Token {self.token}"}
        response = httpx.request(method, self.url + path, headers=headers, timeout=30, verify=_TLS, **arguments)
        response.raise_for_status()
        return response.json() if response.content else None


class InfluxProcess:
    """Our own influxd in `folder`, on a free loopback port; a context manager. The data stays when it is killed.

    Args:
        folder: Where its files and its log (`influxd.log`) go; may hold those of an earlier process.
        program: See `find_influxd`.
        port: 0 for a free one; another one to come back where an earlier process was.
    """

    def __init__(self, folder: Path, program: Path, port: int = 0) -> None:
        self._folder = folder
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "influxd.log"
        self.port = port
        self.token = secrets.token_hex(16)
        self.org = "andon"

    @property
    def server(self) -> InfluxServer:
        """How to reach it."""
        return InfluxServer(f"http://127.0.0.1:{self.port}", self.token, self.org)

    @property
    def pid(self) -> int:
        """The process id; only while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it answers; sets it up the first time. Again after `kill`: same port, same data."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    self._program,
                    "run",
                    f"--bolt-path={self._folder / 'influxd.bolt'}",
                    f"--sqlite-path={self._folder / 'influxd.sqlite'}",
                    f"--engine-path={self._folder / 'engine'}",
                    f"--http-bind-address=127.0.0.1:{self.port}",
                    "--reporting-disabled",
                    "--log-level=info",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
            )
        try:
            self._wait_until_ready()
            setup = httpx.get(f"{self.server.url}/api/v2/setup", timeout=10, verify=_TLS).json()
            if setup["allowed"]:
                set_up(self.server)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End it like a power cut: SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_LIMIT_S)
            self._process = None

    def stop(self) -> None:
        """End it in good order; by force when that takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        limit = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < limit:
            if self._process.poll() is not None:
                break
            listening = _find_port(self._log.read_text("utf-8", "replace"))
            if listening is not None:
                self.port = listening
                if _passes(self.server.url):
                    return
            time.sleep(0.02)
        raise RuntimeError(
            f"influxd did not start; its log ends with:\n{self._log.read_text('utf-8', 'replace')[-2000:]}"
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _find_port(log: str) -> int | None:
    for line in log.splitlines():
        if line.startswith("{"):
            entry = json.loads(line) if line.endswith("}") else {}
            if entry.get("msg") == "Listening" and entry.get("transport") == "http":
                return int(entry["port"])
        elif "Listening" in line and (match := re.search(r"transport=http.*port=(\d+)", line)):
            return int(match[1])
    return None


def _passes(url: str) -> bool:
    try:
        return bool(httpx.get(f"{url}/health", timeout=2, verify=_TLS).json().get("status") == "pass")
    except (httpx.HTTPError, ValueError):
        return False


def set_up(server: InfluxServer) -> None:
    """First user, organization and token of a new server."""
    first = {
        "username": "andon",
        "password": secrets.token_hex(16),
        "org": server.org,
        "bucket": "andon",
        "token": server.token,
    }
    httpx.post(f"{server.url}/api/v2/setup", json=first, timeout=30, verify=_TLS).raise_for_status()


def _existing(url: str) -> InfluxServer:
    """The server that the environment names; a new one is set up."""
    url = url.rstrip("/")
    token = os.environ.get("ANDON_TEST_INFLUXDB_TOKEN") or secrets.token_hex(16)
    server = InfluxServer(url, token, os.environ.get("ANDON_TEST_INFLUXDB_ORG", "andon"))
    if httpx.get(f"{url}/api/v2/setup", timeout=10, verify=_TLS).json()["allowed"]:
        set_up(server)
    return server


def require_influxd() -> Path:
    """The server's program; skips the test where there is none."""
    program = find_influxd()
    require_part("influxdb", found=program is not None, how=HOW)
    assert program is not None
    return program


@pytest.fixture(scope="session")
def influxdb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    """One server for the whole session; tests keep apart by buckets."""
    url = os.environ.get("ANDON_TEST_INFLUXDB_URL")
    if url:
        yield _existing(url)
        return
    program = require_influxd()
    with InfluxProcess(tmp_path_factory.mktemp("influxdb"), program) as process:
        yield process.server
