"""Si7021 on the sim's I2C bus, transaction by transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from firmware.drivers.parts_area import SI7021, flip_i2c_until, i2c_reads, place_i2c
from firmware.drivers.sensor_vm import SensorVm

if TYPE_CHECKING:
    from firmware.register_file import RegisterFile

# Its own pins of I2C 1 on an ESP32, and any two.
UNIT = {"driver": "si7021", "channel": 0, "i2c": 1}
PINS = {"driver": "si7021", "channel": 0, "sda": "GPIO21", "scl": "GPIO22"}


def test_crc_of_the_data_sheet(registers: RegisterFile) -> None:
    # Polynomial and start of section 5.1's checksum; the expected values are those of the sister chip HTU21D's data
    # sheet, which has the same checksum and gives examples.
    with SensorVm(registers, UNIT) as vm:
        for word, crc in ((b"\xdc", 0x79), (b"\x68\x3a", 0x7C), (b"\x4e\x85", 0x6B)):
            assert vm.eval(f"__import__('andon_node.drivers.si7021').drivers.si7021.crc8({word!r}, 0)") == crc


@pytest.mark.parametrize(
    ("words", "celsius", "humidity"),
    [
        # Formulas of section 5.1.1 and 5.1.2, both ends; humidity is cut to 0 to 100 %RH.
        ((0, 0), -46.85, 0),
        ((65535, 65535), 175.72 * 65535 / 65536 - 46.85, 100),
        ((0x6666, 0x8000), 175.72 * 0x6666 / 65536 - 46.85, 56.5),
    ],
)
@pytest.mark.parametrize(("sensor", "sda"), [(UNIT, 26), (PINS, 21)])
@pytest.mark.parametrize("checksum", [True, False])
def test_conversion(
    registers: RegisterFile,
    sensor: dict[str, Any],
    sda: int,
    words: tuple[int, int],
    celsius: float,
    humidity: float,
    *,
    checksum: bool,
) -> None:
    place_i2c(registers, 0, SI7021, sda=sda, address=0x40, words=words)
    with SensorVm(registers, {**sensor, "checksum": checksum}) as vm:
        [(values, fault)] = vm.sample()
    assert fault == "ok"
    assert values["temperature/0"] == pytest.approx(celsius, abs=0.001)
    assert values["humidity/0"] == pytest.approx(humidity, abs=0.001)
    assert i2c_reads(registers, 0) == [(*words, True)]


def test_flipped_bit_is_no_reading_where_the_checksum_is_read(registers: RegisterFile) -> None:
    place_i2c(registers, 0, SI7021, sda=26, address=0x40, words=(0x6666, 0x8000))
    flip_i2c_until(registers, 0, 1)
    with SensorVm(registers, UNIT) as vm:
        assert vm.sample() == [({}, "crc")]
        [(values, fault)] = vm.sample()
        assert fault == "ok"
        assert len(values) == 2


def test_unplugged_and_back(registers: RegisterFile) -> None:
    place_i2c(registers, 0, SI7021, sda=26, address=0x40, words=(1, 1), connected=False)
    with SensorVm(registers, UNIT) as vm:
        assert vm.sample() == [({}, "absent")]
        place_i2c(registers, 0, SI7021, sda=26, address=0x40, words=(1, 1))
        assert vm.sample()[0][1] == "ok"
