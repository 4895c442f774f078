"""Runs the real gateway as a process of its own, to be killed and started again on the same ports and disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from typing import TYPE_CHECKING

from gateway.stand_in_cloud import GATEWAY, TOKEN

from andon_workbench.ports import lasting_port

if TYPE_CHECKING:
    from pathlib import Path


class GatewayProcess:
    """One gateway; all its starts are on the same ports."""

    def __init__(
        self,
        folder: Path,
        cloud_url: str,
        extra: str = "",
        *,
        unprotected: str | None = "*",
        fast_path: bool = True,
        workers: int = 1,
    ) -> None:
        self.state_dir = folder / "state"
        self.config = folder / "gateway.toml"
        self._cloud_url = cloud_url
        self._extra = extra
        self._unprotected = (
            ""
            if unprotected is None
            else f"allow_unprotected = {unprotected if unprotected[0] == '[' else json.dumps(unprotected)}\n"
        )
        self._fast_path = "" if fast_path else "fast_path = false\n"
        self._workers = "" if workers == 1 else f"workers = {workers}\n"
        # Ports that nobody else is given while the gateway is dead.
        self.coap_port = lasting_port()
        self.http_port = lasting_port()
        self.log = folder / "gateway.log"
        self.gateway_section = ""
        self.environment: dict[str, str] = {}
        """Beside what the tests themselves have."""
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def database(self) -> Path:
        return self.state_dir / "gateway.sqlite3"

    def start(self) -> GatewayProcess:
        self.config.write_text(
            f'[gateway]\nid = "{GATEWAY}"\nstate_dir = "{self.state_dir}"\ndrain_s = 30\n{self.gateway_section}'
            f'[coap]\nbind = "127.0.0.1"\nport = {self.coap_port}\n{self._unprotected}{self._fast_path}{self._workers}[http]\nport = {self.http_port}\n'
            f'[cloud]\nurl = "{self._cloud_url}"\n[uplink]\nretry_first_s = 0.05\nretry_most_s = 0.2\n'
            f"refused_s = 0.3\n{self._extra}"
        )
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "andon_gateway", "run", "--config", str(self.config)],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "ANDON_GATEWAY_TOKEN": TOKEN, **self.environment},
                text=True,
            )
        assert self._process.stdout is not None
        watchdog = threading.Timer(60, self._process.kill)
        watchdog.start()
        line = self._process.stdout.readline()
        watchdog.cancel()
        assert line.startswith("ready "), f"the gateway did not start: {self.log.read_text()}"
        pairs = dict(item.split("=", 1) for item in line.split()[1:])
        self.coap_port = int(pairs["coap"].rpartition(":")[2])
        self.http_port = int(pairs["http"].rpartition(":")[2])
        return self

    def kill(self) -> None:
        """A power cut for this process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._close()

    def terminate(self) -> int:
        """Ask it to stop; gives the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(90)
        self._close()
        return status

    def _close(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=30) as response:
            return str(response.read().decode())

    def metric(self, name: str) -> float:
        for line in self.get("/metrics").splitlines():
            if line.startswith(f"andon_gateway_{name} "):
                return float(line.split()[1])
        raise AssertionError(f"no metric {name}")
