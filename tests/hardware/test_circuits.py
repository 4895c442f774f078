"""The calculations against numbers worked by hand, integration step by step, sampling between the corners, and ngspice."""

from __future__ import annotations

import re
import shutil
import subprocess
from math import exp, log
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import require_part

from andon_hardware import circuits, loop_input, pulse_input, relay_driver, serial_line, supply
from andon_hardware.pulse_input import CONTACT, ELECTRONIC, FILTER_S, Filter
from andon_hardware.tolerance import Figure, Range, over_tolerances

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

ALL = [(circuit.title, figure) for circuit in circuits.CIRCUITS for figure in circuit.figures()]


@pytest.mark.parametrize(("title", "figure"), ALL, ids=[f"{title}: {figure.what}" for title, figure in ALL])
def test_every_limit_is_kept_in_the_worst_case(title: str, figure: Figure) -> None:
    assert figure.kept, title


def test_a_limit_can_be_broken() -> None:
    """The check above can fail: at the nominal value all is well, at a corner it is not."""
    assert not Figure("x", "", Range(0.9, 1.0, 1.1), "V", at_most=1.05).kept
    assert not Figure("x", "", Range(0.9, 1.0, 1.1), "V", at_least=0.95).kept
    assert Figure("x", "", Range(0.9, 1.0, 1.1), "V", 0.9, 1.1).kept


# Worked by hand from the part values in hardware/circuits.md.
@pytest.mark.parametrize(
    ("found", "by_hand"),
    [
        (FILTER_S, 12.7875e-6),  # 1023 / 80e6
        (pulse_input.input_current(24.0).nominal, 6.909e-3),  # (24 - 1.2) / 3300
        (pulse_input.led_current(15.0).low, 1.8226e-3),  # 13.5 / 3333 - 1.5 / 673.2
        (pulse_input.dark_up_to().low, 5.181),  # 0.9 (1 + 3267 / 686.8)
        (pulse_input.series_power(30.0).nominal, 0.25135),  # 28.8^2 / 3300
        (ELECTRONIC.rising().nominal, 7.48e-6),  # 11 k * 680 p
        (ELECTRONIC.rise(0.25, 0.75).high, 8.7145e-6),  # 11.11 k * 714 p * ln 3
        (ELECTRONIC.fall(0.75, 0.25).high, 11.73e-6),  # 10.1 k * 714 p * ln(1.95125 / 0.38375)
        (CONTACT.rising().nominal, 1.47e-3),  # 14.7 k * 100 n
        (loop_input.voltage(21e-3).high, 2.1021),  # 21 mA * 100.1
        (loop_input.shunt_power_miswired().high, 0.42423),  # 6.51^2 / 99.9
        (loop_input.fault_current().low, 0.8745),  # 17.49 / 20
        (loop_input.clamp_current().high, 3.1566e-3),  # (6.51 - 3.135 - 0.25) / 990
        (loop_input.error_share()["ADC"], 0.0375),  # 60 mV / 100 / 16 mA
        (relay_driver.coil_current().nominal, 79.33e-3),  # 5 / 63.03
        (relay_driver.undriven_gate().high, 0.47344),  # 3.465 * 4747 / 34747
        (relay_driver.drain_peak().high, 6.05),  # 5.15 + 0.9
        (relay_driver.decay().nominal, 2.4220e-3),  # 0.1 / 63 * ln(5.75 / 1.25)
        (serial_line.idle_voltage(serial_line.BIAS, 1).nominal, 0.26757),  # 3.3 * 120 / 1480
        (serial_line.idle_voltage(serial_line.BUS_BIAS, 2).nominal, 0.23571),  # 3.3 * 60 / 840
        (serial_line.load(serial_line.BUS_BIAS, 2).nominal, 55.714),  # 60 || 780
        (serial_line.received_voltage(500.0).nominal, 1.03448),  # 1.5 * 120 / 174
        (pulse_input.shortest_pulse(ELECTRONIC), 30.950e-6),  # 12.7875 + 4 + 10.1 k * 714 p * ln(2.735 / 0.38375)
        (pulse_input.shortest_pause(ELECTRONIC), 27.784e-6),  # 12.7875 + 4 + 11.11 k * 714 p * ln 4
        (pulse_input.unseen(CONTACT), 260.7e-6),  # 9.9 k * 90 n * ln(3.415 / 2.54875)
        (serial_line.unit_loads().nominal, 6.838),  # 12 k (1/54 - 1/60 - 1/780)
        (supply.fuse_current().nominal, 0.38570),  # 5 * 0.22933 / 20.16 + 2 * 6.909 m + 15 m + 300 m
        (supply.surge_until_converter().low, 1.28),  # 1.6 * 8.8 / 11
        (supply.converter_load().high, 0.59080),  # 0.5 + 5.15 / 56.72
    ],
)
def test_worked_by_hand(found: float, by_hand: float) -> None:
    assert found == pytest.approx(by_hand, rel=2e-3)


def integrated(
    circuit: Filter,
    levels: Callable[[float], bool],
    until: Callable[[float, float], bool],
    start_v: float,
    supply: float = 3.3,
) -> float:
    """Time at which `until(time, volts)` holds, by small steps of the capacitor's current: no formula of the module."""
    volts, time = start_v, 0.0
    pull_up, series, farad = circuit.pull_up.nominal, circuit.series.nominal, circuit.capacitor.nominal
    step = series * farad / 20_000
    while not until(time, volts):
        if levels(time):
            amperes = (circuit.saturation_v.nominal - volts) / series
        else:
            amperes = (supply - volts) / (pull_up + series)
        volts += amperes * step / farad
        time += step
    return time


@pytest.mark.parametrize("circuit", [ELECTRONIC, CONTACT])
def test_edges_against_integration(circuit: Filter) -> None:
    low, high = 0.25 * 3.3, 0.75 * 3.3
    rise = integrated(circuit, lambda _t: False, lambda _t, volts: volts >= high, low)
    assert circuit.rise(0.25, 0.75).nominal == pytest.approx(rise, rel=2e-3)
    fall = integrated(circuit, lambda _t: True, lambda _t, volts: volts <= low, high)
    assert circuit.fall(0.75, 0.25).nominal == pytest.approx(fall, rel=2e-3)


def test_short_disturbance_is_dropped_and_a_long_enough_pulse_is_not() -> None:
    """Time that the pin reads low after a pulse of the optocoupler, integrated, against what the module promises."""

    def low_for(pulse_s: float, threshold_v: float) -> float:
        crossed = integrated(ELECTRONIC, lambda t: t < pulse_s, lambda t, v: v <= threshold_v or t > 3 * pulse_s, 3.3)
        back = integrated(
            ELECTRONIC, lambda t: t < pulse_s, lambda t, v: t > max(pulse_s, crossed) and v >= threshold_v, 3.3
        )
        return back - crossed

    # Until it is surely high again: not even so long is it low for the filter.
    assert low_for(pulse_input.longest_rejected(ELECTRONIC), 0.75 * 3.3) < FILTER_S
    # Only while it is surely low: long enough for the filter.
    assert low_for(pulse_input.shortest_pulse(ELECTRONIC) - ELECTRONIC.delay_s, 0.25 * 3.3) >= FILTER_S
    assert low_for(2 * pulse_input.longest_rejected(ELECTRONIC), 0.75 * 3.3) > FILTER_S


def exactly(value: float) -> Range:
    return Range(value, value, value)


@pytest.mark.parametrize("least", [False, True], ids=["slowest parts", "fastest parts"])
def test_shortest_pulse_and_pause_are_counted_with_the_worst_parts(least: bool) -> None:  # noqa: FBT001  a corner
    """Integrated with every part at a corner: low, and high, at the pin for as long as the counter's filter wants."""

    def corner(part: Range) -> float:
        return part.low if least else part.high

    volts = pulse_input.SUPPLY.low
    worst = Filter(
        exactly(corner(ELECTRONIC.pull_up)), exactly(corner(ELECTRONIC.series)), exactly(corner(ELECTRONIC.capacitor)),
        exactly(ELECTRONIC.saturation_v.high), ELECTRONIC.delay_s,
    )  # fmt: skip
    pulse = pulse_input.shortest_pulse(ELECTRONIC) - ELECTRONIC.delay_s
    low, high = 0.25 * volts, 0.75 * volts
    down = integrated(worst, lambda _t: True, lambda _t, v: v <= low, volts, volts)
    up = integrated(worst, lambda t: t < pulse, lambda t, v: t > pulse and v >= low, volts, volts)
    assert up - down >= FILTER_S
    pause = pulse_input.shortest_pause(ELECTRONIC) - ELECTRONIC.delay_s
    up = integrated(worst, lambda _t: False, lambda _t, v: v >= high, 0.0, volts)
    down = integrated(worst, lambda t: t >= pause, lambda t, v: t > pause and v <= high, 0.0, volts)
    assert down - up >= FILTER_S


@given(st.randoms(use_true_random=False))
def test_extremes_lie_at_the_corners(rng: random.Random) -> None:
    """What `over_tolerances` assumes, for values anywhere between the limits."""

    def between(part: Range) -> float:
        return rng.uniform(part.low, part.high)

    led = pulse_input.led_current(24.0)
    volts = between(pulse_input.LED_V)
    current = (24.0 - volts) / between(pulse_input.SERIES) - volts / between(pulse_input.SHUNT)
    assert led.low <= current <= led.high
    tau = between(ELECTRONIC.series) * between(ELECTRONIC.capacitor)
    supply, saturation = between(pulse_input.SUPPLY), between(ELECTRONIC.saturation_v)
    fall = ELECTRONIC.fall(0.75, 0.25)
    assert fall.low <= tau * log((0.75 * supply - saturation) / (0.25 * supply - saturation)) <= fall.high
    coil, five, diode = between(relay_driver.COIL_OHM), between(relay_driver.SUPPLY), between(relay_driver.DIODE_V)
    decay = between(relay_driver.COIL_HENRY) / coil * log((five + diode) / (0.5 + diode))
    assert relay_driver.decay().low <= decay <= relay_driver.decay().high
    bias, end = between(serial_line.BIAS), between(serial_line.TERMINATION)
    idle = serial_line.idle_voltage(serial_line.BIAS, 1)
    assert idle.low <= between(serial_line.SUPPLY) * end / (2 * bias + end) <= idle.high


def test_worst_case_of_a_formula() -> None:
    found = over_tolerances(lambda volts, ohm: volts / ohm, volts=Range.part(10.0, 0.1), ohm=Range.part(5.0, 0.2))
    assert (found.low, found.nominal, found.high) == pytest.approx((1.5, 2.0, 2.75))
    with pytest.raises(ValueError, match="expected low <= nominal"):
        Range(1.0, 0.5, 2.0)


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (12.7875e-6, "s", "12.8 \N{MICRO SIGN}s"),
        (6.909e-3, "A", "6.91 mA"),
        (0.045, "", "4.5 %"),
        (55.71, "ohm", "55.71 Ω"),
        (1.0, "V", "1 V"),
    ],
)
def test_quantities_as_they_are_written(value: float, unit: str, words: str) -> None:
    assert circuits.quantity(value, unit) == words


NETLIST = """pulse input
Vdd vdd 0 3.3
R3 vdd out {pull_up}
R4 out pin {series}
C1 pin 0 {farad} IC=3.3
Vs sat 0 {saturation}
S1 out sat ctl 0 opto
.model opto SW(RON=1 ROFF=1G VT=0.5 VH=0)
Vc ctl 0 PWL(0 0 {on} 0 {on1} 1 {off} 1 {off1} 0)
.tran {step} {end} UIC
.meas tran fall TRIG v(pin) VAL=2.475 FALL=1 TARG v(pin) VAL=0.825 FALL=1
.meas tran rise TRIG v(pin) VAL=0.825 RISE=1 TARG v(pin) VAL=2.475 RISE=1
.end
"""


@pytest.mark.parametrize("circuit", [ELECTRONIC, CONTACT])
def test_edges_against_ngspice(circuit: Filter, tmp_path: Path) -> None:
    require_part("ngspice", found=shutil.which("ngspice") is not None, how="make deps-test")
    tau = circuit.rising().nominal
    (tmp_path / "input.cir").write_text(
        NETLIST.format(
            pull_up=circuit.pull_up.nominal, series=circuit.series.nominal, farad=circuit.capacitor.nominal,
            saturation=circuit.saturation_v.nominal, on=tau, on1=tau * 1.0001, off=9 * tau, off1=9.0001 * tau,
            step=tau / 500, end=20 * tau,
        )
    )  # fmt: skip
    done = subprocess.run(
        ["ngspice", "-b", "input.cir"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    measured = {
        name: float(value) for name, value in re.findall(r"^(fall|rise)\s*=\s*(\S+)", done.stdout, re.MULTILINE)
    }
    assert circuit.fall(0.75, 0.25).nominal == pytest.approx(measured["fall"], rel=5e-3), done.stdout
    assert circuit.rise(0.25, 0.75).nominal == pytest.approx(measured["rise"], rel=5e-3)


def test_relay_current_against_integration() -> None:
    """The coil's current through the diode, step by step."""
    amperes, time, step = relay_driver.SUPPLY.nominal / 63.0, 0.0, 1e-7
    while amperes > 0.5 / 63.0:
        amperes -= (amperes * 63.0 + relay_driver.DIODE_V.nominal) / 0.1 * step
        time += step
    assert relay_driver.decay().nominal == pytest.approx(time, rel=1e-3)


def test_rejected_disturbance_has_a_closed_form() -> None:
    """At the limit the low time is exactly the filter's."""
    limit = pulse_input.longest_rejected(ELECTRONIC)
    assert pulse_input.low_time(ELECTRONIC, limit) == pytest.approx(FILTER_S, rel=1e-6)
    # A pulse that does not even reach 0.75 VDD leaves no trace.
    short = 0.9 * ELECTRONIC.falling().low * log(1 / 0.75)
    assert 3.3 * exp(-short / ELECTRONIC.falling().low) > 0.75 * 3.3
    assert pulse_input.low_time(ELECTRONIC, short) == 0.0
