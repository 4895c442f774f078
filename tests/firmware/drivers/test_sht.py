"""SHT3x and SHT4x on the sim's I2C bus, transaction by transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from firmware.drivers.parts_area import SHT3X, SHT4X, flip_i2c_until, i2c_reads, place_i2c
from firmware.drivers.sensor_vm import SensorVm

if TYPE_CHECKING:
    from firmware.register_file import RegisterFile

SENSOR = {"channel": 0, "sda": "GPIO21", "scl": "GPIO22"}


def test_crc_of_the_data_sheets(registers: RegisterFile) -> None:
    # SHT3x table 20 and SHT4x section 4.4 give the same example; the check value is CRC-8/NRSC-5's.
    with SensorVm(registers, {"driver": "sht3x", **SENSOR}) as vm:
        assert vm.eval("sht.crc8(b'\\xbe\\xef', 0xFF)") == 0x92
        assert vm.eval("sht.crc8(b'123456789', 0xFF)") == 0xF7


@pytest.mark.parametrize(
    ("driver", "kind", "words", "celsius", "humidity"),
    [
        ("sht3x", SHT3X, (0, 0), -45, 0),
        ("sht3x", SHT3X, (65535, 65535), 130, 100),
        ("sht3x", SHT3X, (0x6666, 0x8000), 25, 100 * 0x8000 / 65535),
        ("sht4x", SHT4X, (0x6666, 0x8000), 25, 125 * 0x8000 / 65535 - 6),
        # The SHT4x's formula leaves 0 to 100 %RH at both ends; its data sheet says to cut there.
        ("sht4x", SHT4X, (0, 0), -45, 0),
        ("sht4x", SHT4X, (65535, 65535), 130, 100),
    ],
)
def test_conversion(
    registers: RegisterFile, driver: str, kind: int, words: tuple[int, int], celsius: float, humidity: float
) -> None:
    place_i2c(registers, 0, kind, sda=21, address=0x44, words=words)
    with SensorVm(registers, {"driver": driver, **SENSOR}) as vm:
        [(values, fault)] = vm.sample()
    assert fault == "ok"
    assert values["temperature/0"] == pytest.approx(celsius, abs=0.001)
    assert values["humidity/0"] == pytest.approx(humidity, abs=0.001)
    assert i2c_reads(registers, 0) == [(*words, True)]


def test_flipped_bit_is_no_reading_and_the_next_one_is(registers: RegisterFile) -> None:
    place_i2c(registers, 0, SHT4X, sda=21, address=0x44, words=(0x6666, 0x8000))
    flip_i2c_until(registers, 0, 1)
    with SensorVm(registers, {"driver": "sht4x", **SENSOR}) as vm:
        assert vm.sample() == [({}, "crc")]
        [(values, fault)] = vm.sample()
        assert fault == "ok"
        assert len(values) == 2


def test_unplugged_wrong_address_and_back(registers: RegisterFile) -> None:
    place_i2c(registers, 0, SHT3X, sda=21, address=0x45, words=(1, 1))
    with SensorVm(registers, {"driver": "sht3x", **SENSOR}) as vm:
        assert vm.sample() == [({}, "absent")]
        place_i2c(registers, 0, SHT3X, sda=21, address=0x44, words=(1, 1))
        assert vm.sample()[0][1] == "ok"
        place_i2c(registers, 0, SHT3X, sda=21, address=0x44, words=(1, 1), connected=False)
        assert vm.sample() == [({}, "absent")]


def test_two_sensors_share_a_bus(registers: RegisterFile) -> None:
    place_i2c(registers, 0, SHT3X, sda=21, address=0x44, words=(0x6666, 0))
    place_i2c(registers, 1, SHT4X, sda=21, address=0x45, words=(0xFFFF, 0))
    second = {"driver": "sht4x", "channel": 1, "sda": "GPIO21", "scl": "GPIO22", "address": 0x45}
    with SensorVm(registers, {"driver": "sht3x", **SENSOR}, second) as vm:
        (first, _), (other, _) = vm.sample()
    assert first["temperature/0"] == pytest.approx(25, abs=0.001)
    assert other["temperature/1"] == pytest.approx(130, abs=0.001)
