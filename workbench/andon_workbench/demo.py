"""`andon demo`: runs a factory, shows how it goes, and reconciles store and ledger in the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from andon_workbench.checkout import find_checkout
from andon_workbench.factory import Factory
from andon_workbench.latency import latencies_ms
from andon_workbench.live import show_status
from andon_workbench.ports import require_free_tcp, require_free_udp
from andon_workbench.probe import VisibilityProbe
from andon_workbench.scratch import scratch_folder
from andon_workbench.summary import Summary, refused_reads
from andon_workbench.traffic import CommandTraffic

if TYPE_CHECKING:
    from rich.console import Console

    from andon_workbench.plan import FactoryPlan

START_LIMIT_S = 60.0
# Without loss the pipeline is empty in seconds; with loss a CoAP exchange may need all of its repeats (RFC 7252 4.8.2:
# MAX_TRANSMIT_WAIT).
DRAIN_LIMIT_S = 60.0
LOSS_ALLOWANCE_S = 93.0
# Between two commands to one machine: many where latency is measured, few where a person watches the machines work.
MEASURED_PAUSE_S = (1.5, 5.0)
WATCHED_PAUSE_S = (20.0, 90.0)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the person asked for besides the factory itself; `seconds` None means until Ctrl-C."""

    seconds: float | None = None
    keep: bool = False


async def run_demo(plan: FactoryPlan, options: DemoOptions, console: Console) -> Summary | None:
    """Run a factory as long as asked; return the summary of a timed run.

    Raises:
        WorkbenchError: something is missing, a port is in use, or a component did not start.
    """
    checkout = find_checkout()
    require_free_tcp(plan.http_port, option="--http-port", variable="HTTP_PORT")
    require_free_udp(plan.coap_port, option="--coap-port", variable="COAP_PORT")
    if plan.store == "influxdb":
        require_free_tcp(plan.influxdb_port, option="--influxdb-port", variable="INFLUXDB_PORT")
    with scratch_folder(console, keep=options.keep) as folder:
        console.print(f"[dim]starting one cloud, one gateway and {plan.nodes} emulated nodes; logs in {folder}")
        async with Factory(plan, checkout, folder) as factory:
            return await _Run(factory, options, console).execute()


class _Run:
    """One run of a factory that has started."""

    def __init__(self, factory: Factory, options: DemoOptions, console: Console) -> None:
        self._factory = factory
        self._options = options
        self._console = console
        self._probe = VisibilityProbe(factory.api)
        self._traffic: CommandTraffic | None = None

    async def execute(self) -> Summary | None:
        status = asyncio.create_task(show_status(self._console, self._status), name="status line")
        try:
            return await self._measure()
        finally:
            await self._probe.stop()
            if self._traffic is not None:
                await self._traffic.abandon()
            status.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await status

    async def _measure(self) -> Summary | None:
        factory, seconds = self._factory, self._options.seconds
        self._console.print(f"console: [bold]{factory.cloud.url}[/]")
        if silent := await factory.first_readings(START_LIMIT_S):
            self._console.print(f"[yellow]no reading after {START_LIMIT_S:g} s from: {', '.join(silent)}")
        began = time.monotonic()
        pause_s = WATCHED_PAUSE_S if seconds is None else MEASURED_PAUSE_S
        self._traffic = CommandTraffic(factory.api, factory.ledger, list(factory.boards), factory.plan.seed, pause_s)
        if seconds is None:
            await self._until_cancelled()
            return None
        await self._sleep_and_check(began + seconds)
        ran = time.monotonic() - began
        lossy = factory.plan.impairment is not None
        limit = DRAIN_LIMIT_S + (LOSS_ALLOWANCE_S if lossy else 0.0)
        # Together: what nodes still say while the last commands are confirmed is traffic, too.
        result, _ = await asyncio.gather(factory.drain(limit), self._traffic.close(limit))
        await self._probe.stop()
        stored = await factory.stored()
        return Summary(
            nodes=factory.plan.nodes,
            seconds=ran,
            result=result,
            latencies_ms=latencies_ms(factory.ledger, stored.temperatures, self._probe.sightings),
            commands=self._traffic.sent,
            console=factory.cloud.url,
            store=factory.plan.store,
            refused_reads=refused_reads(factory.ledger),
        )

    async def _sleep_and_check(self, end: float) -> None:
        while (left := end - time.monotonic()) > 0:
            self._factory.nodes.check()
            await asyncio.sleep(min(0.5, left))

    async def _until_cancelled(self) -> None:
        while True:
            self._factory.nodes.check()
            await asyncio.sleep(0.5)

    def _status(self) -> str:
        factory = self._factory
        running = sum(board.pid is not None for board in factory.boards.values())
        words = [
            f"nodes {running}/{factory.plan.nodes}",
            f"gateway {'up' if factory.gateway.running else 'DOWN'}",
            f"cloud {'up' if factory.cloud.running else 'DOWN'}",
            f"readings {factory.ledger.taken}",
            f"cycles {factory.ledger.cycles}",
        ]
        if self._traffic is not None:
            confirmed = sum(command.confirmed for command in self._traffic.sent)
            words.append(f"commands {confirmed}/{len(self._traffic.sent)}")
        return " · ".join(words)
