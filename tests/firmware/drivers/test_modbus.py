"""Modbus RTU master against the specification's examples and the sim's slaves."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from firmware.drivers.parts_area import modbus_requests, modbus_words, place_modbus
from firmware.drivers.sensor_vm import SensorVm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware.register_file import RegisterFile

SILENT, BAD_CRC, NOISE, BUSY, CUT = 1, 2, 3, 4, 5


def meter(*registers: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"driver": "modbus", "uart": 2, "unit": 17, "timeout_ms": 60, "registers": list(registers), **changes}


def power(**changes: Any) -> dict[str, Any]:
    return {"quantity": "power", "channel": 0, "register": 10, **changes}


@pytest.fixture
def vm(registers: RegisterFile) -> Iterator[SensorVm]:
    with SensorVm(registers, meter(power())) as started:
        yield started


def test_examples_of_the_specification(vm: SensorVm) -> None:
    # Application protocol 6.3: read holding registers 108 to 110; the frame with its CRC is the well-known one of unit 17.
    assert vm.eval("modbus.request(17, 3, 107, 3).hex()") == "1103006b00037687"
    assert vm.eval("modbus.check(bytes.fromhex('110306ae415652434049ad'), 17, 3, 3)") == "ok"
    # The catalogue's check value of CRC-16/MODBUS.
    assert vm.eval("modbus.crc16(b'123456789')") == 0x4B37
    assert vm.eval("modbus.check(bytes.fromhex('110306ae415652434049ac'), 17, 3, 3)") == "crc"


@pytest.mark.parametrize(
    ("kind", "form", "value"),
    [
        ("int16", ">h", -1234),
        ("uint16", ">H", 54321),
        ("int32", ">i", -123456789),
        ("uint32", ">I", 4123456789),
        ("float32", ">f", 230.5),
    ],
)
@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("table", ["holding", "input"])
def test_types_and_word_orders(
    registers: RegisterFile, kind: str, form: str, value: float, order: str, table: str
) -> None:
    data = struct.pack(form, value)
    words = [*struct.unpack(f">{len(data) // 2}H", data)]
    place_modbus(registers, 0, uart=2, unit=17)
    modbus_words(registers, 0, 10, *(words if order == "big" else reversed(words)), table=table)
    with SensorVm(registers, meter(power(type=kind, order=order, table=table))) as vm:
        assert vm.sample() == [({"power/0": value}, "ok")]


def test_scaling_keeps_whole_numbers_whole(registers: RegisterFile) -> None:
    place_modbus(registers, 0, uart=2, unit=17)
    # 42,949,672.95 kWh in hundredths: as joules far beyond what a 32-bit float holds.
    modbus_words(registers, 0, 0, 0xFFFF, 0xFFFF)
    modbus_words(registers, 0, 10, 2305)
    energy = {"quantity": "meter", "channel": 0, "register": 0, "type": "uint32", "multiply": 36000}
    voltage = {"quantity": "voltage", "channel": 0, "register": 10, "divide": 10}
    with SensorVm(registers, meter(energy, voltage)) as vm:
        assert vm.sample() == [({"meter/0": 0xFFFFFFFF * 36000, "voltage/0": 230.5}, "ok")]


@pytest.mark.parametrize(
    ("disturbance", "fault"), [(SILENT, "timeout"), (BAD_CRC, "crc"), (NOISE, "crc"), (CUT, "crc"), (BUSY, "exception")]
)
def test_disturbed_answers_are_no_readings_and_pass(
    registers: RegisterFile, vm: SensorVm, disturbance: int, fault: str
) -> None:
    place_modbus(registers, 0, uart=2, unit=17, disturbance=disturbance)
    modbus_words(registers, 0, 10, 7)
    assert vm.sample() == [({}, fault)]
    place_modbus(registers, 0, uart=2, unit=17)
    assert vm.sample() == [({"power/0": 7}, "ok")]


def test_wrong_unit_and_wrong_register(registers: RegisterFile) -> None:
    place_modbus(registers, 0, uart=2, unit=17)
    modbus_words(registers, 0, 10, 7)
    with SensorVm(registers, meter(power(), unit=18)) as vm:
        assert vm.sample() == [({}, "timeout")]
    # A register that the meter does not have costs its own value only.
    with SensorVm(registers, meter(power(), power(channel=1, register=200))) as vm:
        assert vm.sample() == [({"power/0": 7}, "exception")]
        assert modbus_requests(registers, 0) == 1 + 2


def test_two_meters_on_one_line(registers: RegisterFile) -> None:
    for number, unit in enumerate((17, 18)):
        place_modbus(registers, number, uart=2, unit=unit)
        modbus_words(registers, number, 10, 100 + unit)
    with SensorVm(registers, meter(power()), meter(power(channel=1), unit=18)) as vm:
        assert vm.sample() == [({"power/0": 117}, "ok"), ({"power/1": 118}, "ok")]


def test_not_a_number_is_no_reading(registers: RegisterFile) -> None:
    place_modbus(registers, 0, uart=2, unit=17)
    for value in (float("nan"), float("inf"), float("-inf")):
        modbus_words(registers, 0, 10, *struct.unpack(">HH", struct.pack(">f", value)))
        with SensorVm(registers, meter(power(type="float32"))) as vm:
            assert vm.sample() == [({}, "exception")]
