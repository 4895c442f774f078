"""The real gateway: `andon-gateway run` with its spool on a real disk, in front of a stand-in cloud or the real one."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import httpx

from bench.gateway.processes import ServerError, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

GATEWAY: Final = "bench-gateway"
TOKEN: Final = "bench-gateway-token-0123"  # noqa: S105  # of servers that live for a minute on loopback
WAIT_LIMIT_S: Final = 60.0
_HTTP_LIMIT_S: Final = 30.0

TOML: Final = """\
[gateway]
id = "{gateway}"
state_dir = "{folder}/state"
drain_s = 2

[coap]
bind = "127.0.0.1"
port = 0
workers = {workers}
allow_unprotected = "*"

[http]
port = 0

[cloud]
url = "{cloud}"
"""
FACTORY: Final = ""
"""The limits that a gateway has by itself."""
UNLIMITED: Final = """
# Far above what a plant allows, since few sockets play many nodes here at full speed: no limit of rate, room for all, and no remark
# about clocks (the packs are built, and stamped, before they are sent).
[nodes]
most = 50000
most_unknown = 50000
packs_per_s = 0
clock_limit_s = 86400
"""


class AndonGateway:
    """One running gateway with the cloud behind it.

    Attributes:
        process: The gateway, with all its threads and workers.
        coap: Where it listens.
        cloud_url: The cloud's address.
    """

    def __init__(self, process: ServerProcess, cloud_url: str, log: Path) -> None:
        self.process = process
        self.cloud_url = cloud_url
        self.log = log
        ready = process.ready()
        host, _, port = ready["coap"].rpartition(":")
        self.coap = (host, int(port))
        self._http = ready["http"]

    def metrics(self) -> dict[str, float]:
        """Values of /metrics by name, those with labels by name and labels."""
        lines = httpx.get(f"http://{self._http}/metrics", timeout=_HTTP_LIMIT_S).text.splitlines()
        pairs = (line.rpartition(" ")[::2] for line in lines if not line.startswith("#"))
        return {name.removeprefix("andon_gateway_"): float(value) for name, value in pairs}

    def wait_for(self, name: str, value: float) -> None:
        """Wait until a metric has a value.

        Raises:
            ServerError: It has not, after a minute.
        """
        wait_until(lambda: self.metrics().get(name) == value, f"the gateway's {name} to be {value:g}")

    def lines_at_cloud(self) -> int:
        """How many lines the stand-in cloud has taken."""
        return int(httpx.get(f"{self.cloud_url}/lines", timeout=_HTTP_LIMIT_S).text)

    def send_cloud_away(self) -> None:
        """From now on the stand-in answers writes with 503 and Retry-After 300: what is accepted waits in the spool."""
        httpx.post(f"{self.cloud_url}/away", timeout=_HTTP_LIMIT_S).raise_for_status()


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = WAIT_LIMIT_S) -> None:
    """Wait until a function gives something true.

    Raises:
        ServerError: It does not, within the limit.
    """
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"waited {limit_s:g} s for {what}")
        time.sleep(0.1)


@contextmanager
def run_gateway(
    folder: Path, core: int, cloud_url: str, toml: str = UNLIMITED, workers: int = 1
) -> Iterator[AndonGateway]:
    """`andon-gateway run` in a folder.

    Args:
        folder: Gets the configuration, the log and the spool; on a disk.
        core: The gateway's.
        cloud_url: Where it forwards to.
        toml: The rest of the configuration.
        workers: Processes that receive telemetry.
    """
    config, log = folder / "gateway.toml", folder / "gateway.log"
    config.write_text(TOML.format(gateway=GATEWAY, folder=folder, cloud=cloud_url, workers=workers) + toml)
    command = [sys.executable, "-m", "andon_gateway", "run", "--config", str(config)]
    with ServerProcess("andon-gateway", command, core, log, {"ANDON_GATEWAY_TOKEN": TOKEN}) as process:
        yield AndonGateway(process, cloud_url, log)


@contextmanager
def run_with_stand_in(
    folder: Path,
    cores: tuple[int, int],
    nodes: Sequence[str],
    keys: Mapping[str, Mapping[str, str]] | None = None,
    toml: str = UNLIMITED,
    workers: int = 1,
) -> Iterator[AndonGateway]:
    """The gateway in front of the stand-in cloud, which runs beside the generator; `nodes` are mounted.

    Raises:
        ServerError: Something did not start, or the gateway did not get the nodes' keys.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "cloud.json"
    table.write_text(json.dumps({"nodes": list(nodes), "keys": keys or {}}))
    command = [sys.executable, "-m", "bench.gateway.stand_in_cloud", str(table)]
    with contextlib.ExitStack() as stack:
        cloud = stack.enter_context(ServerProcess("stand-in cloud", command, cores[0], folder / "cloud.log"))
        url = f"http://{cloud.ready()['http']}"
        gateway = stack.enter_context(run_gateway(folder, cores[1], url, toml, workers))
        gateway.wait_for("nodes_with_keys", len(keys or {}))
        yield gateway
