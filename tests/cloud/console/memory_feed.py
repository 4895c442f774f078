"""An in-memory feed for the console's tests and for working on its pages: a stand-in for live_feed, never deployed."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, replace

from andon_cloud.commands.lifecycle import CommandStatus
from andon_cloud.configurations.lifecycle import ConfigurationStatus
from andon_cloud.console.feed import (
    AdoptionRefusedError,
    CommandRefusedError,
    CommandView,
    ConfigurationRefusedError,
    ConfigurationView,
    FactoryView,
    FeedUnavailableError,
    FreeMachine,
    GatewayView,
    MachineDetail,
    MachineView,
    NodeView,
    RelayView,
    UnknownKeysView,
    UnknownMachineError,
    WaitingNode,
    WaitingView,
)
from andon_cloud.console.rates import Point
from andon_cloud.console.state import Readings, derive_condition

KINDS = ("Stamping press", "CNC mill", "Injection moulding", "Conveyor", "Lathe", "Packaging")
NAMES = ("Press", "Mill", "Moulder", "Conveyor", "Lathe", "Packer")


@dataclass
class Seat:
    """One simulated machine's raw values, which the tests change."""

    id: str
    name: str
    kind: str
    line: str
    temperature: float
    cycles: int
    rate: float
    closed: bool = True
    fault: str | None = None
    quiet_ms: int = 0
    command: CommandView | None = None


class MemoryFeed:
    """A factory in memory; `now_ms` is set by whoever drives it."""

    def __init__(self, machines: int, now_ms: int, seed: int = 3) -> None:
        self.now_ms = now_ms
        self.broken: str | None = None
        self.refuse: str | None = None
        self.gateway_connected = True
        self.reads = 0
        self.log: list[tuple[str, CommandView]] = []
        self.waiting = WaitingView()
        self.adopted: list[tuple[str, ...]] = []
        self.configured: list[ConfigurationView] = []
        rng = random.Random(seed)
        self.seats = {}
        for n in range(machines):
            kind = n % len(KINDS)
            name = f"{NAMES[kind]} {n + 1}"
            seat = Seat(
                id=name.lower().replace(" ", "-"),
                name=name,
                kind=KINDS[kind],
                line=f"line-{n // 6 + 1}",
                temperature=round(rng.uniform(31, 62), 2),
                cycles=rng.randrange(900, 90_000),
                rate=round(rng.uniform(4, 60), 1),
            )
            self.seats[seat.id] = seat

    async def factory(self) -> FactoryView:
        self.reads += 1
        if self.broken:
            raise FeedUnavailableError(self.broken)
        gateways = (GatewayView("gw-1", connected=self.gateway_connected),)
        views = tuple(self._view(seat) for seat in self.seats.values())
        return FactoryView(self.now_ms, views, gateways, 4.2 * len(views), self.waiting)

    def let_wait(self, nodes: int, keys: int, free: int) -> None:
        """Nodes, keys and free machines to be seen at /waiting."""
        self.waiting = WaitingView(
            tuple(
                WaitingNode(
                    "gw-1", f"press-{n}", f"192.0.2.{n}:5683", self.now_ms - 4000, 12,
                    (("temperature/0", 41.1875), ("cycles/0", 18231), ("relay/0", True)),
                )
                for n in range(9, 9 + nodes)
            ),
            tuple(
                UnknownKeysView("gw-1", f"{n:02x}", f"192.0.2.{n}:5683", self.now_ms - 9000, 31, "mill-2" if n == 7 else None)
                for n in range(7, 7 + keys)
            ),
            tuple(FreeMachine(f"press-{n}", f"Press {n}", "demo \u203a hall-1 \u203a line-2") for n in range(9, 9 + free)),
        )  # fmt: skip

    async def adopt(self, gateway: str, node: str, machine_id: str, *, reason: str, actor: str) -> None:
        if self.refuse:
            raise AdoptionRefusedError(self.refuse)
        self.adopted.append((gateway, node, machine_id, reason, actor))
        self.waiting = replace(self.waiting, nodes=tuple(item for item in self.waiting.nodes if item.node != node))

    async def machine(self, machine_id: str, span_s: int) -> MachineDetail:
        if self.broken:
            raise FeedUnavailableError(self.broken)
        seat = self._seat(machine_id)
        points = self._trend(seat, span_s)
        window_s = max(60, span_s // 60)
        cycles = tuple(
            Point(self.now_ms - ago * 1000, round(seat.rate * window_s / 60)) for ago in range(span_s, 0, -window_s)
        )
        commands = tuple(command for machine, command in reversed(self.log) if machine == machine_id)
        mine = tuple(item for item in reversed(self.configured) if item.node == machine_id)
        return MachineDetail(self._view(seat), span_s, points, cycles, window_s, commands, mine)

    async def configure(
        self, node: str, document: bytes, signature: str | None, *, reason: str, actor: str
    ) -> ConfigurationView:
        if self.refuse:
            raise ConfigurationRefusedError(self.refuse)
        status = ConfigurationStatus.REQUESTED
        revision = json.loads(document)["revision"]
        item = ConfigurationView(node, revision, signature is not None, status, reason, actor, {status: self.now_ms})
        self.configured.append(item)
        return item

    def move_configuration(self, status: ConfigurationStatus, detail: str = "") -> None:
        """What the gateway would tell: the last configuration reaches a state."""
        last = self.configured[-1]
        self.configured[-1] = replace(last, status=status, times={**last.times, status: self.now_ms}, detail=detail)

    async def switch_relay(
        self, machine_id: str, relay: int, *, state: bool, lease_s: int, reason: str, actor: str
    ) -> CommandView:
        seat = self._seat(machine_id)
        if self.refuse:
            raise CommandRefusedError(self.refuse)
        command = CommandView(
            id=f"c{len(self.log) + 1}",
            relay=relay,
            state=state,
            status=CommandStatus.QUEUED,
            lease_s=lease_s,
            reason=reason,
            actor=actor,
            created_ms=self.now_ms,
            times={CommandStatus.QUEUED: self.now_ms},
        )
        seat.command = command
        self.log.append((machine_id, command))
        return command

    def move_command(self, machine_id: str, status: CommandStatus, detail: str = "") -> None:
        """What the gateway and the store would do: the machine's last command reaches a state."""
        seat = self._seat(machine_id)
        assert seat.command is not None
        times = {**seat.command.times, status: self.now_ms}
        seat.command = replace(seat.command, status=status, times=times, detail=detail)
        place = [command.id for _, command in self.log].index(seat.command.id)
        self.log[place] = (machine_id, seat.command)
        if status in {CommandStatus.ACKNOWLEDGED, CommandStatus.CONFIRMED}:
            seat.closed = seat.command.state

    def _seat(self, machine_id: str) -> Seat:
        if machine_id not in self.seats:
            raise UnknownMachineError(f"No machine {machine_id} is registered.")
        return self.seats[machine_id]

    def _trend(self, seat: Seat, span_s: int) -> tuple[Point, ...]:
        step = max(10, span_s // 120)
        phase = sum(map(ord, seat.id))
        return tuple(
            Point(
                self.now_ms - seat.quiet_ms - ago * 1000,
                seat.temperature + 2.4 * math.sin((phase + ago) / 97) + 0.5 * math.sin(ago / 13) - 0.003 * ago,
            )
            for ago in range(span_s, -1, -step)
        )

    def _view(self, seat: Seat) -> MachineView:
        seen = self.now_ms - seat.quiet_ms
        running = seat.closed and seat.rate > 0
        readings = Readings(seen, seat.temperature, seat.fault, (seat.closed,), seen if running else None)
        return MachineView(
            id=seat.id,
            name=seat.name,
            kind=seat.kind,
            site="demo",
            area="hall-1",
            line=seat.line,
            condition=derive_condition(readings, self.now_ms),
            temperature_c=seat.temperature,
            temperature_trend=self._trend(seat, 600),
            cycles_total=seat.cycles,
            cycles_per_min=seat.rate if running else 0.0,
            relays=(RelayView(0, seat.closed, seat.command),),
            last_seen_ms=seen,
            nodes=(NodeView(seat.id, "1.3.0", 4, seen),),
        )
