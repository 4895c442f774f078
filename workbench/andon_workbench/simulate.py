"""`andon simulate`: emulated boards and their machines against a gateway that exists already."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from andon_workbench.checkout import find_checkout
from andon_workbench.cloud_api import CloudApi
from andon_workbench.emulated_nodes import EmulatedNodes
from andon_workbench.errors import WorkbenchError
from andon_workbench.live import show_status
from andon_workbench.plan import SAMPLE_MS, places
from andon_workbench.scratch import scratch_folder
from andon_workbench.world.sensor_faults import FaultRates

if TYPE_CHECKING:
    from rich.console import Console

_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """What the person asked for."""

    gateway: str
    cloud: str | None
    token: str | None
    gateway_id: str
    nodes: int
    seed: int
    keep: bool = False


def parse_address(text: str) -> tuple[str, int]:
    """Split HOST:PORT.

    Raises:
        WorkbenchError: it is something else.
    """
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdecimal() or not 0 < int(port) <= _MAX_PORT:
        raise WorkbenchError(f"--gateway {text}: expected HOST:PORT, for example 127.0.0.1:5683")
    return host.strip("[]"), int(port)


async def run_simulation(options: SimulateOptions, console: Console) -> None:
    """Run until cancelled.

    Raises:
        WorkbenchError: bad address, missing part, or the cloud refuses a registration.
    """
    host, port = parse_address(options.gateway)
    checkout = find_checkout()
    keys: dict[str, dict[str, str]] = {}
    if options.cloud is not None:
        async with CloudApi(options.cloud, options.token) as api:
            await _register_missing(api, options)
            for place in places(options.nodes):
                keys[place.name] = await api.make_keys(place.name)
    with scratch_folder(console, keep=options.keep) as folder:
        async with EmulatedNodes(
            folder,
            checkout,
            places(options.nodes),
            seed=options.seed,
            sample_ms=SAMPLE_MS,
            faults=FaultRates(),
            keys=keys,
        ) as nodes:
            await nodes.start((_resolve(host), port))
            console.print(f"{options.nodes} emulated nodes report to {options.gateway}; logs in {folder}; Ctrl-C stops")
            status = asyncio.create_task(show_status(console, lambda: _status(nodes)))
            try:
                while True:
                    nodes.check()
                    await asyncio.sleep(0.5)
            finally:
                status.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await status


async def _register_missing(api: CloudApi, options: SimulateOptions) -> None:
    known = {machine["id"]: machine for machine in await api.machines()}
    for place in places(options.nodes):
        if place.name not in known:
            await api.register_machine(place.machine_document())
        if place.name not in known.get(place.name, {}).get("nodes", []):
            await api.register_node(place.name, place.name, options.gateway_id)


def _resolve(host: str) -> str:
    """Numeric IPv4 address: an emulated board has no resolver of its own."""
    try:
        return str(socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_DGRAM)[0][4][0])
    except OSError as error:
        raise WorkbenchError(f"--gateway: {host} is not known here ({error.strerror})") from error


def _status(nodes: EmulatedNodes) -> str:
    running = sum(board.pid is not None for board in nodes.boards.values())
    ledger = nodes.world.ledger
    return f"nodes {running}/{len(nodes.boards)} · readings {ledger.taken} · cycles {ledger.cycles}"
