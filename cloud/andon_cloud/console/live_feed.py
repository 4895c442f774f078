"""The console's feed over the real thing: telemetry store, registry, commands and gateway streams."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from andon_cloud.commands.schemas import CommandIn
from andon_cloud.configurations.service import Configurations, Wish
from andon_cloud.console.feed import (
    AdoptionRefusedError,
    CommandRefusedError,
    CommandView,
    ConfigurationRefusedError,
    ConfigurationView,
    FactoryView,
    FeedUnavailableError,
    GatewayView,
    MachineDetail,
    MachineView,
    NodeView,
    RelayView,
    UnknownMachineError,
    WaitingView,
)
from andon_cloud.console.last_commands import LastCommands, command_view
from andon_cloud.console.rates import Point, cycles_per_window, last_cycle_ms, mean_cycle_s, rate_per_min
from andon_cloud.console.state import Readings, Thresholds, derive_condition
from andon_cloud.console.telemetry_view import (
    Channel,
    Newest,
    newest_by_machine,
    points_by_channel,
    readings_per_s,
    settle,
)
from andon_cloud.console.waiting_feed import WaitingRoom
from andon_cloud.problems import Problem
from andon_cloud.telemetry.store import Aggregate, RangeQuery, StoreError, TelemetryStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from andon_cloud.commands.service import Commands
    from andon_cloud.configurations.schemas import ConfigurationOut
    from andon_cloud.db.engine import Database
    from andon_cloud.gateways.notifier import Notifier
    from andon_cloud.gateways.quarantine import Quarantine
    from andon_cloud.identifiers import Clock
    from andon_cloud.registry.schemas import GatewayOut, MachineOut
    from andon_cloud.registry.service import Registry

WINDOW_MS = 10_000
TREND_MS = 600_000
RATE_MS = 320_000
COUNT_MS = 30_000
HISTORY_PERIOD_MS = 10_000
REGISTRY_PERIOD_MS = 2_000
"""How often histories and registry are read; the newest values and the commands are at every refresh."""

COMMAND_EXPIRES_S = 30
"""A person stands at the console and waits: a command that has not reached the machine by then must not come later."""

CONFIGURATION_EXPIRES_S = 86_400
CONFIGURATIONS_SHOWN = 10

_NOT_FOUND = 404


@dataclass(slots=True)
class _Plant:
    """What the registry knows, read every `REGISTRY_PERIOD_MS`."""

    taken_ms: int = -REGISTRY_PERIOD_MS
    machines: list[MachineOut] = field(default_factory=list)
    gateways: list[GatewayOut] = field(default_factory=list)
    nodes: dict[str, NodeView] = field(default_factory=dict)
    waiting: WaitingView = field(default_factory=WaitingView)


@dataclass(slots=True)
class _Histories:
    """What is read every `HISTORY_PERIOD_MS`."""

    taken_ms: int = -HISTORY_PERIOD_MS
    temperature: dict[Channel, list[Point]] = field(default_factory=dict)
    cycles: dict[Channel, list[Point]] = field(default_factory=dict)
    readings_per_s: float = 0.0


class LiveFeed:
    """A `ConsoleFeed` over the cloud's services."""

    def __init__(  # noqa: PLR0913 - the services that it shows, each by its name
        self,
        *,
        store: TelemetryStore,
        database: Database,
        registry: Registry,
        commands: Commands,
        configurations: Configurations,
        quarantine: Quarantine,
        notifier: Notifier,
        clock: Clock,
        thresholds: Thresholds | None = None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._commands = commands
        self._configurations = configurations
        self._last_commands = LastCommands(database)
        self._waiting = WaitingRoom(quarantine)
        self._notifier = notifier
        self._clock = clock
        self._thresholds = thresholds or Thresholds()
        self._plant = _Plant()
        self._histories = _Histories()

    async def factory(self) -> FactoryView:
        """See `ConsoleFeed.factory`."""
        with _told():
            now_ms = self._clock()
            if now_ms - self._plant.taken_ms >= REGISTRY_PERIOD_MS:
                self._plant = await self._read_plant(now_ms)
            if now_ms - self._histories.taken_ms >= HISTORY_PERIOD_MS:
                self._histories = await self._read_histories(now_ms)
            newest = newest_by_machine(
                *await asyncio.gather(*map(self._store.latest, ("temperature", "cycles", "relay", "node")))
            )
            commands = await self._last_commands.read()
        plant = self._plant
        streams = self._notifier.connected()
        return FactoryView(
            taken_ms=now_ms,
            machines=tuple(
                self._view(machine, newest.get(machine.id, Newest()), commands, now_ms) for machine in plant.machines
            ),
            gateways=tuple(GatewayView(gateway.id, streams.get(gateway.id, 0) > 0) for gateway in plant.gateways),
            readings_per_s=self._histories.readings_per_s,
            waiting=plant.waiting,
        )

    async def machine(self, machine_id: str, span_s: int) -> MachineDetail:
        """See `ConsoleFeed.machine`."""
        factory = await self.factory()
        found = [machine for machine in factory.machines if machine.id == machine_id]
        if not found:
            raise UnknownMachineError(f"There is no machine {machine_id}.")
        now_ms, span_ms = factory.taken_ms, span_s * 1000
        fine_ms = max(5_000, span_ms // 180)
        coarse_ms = max(60_000, span_ms // 48)
        with _told():
            temperature, counts, commands, configurations = await asyncio.gather(
                self._history("temperature", "celsius", now_ms - span_ms, now_ms, fine_ms, machine_id),
                self._counts(machine_id, now_ms - span_ms - coarse_ms, now_ms, coarse_ms),
                self._commands.of_machine(machine_id, 20),
                self._configurations_of(found[0]),
            )
        return MachineDetail(
            machine=found[0],
            span_s=span_s,
            temperature=tuple(_lowest(temperature)),
            cycles=tuple(point for point in cycles_per_window(counts) if point.time_ms >= now_ms - span_ms),
            cycles_window_s=coarse_ms // 1000,
            commands=tuple(map(command_view, commands)),
            configurations=configurations,
        )

    async def switch_relay(
        self, machine_id: str, relay: int, *, state: bool, lease_s: int, reason: str, actor: str
    ) -> CommandView:
        """See `ConsoleFeed.switch_relay`."""
        try:
            wanted = CommandIn(state=state, lease_s=lease_s, reason=reason, expires_s=COMMAND_EXPIRES_S)
        except ValidationError as error:
            first = error.errors()[0]
            raise CommandRefusedError(f"{first['loc'][0]}: {first['msg']}") from error
        with _told():
            return command_view(await self._commands.issue(machine_id, relay, wanted, actor=actor))

    async def configure(
        self, node: str, document: bytes, signature: str | None, *, reason: str, actor: str
    ) -> ConfigurationView:
        """See `ConsoleFeed.configure`."""
        wish = Wish(document, signature, reason, actor, CONFIGURATION_EXPIRES_S)
        try:
            return _configuration_view(await self._configurations.order(node, wish))
        except Problem as error:
            raise ConfigurationRefusedError(error.detail) from error
        except SQLAlchemyError as error:
            raise FeedUnavailableError("The cloud's database does not answer.") from error

    async def _configurations_of(self, machine: MachineView) -> tuple[ConfigurationView, ...]:
        found: list[ConfigurationView] = []
        for node in machine.nodes:
            try:
                items = await self._configurations.of_node(node.id, CONFIGURATIONS_SHOWN)
            except Problem:
                continue  # the node was removed just now
            found += map(_configuration_view, items)
        return tuple(found)

    async def adopt(self, gateway: str, node: str, machine_id: str, *, reason: str, actor: str) -> None:
        """See `ConsoleFeed.adopt`."""
        try:
            await self._waiting.adopt(gateway, node, machine_id, reason=reason, actor=actor)
        except Problem as error:
            raise AdoptionRefusedError(error.detail) from error
        except SQLAlchemyError as error:
            raise FeedUnavailableError("The cloud's database does not answer.") from error
        self._plant = await self._read_plant(self._clock())

    async def _read_plant(self, now_ms: int) -> _Plant:
        machines = await self._registry.machines()
        nodes = {
            node.id: NodeView(node.id, node.firmware, node.revision, node.seen_ms)
            for node in await self._registry.nodes()
        }
        waiting = await self._waiting.view(machines)
        return _Plant(now_ms, machines, await self._registry.gateways(), nodes, waiting)

    async def _read_histories(self, now_ms: int) -> _Histories:
        counted_until = now_ms - now_ms % WINDOW_MS
        temperature, cycles = await asyncio.gather(
            self._history("temperature", "celsius", now_ms - TREND_MS, now_ms, WINDOW_MS),
            self._history("cycles", "total", now_ms - RATE_MS, now_ms, WINDOW_MS),
        )
        counts = await asyncio.gather(*(self._count(*counted, counted_until) for counted in _COUNTED))
        return _Histories(now_ms, temperature, cycles, sum(counts))

    async def _history(
        self,
        measurement: str,
        name: str,
        start_ms: int,
        stop_ms: int,
        window_ms: int,
        machine_id: str | None = None,
        aggregate: Aggregate | None = None,
    ) -> dict[Channel, list[Point]]:
        aggregate = aggregate or (Aggregate.LAST if measurement == "cycles" else Aggregate.MEAN)
        tags = {"machine": machine_id} if machine_id else {}
        query = RangeQuery(measurement, start_ms, stop_ms + 1, (name,), tags, window_ms, aggregate)
        return points_by_channel(await self._store.range(query), name)

    async def _counts(self, machine_id: str, start_ms: int, stop_ms: int, window_ms: int) -> list[Point]:
        """The cycle counter at the end of each window, led by its value at the start of the first."""
        last, first = await asyncio.gather(
            self._history("cycles", "total", start_ms, stop_ms, window_ms, machine_id),
            self._history("cycles", "total", start_ms, stop_ms, window_ms, machine_id, Aggregate.MIN),
        )
        return [*_lowest(first)[:1], *_lowest(last)]

    async def _count(self, measurement: str, name: str, stop_ms: int) -> float:
        query = RangeQuery(
            measurement, stop_ms - COUNT_MS, stop_ms, (name,), window_ms=WINDOW_MS, aggregate=Aggregate.COUNT
        )
        return readings_per_s(await self._store.range(query), COUNT_MS / 1000)

    def _view(
        self, machine: MachineOut, newest: Newest, commands: dict[tuple[str, int], CommandView], now_ms: int
    ) -> MachineView:
        # The trend moves with the histories only: a line that changed every second would be most of what viewers receive.
        trend = _joined(self._histories.temperature, newest.temperature_channel, None)
        counts = _joined(self._histories.cycles, newest.cycles_channel, newest.cycles)
        temperature = newest.temperature
        readings = Readings(
            last_seen_ms=newest.last_seen_ms,
            temperature_c=temperature.value if temperature else None,
            sensor_fault=newest.sensor_fault,
            contacts_closed=tuple(newest.contacts.values()),
            last_cycle_ms=last_cycle_ms(counts),
            mean_cycle_s=mean_cycle_s(counts) or machine.ideal_cycle_s,
        )
        return MachineView(
            id=machine.id,
            name=machine.name,
            kind=machine.kind,
            site=machine.site,
            area=machine.area,
            line=machine.line,
            condition=derive_condition(readings, now_ms, self._thresholds),
            temperature_c=readings.temperature_c,
            temperature_trend=tuple(trend),
            cycles_total=int(newest.cycles.value) if newest.cycles else None,
            cycles_per_min=rate_per_min(counts, now_ms),
            relays=_relays(machine.id, newest, commands),
            last_seen_ms=newest.last_seen_ms,
            nodes=tuple(self._plant.nodes[node] for node in machine.nodes if node in self._plant.nodes),
        )


_COUNTED = (("temperature", "celsius"), ("cycles", "total"), ("relay", "on"))


def _relays(machine_id: str, newest: Newest, commands: dict[tuple[str, int], CommandView]) -> tuple[RelayView, ...]:
    channels = set(newest.contacts) | {relay for machine, relay in commands if machine == machine_id}
    return tuple(
        RelayView(channel, newest.contacts.get(channel), commands.get((machine_id, channel)))
        for channel in sorted(channels)
    )


def _configuration_view(item: ConfigurationOut) -> ConfigurationView:
    return ConfigurationView(
        item.node, item.revision, item.signed, item.status, item.reason, item.actor, item.times, item.detail
    )


def _joined(history: dict[Channel, list[Point]], channel: Channel | None, newest: Point | None) -> list[Point]:
    return settle(history.get(channel, []) if channel else [], WINDOW_MS, newest)


def _lowest(channels: dict[Channel, list[Point]]) -> list[Point]:
    """The history of a machine's lowest channel, over all nodes that it had."""
    if not channels:
        return []
    lowest = min(channel for _, _, channel in channels)
    return sorted(point for key, points in channels.items() if key[2] == lowest for point in points)


@contextmanager
def _told() -> Iterator[None]:
    """Turn the services' errors into the feed's, with words for the person at the console."""
    try:
        yield
    except StoreError as error:
        raise FeedUnavailableError(f"The telemetry store does not answer: {error}.") from error
    except SQLAlchemyError as error:
        raise FeedUnavailableError("The cloud's database does not answer.") from error
    except Problem as error:
        if error.status == _NOT_FOUND:
            raise UnknownMachineError(error.detail) from error
        raise CommandRefusedError(error.detail) from error
