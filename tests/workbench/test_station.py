from __future__ import annotations

import struct
from random import Random
from typing import TYPE_CHECKING

import pytest

from andon_workbench.registers import POWER_ON_RAW, RegisterFile
from andon_workbench.world.kinds import PACKER
from andon_workbench.world.machine import Machine, MachineState
from andon_workbench.world.runner import World
from andon_workbench.world.sensor_faults import FaultRates, SensorFaults
from andon_workbench.world.station import Station, Wiring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WIRING = Wiring(sensor_bus=4, cycle_input=32, relay_coil=25, relay_contact=33)
SECOND = 1_000_000


class BoardSide:
    """Writes to the register file what a board would, byte by byte from the table in docs/emulation.md."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _write(self, offset: int, data: bytes) -> None:
        with self._path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def _u32(self, offset: int) -> int:
        with self._path.open("rb") as file:
            file.seek(offset)
            return int.from_bytes(file.read(4), "little")

    def drive(self, pin: int, level: int, now_us: int) -> None:
        base = 64 + 64 * pin
        self._write(base + 8, struct.pack("<Q", now_us))
        self._write(base + 1, bytes([level]))
        self._write(base + 4, struct.pack("<I", self._u32(base + 4) + 1))

    def read_scratchpad(self, now_us: int, raw: int, *, clean: bool = True, converted: bool = True) -> None:
        number = self._u32(4096 + 64)
        self._write(8192 + 16 * (number % 256), struct.pack("<QhBBI", now_us, raw, clean, converted, 0))
        self._write(4096 + 64, struct.pack("<I", number + 1))


class Clock:
    def __init__(self) -> None:
        self.now_us = 0

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock, tmp_path: Path) -> Iterator[World]:
    world = World(clock)
    registers = RegisterFile.create(tmp_path / "registers")
    station = Station(registers, WIRING, Machine(PACKER, Random(1), 0), world.ledger.node("packer-1"))
    world.add("packer-1", station)
    yield world
    world.close()


@pytest.fixture
def board(world: World) -> BoardSide:
    return BoardSide(world.stations["packer-1"].registers.path)


def live(world: World, clock: Clock, seconds: float) -> None:
    end = clock.now_us + round(seconds * SECOND)
    while clock.now_us < end:
        clock.now_us = min(end, clock.now_us + 5000)
        world.step()


def test_shift_begins_with_the_first_reading(world: World, clock: Clock, board: BoardSide) -> None:
    live(world, clock, 5)
    assert world.ledger.cycles == 0
    board.read_scratchpad(clock.now_us, POWER_ON_RAW, converted=False)
    live(world, clock, 5)
    assert world.ledger.cycles == 0
    board.read_scratchpad(clock.now_us, 400)
    live(world, clock, 5)
    assert world.ledger.cycles > 5
    assert world.ledger.taken == 1
    assert world.ledger.node("packer-1").refused == {"power-on": 1}


def test_published_pulses_are_the_ledgers_cycles(world: World, clock: Clock, board: BoardSide) -> None:
    board.read_scratchpad(1, 400)
    live(world, clock, 30)
    world.shut_down_machines()
    live(world, clock, 1)
    assert world.quiet
    registers = world.stations["packer-1"].registers
    assert registers.edges_published(WIRING.cycle_input) == 2 * world.ledger.cycles
    assert registers.input_level(WIRING.cycle_input) == 0


def test_open_contact_holds_the_machine_and_reads_back(world: World, clock: Clock, board: BoardSide) -> None:
    station = world.stations["packer-1"]
    board.read_scratchpad(1, 400)
    live(world, clock, 2)
    switched_us = clock.now_us
    board.drive(WIRING.relay_coil, 1, switched_us)
    live(world, clock, 0.005)
    assert station.registers.input_level(WIRING.relay_contact) == 1
    live(world, clock, 0.01)
    assert station.registers.input_level(WIRING.relay_contact) == 0
    (change,) = world.ledger.node("packer-1").contacts
    delay_us = change.time_us - switched_us
    assert not change.closed
    assert PACKER.relay_delay_ms * 1000 <= delay_us <= PACKER.relay_delay_ms * 1000 + 5000
    held_at = world.ledger.cycles
    live(world, clock, 10)
    assert station.machine.state is MachineState.HELD
    assert world.ledger.cycles == held_at
    board.drive(WIRING.relay_coil, 0, clock.now_us)
    live(world, clock, 10)
    assert world.ledger.cycles > held_at
    assert [item.closed for item in world.ledger.node("packer-1").contacts] == [False, True]


def test_shutdown_before_the_first_reading_is_final(world: World, clock: Clock, board: BoardSide) -> None:
    world.shut_down_machines()
    board.read_scratchpad(1, 400)
    live(world, clock, 5)
    assert world.ledger.cycles == 0
    assert world.quiet


def test_unplugged_sensor_has_no_presence(world: World) -> None:
    registers = world.stations["packer-1"].registers
    world.unplug_sensors()
    with registers.path.open("rb") as file:
        file.seek(4096)
        assert file.read(2) == bytes([WIRING.sensor_bus, 0])


def test_sensor_faults_come_at_their_rates(tmp_path: Path) -> None:
    path = tmp_path / "registers"
    with RegisterFile.create(path) as registers:
        faults = SensorFaults(FaultRates(flips_every_s=20, brown_out_every_s=50), Random(4), 0)
        brown_outs = flips = 0
        before = (0, 0)
        for now_us in range(0, 2000 * SECOND, SECOND):
            faults.apply(registers, 0, now_us)
            data = path.read_bytes()
            seen = (data[4096 + 2], int.from_bytes(data[4096 + 16 : 4096 + 20], "little"))
            brown_outs += seen[0] != before[0]
            if seen[1] != before[1]:
                flips += 1
                with path.open("r+b") as file:  # the board has read them all
                    file.seek(4096 + 64)
                    file.write(struct.pack("<I", seen[1]))
            before = seen
    assert brown_outs == pytest.approx(2000 / 50, rel=0.3)
    assert flips == pytest.approx(2000 / 20, rel=0.3)


def contacts(world: World) -> list[tuple[bool, int]]:
    return [(item.closed, item.coil_us) for item in world.ledger.node("packer-1").contacts]


def test_however_late_the_world_looks_the_ledger_has_the_coils_time(
    world: World, clock: Clock, board: BoardSide
) -> None:
    board.drive(WIRING.relay_coil, 1, 10 * SECOND)
    clock.now_us = 29 * SECOND
    world.step()
    board.drive(WIRING.relay_coil, 0, 30 * SECOND)
    clock.now_us = 50 * SECOND
    world.step()
    assert contacts(world) == [(False, 10 * SECOND), (True, 30 * SECOND)]
    assert world.ledger.node("packer-1").coil_changes_unseen == 0


def test_a_coil_that_loses_its_power_is_off_from_then_on(world: World, clock: Clock, board: BoardSide) -> None:
    board.drive(WIRING.relay_coil, 1, 10 * SECOND)
    live(world, clock, 20)
    world.cut_power("packer-1")
    clock.now_us = 50 * SECOND
    world.step()
    assert contacts(world) == [(False, 10 * SECOND), (True, 20 * SECOND)]


def test_changes_that_nobody_could_see_are_counted(world: World, clock: Clock, board: BoardSide) -> None:
    for second in (10, 20, 30):
        board.drive(WIRING.relay_coil, second // 10 % 2, second * SECOND)
    clock.now_us = 40 * SECOND
    world.step()
    assert contacts(world) == [(False, 30 * SECOND)]
    assert world.ledger.node("packer-1").coil_changes_unseen == 2
