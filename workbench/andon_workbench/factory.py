"""A whole factory on loopback: cloud, gateway, boards and world. The demo and the end-to-end tests use this class."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from andon_workbench.cloud_api import TIMEOUT_S, CloudApi
from andon_workbench.emulated_nodes import EmulatedNodes
from andon_workbench.errors import CloudApiError, ComponentError
from andon_workbench.faults.serial_cable import CableFaults, SerialCable
from andon_workbench.faults.tcp_gate import TcpGate
from andon_workbench.faults.udp_proxy import Impairment, UdpProxy
from andon_workbench.influxdb import Influxdb
from andon_workbench.plan import GATEWAY, FactoryPlan
from andon_workbench.ports import LOOPBACK
from andon_workbench.reconcile import Reconciliation, Stored, reconcile
from andon_workbench.services import CloudService, GatewayService

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import TracebackType

    from andon_workbench.board import Board
    from andon_workbench.checkout import Checkout
    from andon_workbench.world.ledger import Ledger
    from andon_workbench.world.runner import World

_LOOK_S = 0.25
_QUIET_LIMIT_S = 60.0


class Factory:
    """Starts in this order: InfluxDB (if planned), cloud, registry, gateway, proxy (if planned), boards with their machines.

    An async context manager: inside, everything runs; on leaving, everything is stopped in the opposite order, whatever
    happened. `folder` receives data, configuration and logs of every component.
    """

    cloud: CloudService
    gateway: GatewayService
    api: CloudApi
    nodes: EmulatedNodes
    proxy: UdpProxy | None = None
    influxdb: Influxdb | None = None
    uplink_gate: TcpGate | None = None
    influxdb_gate: TcpGate | None = None

    def __init__(self, plan: FactoryPlan, checkout: Checkout, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.gateway_address = (LOOPBACK, 0)
        """Where nodes find the gateway."""
        self.cables: dict[str, SerialCable] = {}
        self._checkout = checkout
        self._stack = AsyncExitStack()
        self._keys: dict[str, dict[str, str]] = {}

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def world(self) -> World:
        """The machines."""
        return self.nodes.world

    @property
    def boards(self) -> dict[str, Board]:
        """The boards, by node id."""
        return self.nodes.boards

    @property
    def ledger(self) -> Ledger:
        """What physically happened."""
        return self.nodes.world.ledger

    async def kill_gateway(self) -> None:
        """Kill -9 of the gateway."""
        await self.gateway.kill()

    async def restart_gateway(self) -> None:
        """Start the gateway again, on the same ports and with the same state on disk."""
        await self.gateway.start()

    async def kill_cloud(self) -> None:
        """Kill -9 of the cloud."""
        await self.cloud.kill()

    async def restart_cloud(self) -> None:
        """Start the cloud again, on the same port and with the same data."""
        await self.cloud.start()

    async def power_cut(self, node: str) -> None:
        """Take a board's power, and that of its machine. Only what is on flash outlives it."""
        await self.boards[node].power_cut()
        self.world.cut_power(node)

    async def power_on(self, node: str) -> None:
        """Give a board its power back."""
        await self.boards[node].power_on()

    def impair(self, impairment: Impairment) -> None:
        """Change what the network does from now on; only in a factory that was planned with a proxy.

        Raises:
            ComponentError: there is no proxy.
        """
        if self.proxy is None:
            raise ComponentError("the factory has no proxy: plan it with an impairment")
        self.proxy.change(impairment)

    async def first_readings(self, limit_s: float) -> list[str]:
        """Wait until every node's first reading is in the store; return the nodes still silent after `limit_s`."""
        silent: list[str] = []

        async def all_there() -> bool:
            nonlocal silent
            there = {newest.tags["node"] for newest in await self.api.latest("temperature")}
            silent = sorted(set(self.boards) - there)
            return not silent

        await self._until(all_there, limit_s)
        return silent

    async def drain(self, limit_s: float) -> Reconciliation:
        """End the shift and wait until the store holds exactly what happened, `limit_s` at most.

        Machines stop, their last pulses pass, sensors are unplugged: nothing new happens, what is under way arrives.
        """
        self.world.shut_down_machines()
        async with asyncio.timeout(_QUIET_LIMIT_S):
            while not self.world.quiet:  # noqa: ASYNC110  the world is stepped by a task and announces nothing
                await asyncio.sleep(_LOOK_S)
        self.world.unplug_sensors()
        result: Reconciliation | None = None

        async def equal() -> bool:
            nonlocal result
            result = await self.reconcile()
            return result.equal

        await self._until(equal, limit_s)
        return await self.reconcile() if result is None else result

    async def reconcile(self) -> Reconciliation:
        """Compare ledger and store now."""
        return reconcile(self.ledger, await self.stored())

    async def stored(self) -> Stored:
        """What the store holds now."""
        return await self.api.stored(self.boards)

    async def _until(self, condition: Callable[[], Awaitable[bool]], limit_s: float) -> None:
        """Look again and again; a cloud that does not answer just now is not a failure."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            self.nodes.check()
            try:
                if await condition():
                    return
            except CloudApiError:
                pass
            await asyncio.sleep(_LOOK_S)

    async def _start(self) -> None:
        self.cloud = CloudService(self.folder, self.plan, await self._start_influxdb())
        self._stack.push_async_callback(self.cloud.stop)
        await self.cloud.start()
        self.api = await self._stack.enter_async_context(
            CloudApi(self.cloud.url, timeout_s=TIMEOUT_S * self.plan.patience, keep_alive=self.plan.patience <= 1)
        )
        token = await self._register()
        self._lay_cables()
        cloud_url = None
        if self.plan.gates:
            self.uplink_gate, cloud_url = await self._gate_before(self.cloud.url)
        self.gateway = GatewayService(
            self.folder,
            self.plan,
            gateway=GATEWAY,
            cloud=self.cloud,
            token=token,
            serial_ports=[*(cable.gateway_port for cable in self.cables.values()), *self.plan.serial_ports],
            cloud_url=cloud_url,
        )
        self._stack.push_async_callback(self.gateway.stop)
        await self.gateway.start()
        self.gateway_address = await self._gateway_as_nodes_see_it()
        await self._start_nodes(self.gateway_address)

    async def _start_influxdb(self) -> Influxdb | None:
        """InfluxDB as the cloud finds it, if it is planned."""
        if self.plan.store != "influxdb":
            return None
        self.influxdb = await Influxdb.provide(self.folder, self.plan.influxdb_port)
        if self.influxdb.process is not None:
            self._stack.push_async_callback(self.influxdb.process.stop)
        if not self.plan.gates:
            return self.influxdb
        self.influxdb_gate, url = await self._gate_before(self.influxdb.url)
        return replace(self.influxdb, url=url)

    async def _gate_before(self, url: str) -> tuple[TcpGate, str]:
        """A gate in front of a server, and the URL that leads through it."""
        server = urlsplit(url)
        gate = TcpGate((server.hostname or LOOPBACK, server.port or 80))
        self._stack.push_async_callback(gate.close)
        host, port = await gate.open()
        return gate, f"http://{host}:{port}"

    def _lay_cables(self) -> None:
        for place in self.plan.places[: self.plan.wired]:
            folder = self.folder / place.name
            folder.mkdir(parents=True)
            cable = SerialCable(folder, self.plan.cable_faults or CableFaults(), f"{self.plan.seed}/{place.name}/cable")
            cable.open()
            self._stack.callback(cable.close)
            self.cables[place.name] = cable

    async def _register(self) -> str:
        token = await self.api.register_gateway(GATEWAY, "Hall 1")
        for place in self.plan.places:
            await self.api.register_machine(place.machine_document())
            await self.api.register_node(place.name, place.name, GATEWAY)
            if self.plan.keys:
                self._keys[place.name] = await self.api.make_keys(place.name)
        return token

    async def _gateway_as_nodes_see_it(self) -> tuple[str, int]:
        address = self.gateway.address("coap")
        if self.plan.impairment is None:
            return address
        self.proxy = UdpProxy(address, self.plan.impairment, self.plan.seed)
        self._stack.callback(self.proxy.close)
        return await self.proxy.open(self.plan.coap_bind)

    async def _start_nodes(self, gateway: tuple[str, int]) -> None:
        self.nodes = await self._stack.enter_async_context(
            EmulatedNodes(
                self.folder,
                self._checkout,
                self.plan.places,
                seed=self.plan.seed,
                sample_ms=self.plan.sample_ms,
                faults=self.plan.sensor_faults,
                settings=self.plan.node_settings,
                step_s=self.plan.world_step_s,
                patience=self.plan.patience,
                vm=self.plan.vm,
                keys=self._keys,
                site_key=self.plan.site_key,
                cables=self.cables,
            )
        )
        await self.nodes.start(gateway)
