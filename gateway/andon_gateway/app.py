"""Composition: builds the gateway's parts from its settings."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx

from andon_gateway.cloud.events import StreamTakers
from andon_gateway.cloud.metrics import ReportsCollector
from andon_gateway.cloud.order_reports import order_reports
from andon_gateway.cloud.reports import CloudReports
from andon_gateway.cloud.stream import CloudChannel, StreamTimeouts
from andon_gateway.coap.fast_path import FastCounts
from andon_gateway.coap.metrics import DatagramCollector
from andon_gateway.coap.resources import now_ms
from andon_gateway.coap.server import CoapEndpoint
from andon_gateway.commands.queue import CommandStore
from andon_gateway.commands.relay import CommandRunner
from andon_gateway.configurations.orders import ConfigurationStore
from andon_gateway.configurations.procedure import ConfigurationProcedure
from andon_gateway.errors import GatewayError, SettingsError, StorageUnavailable
from andon_gateway.gateway import Gateway, authority
from andon_gateway.nodes.gate import GateLimits, NodeGate
from andon_gateway.nodes.metrics import ClockCollector
from andon_gateway.nodes.own_clock import OwnClock
from andon_gateway.nodes.own_clock_watch import OwnClockWatch, read_noted
from andon_gateway.nodes.table import NodeTable
from andon_gateway.operations.allocator import keep_large_blocks_apart
from andon_gateway.operations.garbage_collection import collect_seldom
from andon_gateway.operations.http_api import Health, HttpServer, bind_tcp, build_http
from andon_gateway.operations.kernel_clock import synchronised
from andon_gateway.operations.metrics import GatewayCollector, build_registry
from andon_gateway.orders.requests import NodeRequests
from andon_gateway.orders.runner import OrderRunner
from andon_gateway.orders.store import OrderReport, OrderStore
from andon_gateway.rules.actions import RelayActions
from andon_gateway.rules.engine import EdgeRules
from andon_gateway.rules.metrics import RulesCollector
from andon_gateway.rules.pull import RulesPull
from andon_gateway.security.access import AccessPolicy
from andon_gateway.security.oscore_keys import KeyRing
from andon_gateway.serial.lines import SerialLine, local_address
from andon_gateway.serial.metrics import SerialCollector
from andon_gateway.settings import DATABASE_NAME
from andon_gateway.spool.aggregator import Aggregator
from andon_gateway.spool.database import CommitLimits, GroupCommit, passes_by_itself
from andon_gateway.spool.intake import TelemetryIntake
from andon_gateway.spool.spool import Spool, SpoolLimits
from andon_gateway.spool.windows import AggregateRule, rules_by_name
from andon_gateway.updates.bundles import BundleFolder
from andon_gateway.updates.orders import FIRMWARE_UPDATES
from andon_gateway.updates.procedure import FirmwareProcedure
from andon_gateway.uplink.assets import AssetTable
from andon_gateway.uplink.influx import InfluxWriter
from andon_gateway.uplink.uplink import Uplink, UplinkPauses
from andon_gateway.workers.metrics import WorkersCollector
from andon_gateway.workers.sockets import beside, open_shared
from andon_gateway.workers.team import Team

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

    from prometheus_client.registry import Collector

    from andon_gateway.cloud.delivery import ReportDelivery
    from andon_gateway.commands.queue import RelayCommand
    from andon_gateway.configurations.orders import Configuration
    from andon_gateway.settings import Settings
    from andon_gateway.updates.orders import FirmwareUpdate

SWITCH_S: Final = 0.0005
"""How long a thread that computes may keep the others waiting; Python's own default is 5 ms. Each call of the kernel by the event loop
gives Python's lock away and then waits that long for it while the uplink renders: a batch of datagrams, read one by one, came to 100 ms."""


async def build(settings: Settings, config: Path, token: str, influx_token: str) -> Gateway:
    """Bind the ports, open the disk and wire the parts.

    Raises:
        SettingsError: A port or the state folder cannot be used; names the setting.
        StorageUnavailable: The disk takes no data now.
    """
    state_dir = settings.gateway.state_dir
    coap = await _bind_coap(settings, config)
    listener = _bind_http(settings, config)
    try:
        for folder in (state_dir, state_dir / "config", state_dir / "fw"):
            folder.mkdir(parents=True, exist_ok=True)
        limits = CommitLimits(settings.spool.commit_ms / 1000, settings.spool.commit_packs, settings.spool.most_waiting)
        database = GroupCommit(state_dir / DATABASE_NAME, asyncio.get_running_loop().call_soon_threadsafe, limits)
    except (OSError, sqlite3.Error) as error:
        if passes_by_itself(error):
            raise StorageUnavailable(f"the disk of {state_dir} takes no data now ({error}); make room on it") from None
        raise SettingsError(f"{config}: gateway.state_dir: {state_dir} cannot be used ({error})") from None
    database.start()
    gateway = _wire(settings, (token, influx_token), database, coap, listener)
    with contextlib.suppress(GatewayError):  # counts of an earlier run, to be seen before the first pack
        await asyncio.wrap_future(database.run(lambda _connection: None))
    return gateway


async def _bind_coap(settings: Settings, config: Path) -> CoapEndpoint:
    try:
        if settings.coap.workers > 1:
            return await open_shared(settings.coap.bind, settings.coap.port)
        return await CoapEndpoint.open(settings.coap.bind, settings.coap.port)
    except OSError as error:
        where = authority(settings.coap.bind, settings.coap.port)
        raise SettingsError(f"{config}: coap.port: cannot listen on {where}/udp ({error}); choose another") from None


def _bind_http(settings: Settings, config: Path) -> socket.socket:
    try:
        return bind_tcp(settings.http.bind, settings.http.port)
    except OSError as error:
        where = authority(settings.http.bind, settings.http.port)
        raise SettingsError(f"{config}: http.port: cannot listen on {where}/tcp ({error}); choose another") from None


def _wire(
    settings: Settings, tokens: tuple[str, str], database: GroupCommit, coap: CoapEndpoint, listener: socket.socket
) -> Gateway:
    reader = sqlite3.connect(database.path)
    try:
        nodes = NodeTable(database, reader)
        assets = AssetTable(database, reader)
        keys = KeyRing(database, reader)
        rules = _rules(settings, database, reader, assets)
        noted_ms = read_noted(reader)
    finally:
        reader.close()
    spool = _spool(settings, database, rules)
    assets.on_replace += [spool.adopt, rules.recheck]
    access = AccessPolicy(keys, settings.coap.allow_unprotected)
    gate = NodeGate(_gate_limits(settings), nodes, assets, spool.forget_node)
    intake = TelemetryIntake(spool, nodes, access, gate, _clock(settings, gate, noted_ms))
    clock_watch = _clock_watch(database, intake)
    cloud = settings.cloud
    token = tokens[0]
    store = settings.influxdb or cloud
    writer_token = tokens[1] if settings.influxdb else token
    writer = InfluxWriter(store.url, writer_token, store.org, store.bucket, settings.uplink.timeout_s)
    uplink = Uplink(database.path, spool, assets, writer, _pauses(settings))
    database.after_commit.append(uplink.wake)
    client = httpx.AsyncClient(base_url=cloud.url, headers={"Authorization": f"Token {token}"}, timeout=cloud.timeout_s)
    commands = CommandStore(database)
    pull = RulesPull(client, settings.gateway.id, rules)
    timeouts = StreamTimeouts(cloud.timeout_s, cloud.stream_timeout_s)
    channel = CloudChannel(client, settings.gateway.id, timeouts, commands)
    reports = CloudReports(client, settings.gateway.id, channel)
    coap.secure(keys, access)
    runner = CommandRunner(commands, nodes, coap, now_ms, channel.reports.wake)
    orders = _orders(settings, database, client, nodes, coap)
    takers = StreamTakers(assets, uplink.wake, keys, pull, runner, orders.updates, orders.configurations)
    loop = asyncio.get_running_loop()

    def execute(issued: Sequence[RelayCommand]) -> None:
        loop.call_soon_threadsafe(runner.adopt, issued)

    rules.on_commands = execute
    runner.on_end = rules.command_ended

    address = local_address(settings.coap.bind, coap.port)
    lines = [SerialLine(item.port, item.baud, address) for item in settings.serial]

    team = _team(settings, coap)

    def health() -> Health:
        own = {"storage": database.healthy, "uplink_thread": uplink.alive, "command_stream": channel.connected}
        own["clock"] = intake.clock.right
        return own | ({} if team is None else {"workers": team.complete})

    collector = GatewayCollector(database, intake.counts, uplink.counts, runner, keys, spool.counts, gate)
    fast_counts = FastCounts()
    more: list[Collector] = [] if team is None else [WorkersCollector(team)]
    more += [
        SerialCollector(lines),
        RulesCollector(rules),
        DatagramCollector(fast_counts),
        ClockCollector(intake.clock),
    ]
    registry = build_registry(collector, ReportsCollector([channel.reports, *orders.deliveries]), *more)
    http = HttpServer(build_http(registry, health, lambda: _dropped(spool)), listener)
    return Gateway(
        settings, database, intake, nodes, keys, access, uplink, writer, channel, runner, takers, orders.firmware, reports,
        orders.deliveries, assets, spool, gate, clock_watch, rules, pull, client, coap, fast_counts, team, lines, http, int(listener.getsockname()[1]),
    )  # fmt: skip


def _dropped(spool: Spool) -> dict[str, int]:
    names = ("dropped_packs", "dropped_readings", "dropped_unknown_packs")
    return {f"spool_{name}": spool.counts.get(name, 0) for name in names}


def _clock(settings: Settings, gate: NodeGate, noted_ms: int) -> OwnClock:
    return OwnClock(gate.others_in_time, noted_ms, trusted=settings.gateway.trust_clock)


def _clock_watch(database: GroupCommit, intake: TelemetryIntake) -> OwnClockWatch:
    """Watches the gateway's own clock, and has looked at it once: before the first pack comes."""
    watch = OwnClockWatch(intake.clock, database, now_ms, synchronised, intake.clock_judged)
    watch.look()
    return watch


@dataclass(frozen=True, slots=True)
class _Orders:
    updates: OrderRunner[FirmwareUpdate]
    firmware: FirmwareProcedure
    configurations: OrderRunner[Configuration]
    deliveries: list[ReportDelivery[OrderReport]]


def _orders(
    settings: Settings, database: GroupCommit, client: httpx.AsyncClient, nodes: NodeTable, coap: CoapEndpoint
) -> _Orders:
    gateway, requests = settings.gateway.id, NodeRequests(nodes, coap)
    base = f"/api/v1/gateways/{gateway}"
    update_store, configuration_store = OrderStore(database, FIRMWARE_UPDATES), ConfigurationStore(database)
    updates_told = order_reports(client, "update", f"{base}/updates", update_store)
    configurations_told = order_reports(client, "configuration", f"{base}/configurations", configuration_store)
    bundles = BundleFolder(settings.gateway.state_dir / "fw", client, gateway)
    firmware = FirmwareProcedure(update_store, bundles, requests)
    documents = ConfigurationProcedure(configuration_store, client, gateway, requests)
    return _Orders(
        OrderRunner(update_store, firmware, nodes, now_ms, updates_told.wake),
        firmware,
        OrderRunner(configuration_store, documents, nodes, now_ms, configurations_told.wake),
        [updates_told, configurations_told],
    )


def _team(settings: Settings, coap: CoapEndpoint) -> Team | None:
    if settings.coap.workers == 1:
        return None
    return Team(beside(coap.socket, settings.coap.workers), settings.gateway.log_level, settings.coap.gather_ms / 1000)


def _pauses(settings: Settings) -> UplinkPauses:
    section = settings.uplink
    return UplinkPauses(
        batch_packs=section.batch_packs,
        batch_points=section.batch_points,
        batch_age_s=section.batch_age_s,
        live_s=section.live_s,
        points_per_s=section.points_per_s,
        retry_first_s=section.retry_first_s,
        retry_most_s=section.retry_most_s,
        refused_s=section.refused_s,
    )


def _rules(settings: Settings, database: GroupCommit, reader: sqlite3.Connection, assets: AssetTable) -> EdgeRules:
    actions = RelayActions(
        settings.gateway.id, round(settings.rules.act_within_s * 1000), lambda node: node in assets.snapshot()[1]
    )
    return EdgeRules(database, reader, actions, round(settings.nodes.clock_limit_s * 1000), now_ms)


def _spool(settings: Settings, database: GroupCommit, rules: EdgeRules) -> Spool:
    windows = [
        (section.match, AggregateRule(section.window_s * 1000, round(section.grace_s * 1000), section.raw))
        for section in settings.aggregate
    ]
    aggregator = Aggregator(rules_by_name(windows), round(settings.spool.aggregate_late_s * 1000))
    limits = SpoolLimits(settings.spool.quota_bytes, settings.spool.quarantine_bytes)
    spool = Spool(database, limits, aggregator, rules.observe)
    rules.put = spool.put
    spool.on_forget.append(rules.forget_node)
    return spool


def _gate_limits(settings: Settings) -> GateLimits:
    section = settings.nodes
    return GateLimits(
        section.most,
        section.most_unknown,
        section.packs_per_s,
        section.burst,
        round(section.clock_limit_s * 1000),
        round(section.silent_s * 1000),
        section.metrics_most,
    )


async def serve(settings: Settings, config: Path, token: str, influx_token: str = "") -> None:
    """Run a gateway until SIGTERM or SIGINT.

    Raises:
        SettingsError: It cannot start with these settings.
        StorageUnavailable: It cannot start as long as the disk takes no data.
    """
    keep_large_blocks_apart()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gateway = await build(settings, config, token, influx_token)
    sys.setswitchinterval(SWITCH_S)
    collect_seldom()
    await gateway.run(stop)
