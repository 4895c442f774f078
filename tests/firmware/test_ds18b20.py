"""DS18B20 faults on the sim's bus, and the scratchpad check on its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from firmware.emulated_board import wait_for
from firmware.micropython_vm import LineVm
from firmware.register_file import crc8, rom_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from firmware.register_file import RegisterFile

# `convert` starts a conversion, `read` reads it: "True 20.0 ok".
THERMOMETER = """
import sys
from binascii import hexlify, unhexlify
import registers
registers.attach(sys.argv[1])
from machine import Pin
from onewire import OneWire
from andon_node.drivers import ds18b20
bus = ds18b20.Bus(OneWire(Pin(4)))
rom = unhexlify(sys.argv[2]) if len(sys.argv) > 2 else None
thermometer = ds18b20.Thermometer(0, bus, rom)

def answer(line):
    if line == "convert":
        bus.convert()
        return ""
    if line.startswith("check "):
        return ds18b20.check(unhexlify(line[6:]))
    good = bool(thermometer.read())
    return "%s %s %s" % (good, thermometer.celsius, thermometer.fault)
"""


@pytest.fixture
def thermometer(registers: RegisterFile) -> Iterator[LineVm]:
    registers.sensor(0, gpio=4, raw=320)
    vm = LineVm(THERMOMETER, str(registers.path), sim=True)
    yield vm
    vm.close()


@pytest.fixture
def convert(thermometer: LineVm) -> Callable[[], None]:
    def convert_and_wait() -> None:
        thermometer.ask("convert")
        started = time.monotonic()
        wait_for(lambda: time.monotonic() - started > 0.76)

    return convert_and_wait


def test_good_reading_and_true_85(thermometer: LineVm, registers: RegisterFile, convert: Callable[[], None]) -> None:
    convert()
    assert thermometer.ask("read") == "True 20.0 ok"
    registers.sensor(0, gpio=4, raw=85 * 16)
    convert()
    assert thermometer.ask("read") == "True 85.0 ok"
    registers.sensor(0, gpio=4, raw=-55 * 16)
    convert()
    assert thermometer.ask("read") == "True -55.0 ok"


def test_power_on_value_is_no_reading(
    thermometer: LineVm, registers: RegisterFile, convert: Callable[[], None]
) -> None:
    # Read before any conversion, and after a brown-out in the middle of one.
    assert thermometer.ask("read") == "False None power-on"
    convert()
    registers.brown_out(0)
    assert thermometer.ask("read") == "False None power-on"
    assert not any(record.converted for record in registers.log(0))
    convert()
    assert thermometer.ask("read") == "True 20.0 ok"


def test_one_flipped_bit_is_read_again_and_three_are_a_fault(
    thermometer: LineVm, registers: RegisterFile, convert: Callable[[], None]
) -> None:
    convert()
    registers.flip_until(0, 2)
    assert thermometer.ask("read") == "True 20.0 ok"
    assert [record.clean for record in registers.log(0)] == [False, False, True]
    registers.flip_until(0, 6)
    assert thermometer.ask("read") == "False 20.0 crc"
    assert thermometer.ask("read") == "True 20.0 ok"


def test_unplugged_and_back(thermometer: LineVm, registers: RegisterFile, convert: Callable[[], None]) -> None:
    registers.plug(0, connected=False)
    assert thermometer.ask("read") == "False None absent"
    registers.plug(0, connected=True)
    convert()
    assert thermometer.ask("read") == "True 20.0 ok"


def test_configured_rom_picks_its_sensor(registers: RegisterFile) -> None:
    registers.sensor(0, gpio=4, raw=160, serial=1)
    registers.sensor(1, gpio=4, raw=480, serial=2)
    vm = LineVm(THERMOMETER, str(registers.path), rom_code(2).hex(), sim=True)
    try:
        vm.ask("convert")
        started = time.monotonic()
        wait_for(lambda: time.monotonic() - started > 0.76)
        assert vm.ask("read") == "True 30.0 ok"
        assert registers.reads(0) == 0
        # Its own sensor gone, the other one must not stand in for it.
        registers.plug(1, connected=False)
        assert vm.ask("read") == "False 30.0 absent"
    finally:
        vm.close()


def scratchpad(*head: int) -> str:
    data = bytes(head)
    return (data + bytes([crc8(data)])).hex()


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        ("50054b467fff0c101c", "power-on"),  # the data sheet's power-on scratchpad, with its CRC
        (scratchpad(0x50, 0x05, 0x4B, 0x46, 0x7F, 0xFF, 0x10, 0x10), "ok"),  # a true 85.0
        (scratchpad(0x91, 0x01, 0x4B, 0x46, 0x7F, 0xFF, 0x0F, 0x10), "ok"),
        ("910" + "14b467fff0f1000", "crc"),
        ("00" * 9, "crc"),  # bus shorted to ground: the CRC of zeros is right
        (scratchpad(0xD1, 0x07, 0x4B, 0x46, 0x7F, 0xFF, 0x0F, 0x10), "range"),  # 125.0625
        (scratchpad(0x8F, 0xFC, 0x4B, 0x46, 0x7F, 0xFF, 0x01, 0x10), "range"),  # -55.0625
    ],
)
def test_scratchpad_check(thermometer: LineVm, data: str, verdict: str) -> None:
    assert thermometer.ask("check " + data) == verdict
