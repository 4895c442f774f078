"""NTC and 4-20 mA on the sim's ADC."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from firmware.drivers.parts_area import voltage
from firmware.drivers.sensor_vm import SensorVm

if TYPE_CHECKING:
    from firmware.register_file import RegisterFile

NTC = {"driver": "ntc", "channel": 0, "pin": "GPIO36"}
LOOP = {"driver": "4-20ma", "quantity": "pressure", "channel": 0, "pin": "GPIO39", "low": 0, "high": 1000000}
# Coefficients and table of the common 10K3A1 thermistor, as its maker publishes them.
COEFFICIENTS = [1.129241e-3, 2.341077e-4, 8.775468e-8]
TABLE = [(335671, -40.0), (32650.8, 0.0), (10000, 25.0), (3602.9, 50.0), (678.1, 100.0)]


@pytest.mark.parametrize(("ohm", "celsius"), TABLE)
def test_steinhart_hart_against_the_makers_table(registers: RegisterFile, ohm: float, celsius: float) -> None:
    with SensorVm(registers, NTC) as vm:
        assert vm.eval(f"ntc.steinhart_hart_celsius({ohm}, *{COEFFICIENTS})") == pytest.approx(celsius, abs=0.03)


def divider_uv(ohm: float, *, pull: str) -> int:
    share = ohm / (10000 + ohm)
    return round(3.3e6 * (share if pull == "up" else 1 - share))


@pytest.mark.parametrize("pull", ["up", "down"])
@pytest.mark.parametrize("celsius", [-10.0, 0.0, 25.0, 60.0, 90.0])
def test_beta_through_the_divider(registers: RegisterFile, pull: str, celsius: float) -> None:
    ohm = 10000 * math.exp(3950 * (1 / (celsius + 273.15) - 1 / 298.15))
    voltage(registers, 36, divider_uv(ohm, pull=pull))
    with SensorVm(registers, {**NTC, "pull": pull}) as vm:
        [(values, fault)] = vm.sample()
    assert fault == "ok"
    # One step of the converter is 0.76 mV: at 90 degC a fifth of a degree.
    assert values["temperature/0"] == pytest.approx(celsius, abs=0.25)


@pytest.mark.parametrize("pull", ["up", "down"])
def test_broken_and_shorted_thermistor(registers: RegisterFile, pull: str) -> None:
    with SensorVm(registers, {**NTC, "pull": pull}) as vm:
        voltage(registers, 36, 3300000 if pull == "up" else 0)
        assert vm.sample() == [({}, "open")]
        voltage(registers, 36, 0 if pull == "up" else 3300000)
        # Pulled down, a short reads as the converter's end, 0.2 V below the supply: it must not pass for 103 degC.
        assert vm.sample() == [({}, "short")]
        voltage(registers, 36, 1650000)
        assert vm.sample()[0][1] == "ok"


@pytest.mark.parametrize(
    ("milliamperes", "pascal", "fault"),
    [
        (4.0, 0, "ok"),
        (12.0, 500000, "ok"),
        (20.0, 1000000, "ok"),
        # NAMUR NE 43: the value is good from 3.8 to 20.5 mA, a failure is at most 3.6 or at least 21 mA.
        (3.8, -12500, "ok"),
        (20.5, 1031250, "ok"),
        (3.6, None, "under-range"),
        (0.0, None, "under-range"),
        (21.1, None, "over-range"),
    ],
)
def test_loop_current(registers: RegisterFile, milliamperes: float, pascal: float | None, fault: str) -> None:
    voltage(registers, 39, round(milliamperes * 100 * 1000))
    with SensorVm(registers, LOOP) as vm:
        [(values, seen)] = vm.sample()
    assert seen == fault
    # One step of the converter is 7.6 uA through 100 ohm: 473 Pa of this range.
    assert values == ({} if pascal is None else {"pressure/0": pytest.approx(pascal, abs=600)})


def test_failure_limits_are_exact(registers: RegisterFile) -> None:
    with SensorVm(registers, LOOP) as vm:
        assert vm.eval("[loop_current.fault_of(ua) for ua in (3600, 3601, 20999, 21000)]") == [
            "under-range", "ok", "ok", "over-range",
        ]  # fmt: skip


def test_falling_scale_and_other_quantity(registers: RegisterFile) -> None:
    voltage(registers, 39, 800000)
    with SensorVm(registers, {**LOOP, "quantity": "level", "low": 2.5, "high": 0.5}) as vm:
        [(values, _)] = vm.sample()
    assert values["level/0"] == pytest.approx(2.0, abs=0.002)
