"""From a node's sending to the moment when the cloud's query API shows the reading, with the real gateway and the real cloud."""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx

from bench.gateway import andon, fleet
from bench.gateway.andon import wait_until
from bench.gateway.costs import drop_frames, prepare
from bench.gateway.load import Generator, LoadError, even_schedule, percentile
from bench.gateway.processes import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.gateway.costs import Rig

NODES: Final = 50
LOAD_PER_S: Final = 500
LOAD_S: Final = 12.0
PROBE_EVERY_S: Final = 0.05
LOOK_EVERY_S: Final = 0.004
_PROBE: Final = 0
"""This node's packs are the ones that are looked for; the others are the load."""


@contextmanager
def run_cloud(folder: Path, core: int) -> Iterator[str]:
    """`andon-cloud serve` with the embedded store; gives its address.

    Raises:
        ServerError: It does not start.
    """
    environment = {
        "ANDON_CLOUD_PORT": "0",
        "ANDON_CLOUD_DATA_DIR": str(folder / "cloud"),
        "ANDON_CLOUD_LOG_LEVEL": "warning",
        "ANDON_CLOUD_CONSOLE": "false",
        "ANDON_CLOUD_BOOTSTRAP_GATEWAYS": f"{andon.GATEWAY}:{andon.TOKEN}",
    }
    command = [sys.executable, "-m", "andon_cloud.cli", "serve"]
    with ServerProcess("andon-cloud", command, core, folder / "cloud.log", environment) as process:
        yield f"http://{process.ready()['http']}"


def _mount(url: str, node: str) -> None:
    machine = {"id": node, "name": node, "site": "bench", "area": "a1", "line": "l1"}
    for path, body in (("machines", machine), ("nodes", {"id": node, "machine_id": node, "gateway_id": andon.GATEWAY})):
        httpx.post(f"{url}/api/v1/{path}", json=body, timeout=30).raise_for_status()


class _Watcher(threading.Thread):
    """Asks the cloud for the newest reading of one node, again and again, and notes when each time was first seen."""

    def __init__(self, url: str, node: str) -> None:
        super().__init__(daemon=True)
        self._host = url.removeprefix("http://")
        self._path = f"/api/v1/telemetry/latest?measurement=temperature&node={node}&channel=0"
        self.seen: list[tuple[int, float]] = []
        """(time of the newest reading in ms, when the answer that showed it was there)."""
        self.going_on = True

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=30)
        while self.going_on:
            connection.request("GET", self._path)
            found: dict[str, Any] = json.loads(connection.getresponse().read())
            now = time.perf_counter()
            for series in found["series"]:
                newest = int(series["samples"][-1][0])
                if not self.seen or newest > self.seen[-1][0]:
                    self.seen.append((newest, now))
            time.sleep(LOOK_EVERY_S)
        connection.close()


def event_to_queryable(rig: Rig) -> dict[str, float]:
    """Milliseconds, p50 and p99, under a load of 500 packs (4,000 points) a second.

    Raises:
        LoadError: A reading was never seen, or the gateway refused packs.
    """
    folder = rig.folder / "andon-queryable"
    folder.mkdir()
    names = fleet.names(NODES)
    with ExitStack() as stack:
        url = stack.enter_context(run_cloud(folder, rig.cores[0]))
        gateway = stack.enter_context(andon.run_gateway(folder, rig.cores[1], url))
        for name in names:
            _mount(url, name)
        nodes = fleet.plain_nodes(NODES, gateway.coap)
        _load(nodes, 1.0)  # a warm-up
        gateway.wait_for("nodes_unknown", 0)
        watcher = _Watcher(url, names[_PROBE])
        watcher.start()
        events = _load(nodes, LOAD_S)
        _wait_until_seen(watcher, events[-1][0])
        fleet.close(nodes)
    latencies = _latencies_ms(events, watcher.seen)
    result = {"p50": percentile(latencies, 0.5), "p99": percentile(latencies, 0.99)}
    rig.say(
        f"event to queryable: {len(latencies)} readings, p50 {result['p50']:.0f} ms, p99 {result['p99']:.0f} ms, "
        f"asked about every {LOOK_EVERY_S * 1000:.0f} ms, {LOAD_PER_S} packs/s beside"
    )
    return result


def _load(nodes: list[fleet.PlainNode], seconds: float) -> list[tuple[int, float]]:
    """Send the load and the probe's packs; gives (time in the pack, moment at which it was to be sent) of the probe's."""
    probe, others = nodes[_PROBE], [node for position, node in enumerate(nodes) if position != _PROBE]
    drop_frames(nodes)
    count = int(seconds / PROBE_EVERY_S)
    first_ms = probe.source.next_ms
    probe.prepare(count)
    prepare(others, LOAD_PER_S * seconds + len(others))
    plan = even_schedule([node.lane for node in others], LOAD_PER_S, seconds)
    plan += [(number * PROBE_EVERY_S, probe.lane) for number in range(count)]
    plan.sort(key=lambda item: item[0])
    with closing(Generator([node.lane for node in nodes])) as generator:
        tally = generator.pace(plan)
    if tally.others:
        raise LoadError(f"the gateway refused packs: {dict(tally.others)}")
    return [(first_ms + number, tally.begin + number * PROBE_EVERY_S) for number in range(count)]


def _wait_until_seen(watcher: _Watcher, last_ms: int) -> None:
    wait_until(lambda: bool(watcher.seen) and watcher.seen[-1][0] >= last_ms, "the last reading at the query API", 10)
    watcher.going_on = False
    watcher.join()


def _latencies_ms(events: list[tuple[int, float]], seen: list[tuple[int, float]]) -> list[float]:
    """A reading was queryable when the first answer came that showed it or a newer one of its node."""
    latencies, looks = [], iter(seen)
    newest_ms, moment = next(looks)
    for time_ms, event in events:
        while newest_ms < time_ms:
            newest_ms, moment = next(looks)
        latencies.append((moment - event) * 1000)
    return latencies
