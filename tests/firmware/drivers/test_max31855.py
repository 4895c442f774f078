"""MAX31855: the data sheet's tables, and the chip on the sim's SPI bus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from firmware.drivers.parts_area import place_spi, spi_reads
from firmware.drivers.sensor_vm import SensorVm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware.register_file import RegisterFile

SENSOR = {
    "driver": "max31855", "channel": 1, "junction_channel": 2,
    "sck": "GPIO18", "miso": "GPIO19", "mosi": "GPIO13", "cs": "GPIO17",
}  # fmt: skip

# Data sheet 19-5793, table 4 (thermocouple, 14 bits) and table 5 (junction, 12 bits).
TIP = [
    ("01100100000000", 1600.0),
    ("00111110100000", 1000.0),
    ("00000110010011", 100.75),
    ("00000001100100", 25.0),
    ("11111111111111", -0.25),
    ("11111111111100", -1.0),
    ("11110000011000", -250.0),
]
JUNCTION = [
    ("011111110000", 127.0),
    ("011001001001", 100.5625),
    ("000110010000", 25.0),
    ("000000000000", 0.0),
    ("111111111111", -0.0625),
    ("111111110000", -1.0),
    ("111011000000", -20.0),
    ("110010010000", -55.0),
]


@pytest.fixture
def vm(registers: RegisterFile) -> Iterator[SensorVm]:
    with SensorVm(registers, SENSOR) as started:
        yield started


def word(tip: str = "00000001100100", junction: str = "000110010000", fault: int = 0) -> int:
    return int(tip + "0" + ("1" if fault else "0") + junction + "0" + f"{fault:03b}", 2)


@pytest.mark.parametrize(("bits", "celsius"), TIP)
def test_thermocouple_table(registers: RegisterFile, vm: SensorVm, bits: str, celsius: float) -> None:
    place_spi(registers, 0, miso=19, cs=17, word=word(tip=bits))
    assert vm.sample() == [({"temperature/1": celsius, "temperature/2": 25.0}, "ok")]
    assert spi_reads(registers, 0) == [word(tip=bits)]


@pytest.mark.parametrize(("bits", "celsius"), JUNCTION)
def test_junction_table(registers: RegisterFile, vm: SensorVm, bits: str, celsius: float) -> None:
    place_spi(registers, 0, miso=19, cs=17, word=word(junction=bits))
    assert vm.sample() == [({"temperature/1": 25.0, "temperature/2": celsius}, "ok")]


@pytest.mark.parametrize(("bits", "fault"), [(1, "open"), (2, "short-gnd"), (4, "short-vcc")])
def test_wire_faults_are_no_readings(registers: RegisterFile, vm: SensorVm, bits: int, fault: str) -> None:
    place_spi(registers, 0, miso=19, cs=17, word=word(fault=bits))
    assert vm.sample() == [({}, fault)]
    place_spi(registers, 0, miso=19, cs=17, word=word())
    assert vm.sample()[0][1] == "ok"


def test_nobody_on_the_line(registers: RegisterFile, vm: SensorVm) -> None:
    assert vm.sample() == [({}, "absent")]  # pulled up: all ones
    place_spi(registers, 0, miso=19, cs=17, word=0)
    assert vm.sample() == [({}, "absent")]  # shorted to ground
    place_spi(registers, 0, miso=19, cs=16, word=word())
    assert vm.sample() == [({}, "absent")]  # another chip's select
