"""Digital inputs and S0 meters: pins of the register file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from firmware.drivers.sensor_vm import SensorVm
from firmware.emulated_board import wait_for
from firmware.micropython_vm import run_vm

if TYPE_CHECKING:
    from firmware.register_file import RegisterFile

SETTLED = """
from andon_node.drivers.digital_input import Settled
settled = Settled(0, 50, 1000)
seen = []
for now, level in ((1010, 1), (1030, 0), (1040, 1), (1089, 1), (1090, 1), (1100, 0), (1149, 0), (1150, 0)):
    if settled.take(level, now):
        seen.append((now, settled.level))
print(seen)
"""


def test_a_level_counts_once_it_has_stayed() -> None:
    # 20 ms of 1 are bounce; 50 ms of 1 from 1040 on are the state; then 50 ms of 0.
    assert run_vm(SETTLED, sim=True).stdout.strip() == "[(1090, 1), (1150, 0)]"


@pytest.mark.parametrize(("active", "level", "state"), [("low", 0, True), ("low", 1, False), ("high", 1, True)])
def test_input_state(registers: RegisterFile, active: str, level: int, state: bool) -> None:  # noqa: FBT001 -- a table
    registers.input(32, level)
    with SensorVm(registers, {"driver": "input", "channel": 3, "pin": "IN1", "active": active}) as vm:
        assert vm.sample() == [({"input/3": state}, "ok")]


@pytest.mark.parametrize(("per_kwh", "pulses", "joules"), [(1000, 3, 10800), (800, 2, 9000), (7, 8, 4114285)])
def test_s0_pulses_become_joules(registers: RegisterFile, per_kwh: int, pulses: int, joules: int) -> None:
    # DIN 43864: at least 30 ms on, at least 30 ms off; here with 2 ms of bounce at each edge.
    registers.input(33, 1)
    with SensorVm(registers, {"driver": "s0", "channel": 0, "pin": "IN2", "pulses_per_kwh": per_kwh}) as vm:
        assert vm.sample() == [({"energy/0": 0}, "ok")]
        at_us = time.monotonic_ns() // 1000
        for _ in range(pulses):
            for offset_us, level in ((0, 0), (500, 1), (2000, 0), (30000, 1), (30800, 0), (32000, 1)):
                registers.edge(33, level, at_us + offset_us)
            at_us += 62000
        wait_for(lambda: vm.sample() == [({"energy/0": joules}, "ok")])


def test_energy_never_drifts(registers: RegisterFile) -> None:
    with SensorVm(registers, {"driver": "s0", "channel": 0, "pin": "IN2"}) as vm:
        assert vm.eval("[s0_meter.joules(n, 7) for n in (1, 7, 7000000, 2**40)]") == [
            514285, 3600000, 3600000000000, 2**40 * 3600000 // 7,
        ]  # fmt: skip
