"""A running gateway: starts its parts, watches them, and stops them in the order that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from andon_gateway.cloud.stream import Quarantine
from andon_gateway.coap.resources import build_site, now_ms
from andon_gateway.errors import GatewayError
from andon_gateway.security.oscore_site import ProtectedSite
from andon_gateway.workers.desk import Office

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from andon_gateway.cloud.delivery import ReportDelivery
    from andon_gateway.cloud.events import StreamTakers
    from andon_gateway.cloud.reports import CloudReports
    from andon_gateway.cloud.stream import CloudChannel
    from andon_gateway.coap.fast_path import FastCounts
    from andon_gateway.coap.server import CoapEndpoint
    from andon_gateway.commands.relay import CommandRunner
    from andon_gateway.nodes.gate import NodeGate
    from andon_gateway.nodes.own_clock_watch import OwnClockWatch
    from andon_gateway.nodes.table import NodeTable
    from andon_gateway.operations.http_api import HttpServer
    from andon_gateway.orders.store import OrderReport
    from andon_gateway.rules.engine import EdgeRules
    from andon_gateway.rules.pull import RulesPull
    from andon_gateway.security.access import AccessPolicy
    from andon_gateway.security.oscore_keys import KeyRing
    from andon_gateway.serial.lines import SerialLine
    from andon_gateway.settings import Settings
    from andon_gateway.spool.database import GroupCommit
    from andon_gateway.spool.intake import TelemetryIntake
    from andon_gateway.spool.spool import Spool
    from andon_gateway.updates.procedure import FirmwareProcedure
    from andon_gateway.uplink.assets import AssetTable
    from andon_gateway.uplink.influx import InfluxWriter
    from andon_gateway.uplink.lineprotocol import Asset
    from andon_gateway.uplink.uplink import Uplink
    from andon_gateway.workers.team import Team

log = logging.getLogger(__name__)

IDLE_CHECK_S: Final = 5.0
SILENCE_CHECK_S: Final = 1.0


@dataclass(slots=True)
class Gateway:
    """All parts of one running gateway."""

    settings: Settings
    database: GroupCommit
    intake: TelemetryIntake
    nodes: NodeTable
    keys: KeyRing
    access: AccessPolicy
    uplink: Uplink
    writer: InfluxWriter
    channel: CloudChannel
    runner: CommandRunner
    takers: StreamTakers
    firmware: FirmwareProcedure
    reports: CloudReports
    deliveries: list[ReportDelivery[OrderReport]]
    assets: AssetTable
    spool: Spool
    gate: NodeGate
    clock: OwnClockWatch
    rules: EdgeRules
    pull: RulesPull
    http_client: httpx.AsyncClient
    coap: CoapEndpoint
    fast_counts: FastCounts
    team: Team | None
    lines: list[SerialLine]
    http: HttpServer
    http_port: int

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain.

        Raises:
            Exception: Whatever ended a background task that should never end.
        """
        self.uplink.start()
        await self.keys.open()
        await self.runner.resume()
        await self.takers.configurations.resume()
        await self.takers.updates.resume()
        tasks = [
            asyncio.create_task(self.channel.follow(self.takers.by_event()), name="command stream"),
            asyncio.create_task(self.channel.reports.deliver(), name="command reports"),
            asyncio.create_task(self.channel.report_quarantine(self._quarantine), name="quarantine reports"),
            *(asyncio.create_task(reports.deliver(), name="order reports") for reports in self.deliveries),
            asyncio.create_task(self.reports.tell_progress(self.firmware), name="update progress"),
            asyncio.create_task(self.reports.report_nodes(self.nodes, self._mounted), name="node reports"),
        ]
        tasks += [
            asyncio.create_task(self.pull.run(), name="rules from the cloud"),
            asyncio.create_task(self._watch_silence(), name="no-data rules"),
            asyncio.create_task(self.clock.run(), name="own clock"),
        ]
        if self.settings.aggregate:
            tasks.append(asyncio.create_task(self._close_idle_windows(), name="idle windows"))
        site = build_site(self.intake, self.nodes, self.access, self.settings.gateway.state_dir)
        self.coap.serve(ProtectedSite(site, self.keys))
        if self.settings.coap.fast_path:
            gather_s = self.settings.coap.gather_ms / 1000
            reader = self.coap.hasten(self.intake, self.keys, self.fast_counts, gather_s)
            if self.team is not None and reader is not None:
                reader.pause()  # the workers read
                await self.team.start(Office(self.intake, self.keys, reader, self.fast_counts))
        tasks += [asyncio.create_task(line.run(), name=f"serial {line.path}") for line in self.lines]
        await self.http.start()
        # With its end in one piece: unbuffered, a log line of a thread would come in between.
        print(f"ready coap={authority(self.settings.coap.bind, self.coap.port)} "  # noqa: T201 -- supervisors read this line
              f"http={authority(self.settings.http.bind, self.http_port)}\n", end="", flush=True)  # fmt: skip
        stopped: asyncio.Task[Any] = asyncio.create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
        finally:
            await self._drain([stopped, *tasks])

    async def _close_idle_windows(self) -> None:
        while True:
            await asyncio.sleep(IDLE_CHECK_S)
            self.spool.close_idle_windows(now_ms())

    async def _watch_silence(self) -> None:
        before_ms = 0
        while True:
            await asyncio.sleep(SILENCE_CHECK_S)
            time_ms = now_ms()
            if time_ms < before_ms:
                self.rules.recheck()  # the clock was set back, and what was due is far away by it
            before_ms = time_ms
            if time_ms >= self.rules.due_ms:
                self.database.submit(self.rules.check, lambda _result, _error: None)

    def _mounted(self) -> Mapping[str, Asset]:
        return self.assets.snapshot()[1]

    def _quarantine(self) -> Quarantine:
        nodes = [
            {"node": node, "first_ms": record.first_ms, "last_ms": record.last_ms, "sent": record.sent,
             "packs": record.packs, "address": record.address.uri if record.address else ""}
            for node, record in self.gate.unknown().items()
        ]  # fmt: skip
        keys = [
            {"kid": kid.hex(), "first_ms": item.first_ms, "last_ms": item.last_ms, "messages": item.messages,
             "address": item.address.uri, "node": self.nodes.at(item.address)}
            for kid, item in self.keys.strangers.present(now_ms()).items()
        ]  # fmt: skip
        return Quarantine(nodes, keys)

    async def _drain(self, tasks: list[asyncio.Task[Any]]) -> None:
        log.info("stopping: no new packs, one last uplink")
        self.intake.close()
        await self.runner.stop()
        await self.takers.configurations.stop()
        await self.takers.updates.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # An empty change passes only after everything before it: the packs under way are durable and answered.
        with contextlib.suppress(GatewayError):
            await asyncio.wrap_future(self.database.run(lambda _connection: None))
        if self.team is not None:
            await self.team.stop()
        await asyncio.to_thread(self.uplink.drain_and_stop, self.settings.gateway.drain_s)
        if not self.uplink.alive:
            self.writer.close()  # otherwise a write still hangs; it ends with the process
        await self.http.stop()
        await self.http_client.aclose()
        await self.coap.close()
        await asyncio.to_thread(self.database.close)


def authority(host: str, port: int) -> str:
    """Host and port as a URI has them; IPv6 addresses in brackets (RFC 3986 section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
