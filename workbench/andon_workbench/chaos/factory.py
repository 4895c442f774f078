"""The factory of a chaos run: some boards, many lean nodes, gates in front of cloud and database."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from andon_workbench.chaos.account import Count, NodeSeries, account_for, falls
from andon_workbench.chaos.lean_node import LeanNode
from andon_workbench.chaos.oscore import ClientContext
from andon_workbench.chaos.plan import CLOCKLESS_EVERY
from andon_workbench.errors import ComponentError
from andon_workbench.factory import Factory
from andon_workbench.plan import GATEWAY
from andon_workbench.reconcile import Stored, StoredPoint, raw_from_celsius

if TYPE_CHECKING:
    from pathlib import Path

    from andon_workbench.chaos.plan import ChaosOptions
    from andon_workbench.checkout import Checkout
    from andon_workbench.faults.tcp_gate import TcpGate
    from andon_workbench.faults.udp_proxy import UdpProxy
    from andon_workbench.reconcile import Channel

# The lean nodes are on machines of the registry only.
_REGISTRATIONS_AT_ONCE = 4


class ChaosFactory(Factory):
    """A factory most of whose nodes are lean ones (`LeanNode`); reconciling it compares the boards alone."""

    def __init__(self, options: ChaosOptions, checkout: Checkout, folder: Path) -> None:
        super().__init__(options.factory_plan(), checkout, folder)
        self.options = options
        self.lean: list[LeanNode] = []
        self._lean_keys: dict[str, dict[str, str]] = {}

    @property
    def write_uplink(self) -> TcpGate:
        """The gate between gateway and cloud."""
        if self.uplink_gate is None:
            raise ComponentError("a chaos factory is planned with gates")
        return self.uplink_gate

    @property
    def network(self) -> UdpProxy:
        """The proxy between nodes and gateway."""
        if self.proxy is None:
            raise ComponentError("a chaos factory is planned with an impairment")
        return self.proxy

    @property
    def database_gate(self) -> TcpGate:
        """The gate in front of whatever keeps the telemetry: an InfluxDB, or the cloud with its embedded store."""
        return self.influxdb_gate or self.write_uplink

    async def stop_database(self) -> None:
        """Kill the process that keeps the telemetry; a real InfluxDB is frozen."""
        if self.influxdb is None:
            await self.kill_cloud()
        elif self.influxdb.process is not None:
            self.influxdb.process.signal(signal.SIGSTOP)

    async def start_database(self) -> None:
        """Bring it back."""
        if self.influxdb is None:
            await self.restart_cloud()
        elif self.influxdb.process is not None:
            self.influxdb.process.signal(signal.SIGCONT)

    def build_lean_nodes(self) -> list[LeanNode]:
        """The lean nodes; they live as long as their `run` is awaited."""
        for number, place in enumerate(self.options.lean_places):
            keys = self._lean_keys.get(place.name)
            node = LeanNode(
                place.name,
                self.gateway_address,
                Random(f"{self.options.seed}/chaos/{place.name}"),  # noqa: S311  a repeatable node, not secrets
                None if keys is None else ClientContext(keys),
                clockless=number % CLOCKLESS_EVERY == 0,
            )
            self.lean.append(node)
        return self.lean

    async def stored(self) -> Stored:
        """What the store holds of the boards."""
        stored = await super().stored()
        totals = {channel: total for channel, total in stored.cycle_totals.items() if channel[0] in self.boards}
        return Stored(stored.temperatures, totals)

    async def account(self) -> Count:
        """What became of the lean nodes' readings."""
        found = Count()
        for node in self.lean:
            stored = await self._series_of(node.name)
            found += account_for(node.packs, stored, clockless=node.clockless)
        return found

    async def falls_of_boards(self) -> int:
        """How often a total of a board's cycles is less than an earlier one."""
        return sum([falls([total for _, total in (await self._series_of(name)).totals]) for name in self.boards])

    async def _series_of(self, node: str) -> NodeSeries:
        temperatures = {
            channel: [StoredPoint(time_ms, raw_from_celsius(value)) for time_ms, value in samples]
            for channel, samples in (await self.api.samples("temperature", "celsius", node)).items()
        }
        totals = (await self.api.samples("cycles", "total", node)).get(0, [])
        return NodeSeries(temperatures, [(time_ms, int(total)) for time_ms, total in totals])

    async def _register(self) -> str:
        token = await super()._register()
        turn = asyncio.Semaphore(_REGISTRATIONS_AT_ONCE)

        async def register(number: int) -> None:
            place = self.options.lean_places[number]
            async with turn:
                await self.api.register_machine(place.machine_document())
                await self.api.register_node(place.name, place.name, GATEWAY)
                if self.plan.keys:
                    self._lean_keys[place.name] = await self.api.make_keys(place.name)

        async with asyncio.TaskGroup() as group:
            for number in range(len(self.options.lean_places)):
                group.create_task(register(number))
        return token


class TotalsWatch:
    """Looks at every channel's newest total while the run lasts: a reader must never see it fall.

    Attributes:
        looks: How many answers were compared.
        falls: How often a total was less than before.
    """

    def __init__(self, factory: ChaosFactory) -> None:
        self.looks = 0
        self.falls = 0
        self._factory = factory
        self._highest: Counter[Channel] = Counter()

    async def look(self) -> None:
        """Compare once.

        Raises:
            CloudApiError: the cloud or its database is away.
        """
        for channel, total in (await self._factory.api.cycle_totals()).items():
            self.falls += total < self._highest[channel]
            self._highest[channel] = max(total, self._highest[channel])
        self.looks += 1
