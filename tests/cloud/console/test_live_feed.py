"""The live feed over the cloud's real services and a real embedded store, with simulated time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from andon_cloud.app import create_app
from andon_cloud.commands.lifecycle import CommandStatus
from andon_cloud.commands.schemas import CommandReport
from andon_cloud.console.feed import CommandRefusedError, FeedUnavailableError, MachineView, UnknownMachineError
from andon_cloud.console.live_feed import LiveFeed
from andon_cloud.console.state import MachineState
from andon_cloud.registry.schemas import GatewayIn, MachineIn, NodeIn
from andon_cloud.settings import Settings
from andon_cloud.telemetry.store import Precision

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from andon_cloud.services import Services

START = 1_764_000_000_000
TAGS = "area=a1,line=l1,machine={m},node={m},site=demo"


class Plant:
    """The cloud's services with a clock that the test moves, and a feed on top."""

    def __init__(self, services: Services, clock: list[int]) -> None:
        self.services = services
        self.clock = clock
        self.feed = LiveFeed(
            store=services.store,
            database=services.database,
            registry=services.registry,
            commands=services.commands,
            configurations=services.configurations,
            quarantine=services.quarantine,
            notifier=services.notifier,
            clock=lambda: clock[0],
        )

    async def register(self, *machines: str) -> None:
        await self.services.registry.add_gateway(GatewayIn(id="gw-1", name="Hall 1"))
        for machine in machines:
            wanted = MachineIn(id=machine, name=machine.title(), kind="press", site="demo", area="a1", line="l1")
            await self.services.registry.add_machine(wanted)
            await self.services.registry.add_node(NodeIn(id=machine, machine_id=machine, gateway_id="gw-1"))

    async def write(self, *lines: str) -> None:
        await self.services.store.write("\n".join(lines).encode(), Precision.MS)

    async def work(self, machine: str, seconds: int, per_min: float, temperature: float = 41.5) -> None:
        """A machine that reports every second up to now."""
        tags = TAGS.format(m=machine)
        lines = []
        for second in range(seconds + 1):
            at = self.clock[0] - (seconds - second) * 1000
            lines += [
                f"temperature,channel=0,{tags} celsius={temperature} {at}",
                f"cycles,channel=0,{tags} total={int(second * per_min / 60 + 1e-9)}i {at}",
                f"relay,channel=0,{tags} on=true {at}",
            ]
        await self.write(*lines)

    async def look(self, machine: str = "press-7") -> MachineView:
        (found,) = [view for view in (await self.feed.factory()).machines if view.id == machine]
        return found


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    clock = [START]
    app = create_app(Settings(data_dir=tmp_path, console=False), clock=lambda: clock[0])
    async with app.router.lifespan_context(app):
        yield Plant(app.state.services, clock)


async def test_a_registered_machine_without_data_is_offline(plant: Plant) -> None:
    await plant.register("press-7")
    press = await plant.look()
    assert (press.name, press.kind, press.site, press.area, press.line) == ("Press-7", "press", "demo", "a1", "l1")
    assert press.condition.state is MachineState.OFFLINE
    assert press.last_seen_ms is None
    assert press.relays == ()


async def test_a_working_machine_is_running_with_its_rate(plant: Plant) -> None:
    await plant.register("press-7", "mill-2")
    await plant.work("press-7", 300, per_min=12)
    await plant.work("mill-2", 300, per_min=0, temperature=22.0)
    press, mill = await plant.look(), await plant.look("mill-2")
    assert press.condition.state is MachineState.RUNNING
    assert press.cycles_per_min == pytest.approx(12, rel=0.1)
    assert press.cycles_total == 60
    assert press.temperature_c == 41.5
    assert press.last_seen_ms == START
    assert len(press.temperature_trend) >= 30
    assert {point.value for point in press.temperature_trend} == {41.5}
    assert mill.condition.state is MachineState.IDLE
    assert mill.cycles_per_min == 0
    factory = await plant.feed.factory()
    assert factory.readings_per_s == pytest.approx(6, rel=0.1)
    assert [(gateway.id, gateway.connected) for gateway in factory.gateways] == [("gw-1", False)]


async def test_an_open_gateway_stream_is_seen(plant: Plant) -> None:
    await plant.register("press-7")
    with plant.services.notifier.subscribed("gw-1"):
        assert (await plant.feed.factory()).gateways[0].connected
    assert not (await plant.feed.factory()).gateways[0].connected


async def test_silence_fault_and_contact_change_the_state(plant: Plant) -> None:
    await plant.register("press-7")
    await plant.work("press-7", 60, per_min=30)
    tags = TAGS.format(m="press-7")
    await plant.write(f"relay,channel=0,{tags} on=false {START + 1}")
    assert (await plant.look()).condition.state is MachineState.STOPPED
    await plant.write(f'temperature,channel=0,{tags} fault="crc" {START + 2}')
    assert (await plant.look()).condition.state is MachineState.FAULT
    await plant.write(f'temperature,channel=0,{tags} fault="ok" {START + 3}')
    assert (await plant.look()).condition.state is MachineState.STOPPED
    plant.clock[0] += 31_000
    assert (await plant.look()).condition.state is MachineState.OFFLINE


async def test_a_command_is_followed_to_its_end_and_the_history_kept(plant: Plant) -> None:
    await plant.register("press-7")
    await plant.work("press-7", 30, per_min=30)
    assert (await plant.look()).relays[0].command is None
    issued = await plant.feed.switch_relay("press-7", 0, state=False, lease_s=600, reason="tool change", actor="anna")
    assert issued.status is CommandStatus.QUEUED
    relay = (await plant.look()).relays[0]
    assert relay.command == issued
    assert relay.pending
    assert relay.closed is True
    for at, step in enumerate(("sent", "acknowledged"), start=1):
        report = CommandReport(state=step, at_ms=START + at, contact=None)  # type: ignore[arg-type]  # both are literals
        await plant.services.commands.report("gw-1", issued.id, report)
        command = (await plant.look()).relays[0].command
        assert command is not None
        assert command.status == step
    second = await plant.feed.switch_relay("press-7", 0, state=True, lease_s=60, reason="go on", actor="bert")
    last = (await plant.look()).relays[0].command
    assert last is not None
    assert last.id == second.id
    detail = await plant.feed.machine("press-7", 900)
    assert [command.id for command in detail.commands] == [second.id, issued.id]
    assert detail.commands[1].times[CommandStatus.ACKNOWLEDGED] == START + 2
    assert detail.commands[1].actor == "anna"


async def test_a_second_look_finds_commands_of_before(plant: Plant) -> None:
    await plant.register("press-7")
    issued = await plant.feed.switch_relay("press-7", 3, state=True, lease_s=60, reason="r", actor="a")
    restarted = Plant(plant.services, plant.clock)
    (relay,) = (await restarted.look()).relays
    assert (relay.channel, relay.closed, relay.command) == (3, None, issued)


async def test_detail_counts_cycles_per_window(plant: Plant) -> None:
    await plant.register("press-7")
    await plant.work("press-7", 900, per_min=6)
    detail = await plant.feed.machine("press-7", 900)
    assert detail.cycles_window_s == 60
    assert 12 <= len(detail.cycles) <= 16
    assert all(point.value == 6 for point in detail.cycles[1:-1])
    assert len(detail.temperature) > 100


async def test_what_cannot_be_done_is_said_and_changes_nothing(plant: Plant) -> None:
    await plant.register("press-7")
    wish = {"state": True, "reason": "r", "actor": "a"}
    with pytest.raises(UnknownMachineError, match="no-such"):
        await plant.feed.machine("no-such", 900)
    with pytest.raises(UnknownMachineError, match="no-such"):
        await plant.feed.switch_relay("no-such", 0, lease_s=60, **wish)  # type: ignore[arg-type]  # mixed values
    with pytest.raises(CommandRefusedError, match="lease_s"):
        await plant.feed.switch_relay("press-7", 0, lease_s=90_000, **wish)  # type: ignore[arg-type]  # mixed values
    await plant.services.registry.remove_node("press-7")
    with pytest.raises(CommandRefusedError, match="has no node"):
        await plant.feed.switch_relay("press-7", 0, lease_s=60, **wish)  # type: ignore[arg-type]  # mixed values
    assert (await plant.feed.machine("press-7", 900)).commands == ()


async def test_a_machine_registered_meanwhile_appears_soon(plant: Plant) -> None:
    await plant.register("press-7")
    await plant.look()
    wanted = MachineIn(id="mill-2", name="Mill 2", site="demo", area="a1", line="l1")
    await plant.services.registry.add_machine(wanted)
    plant.clock[0] += 2_000
    assert (await plant.look("mill-2")).name == "Mill 2"


async def test_a_store_that_is_away_is_told(plant: Plant) -> None:
    await plant.register("press-7")
    await plant.work("press-7", 10, per_min=30)
    await plant.look()
    await plant.services.store.close()
    plant.clock[0] += 20_000
    with pytest.raises(FeedUnavailableError, match="telemetry store"):
        await plant.feed.factory()
    await plant.services.store.open()
    assert (await plant.look()).cycles_total == 5


async def test_cycles_of_a_machine_that_has_just_begun_are_counted_from_its_first_reading(plant: Plant) -> None:
    await plant.register("press-7")
    await plant.work("press-7", 30, per_min=60)
    detail = await plant.feed.machine("press-7", 900)
    assert sum(point.value for point in detail.cycles) == 30
