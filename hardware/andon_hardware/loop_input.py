"""The 4-20 mA input: a shunt at the ESP32's ADC, and what keeps a wrong wire from destroying it."""

from __future__ import annotations

from typing import Final

from andon_hardware.tolerance import Figure, Range, over_tolerances

# The largest of the E12 row for which 21 mA stays within the ADC's calibrated range; config.json's shunt_ohm.
SHUNT: Final = Range.part(100.0, 0.001)
# 25 ppm/K over 35 K on top of that.
SHUNT_DRIFT: Final = 25e-6 * 35
# MF-R005: resettable fuse, holds 50 mA, trips at 100 mA; resistance when new to after a trip.
FUSE: Final = Range(7.3, 11.0, 20.0)
# 1N5341B: 6.2 V, 5 %; up to 1 uA at 3 V.
ZENER_V: Final = Range.part(6.2, 0.05)
ZENER_LEAK_A: Final = 1e-6
SERIES: Final = Range.part(1000.0, 0.01)
CAPACITOR: Final = Range.part(1e-6, 0.10)
# BAT54S: 2 uA at 25 V and 25 degC; five times that in a warm cabinet.
CLAMP_LEAK_A: Final = 10e-6
CLAMP_V: Final = Range(0.25, 0.35, 0.5)
SUPPLY: Final = Range.part(3.3, 0.05)
NOMINAL_V: Final = 24.0

# ESP32 datasheet, ADC after calibration at 11 dB: within 60 mV from 150 to 2,450 mV.
ADC_LOW_V: Final = 0.150
ADC_HIGH_V: Final = 2.450
ADC_ERROR_V: Final = 0.060
# NAMUR NE 43: failure at 3.6 mA and below, at 21 mA and above.
FAIL_LOW_A: Final = 3.6e-3
FAIL_HIGH_A: Final = 21e-3
SPAN_A: Final = 16e-3


def voltage(amperes: float) -> Range:
    """Voltage at the shunt."""
    return over_tolerances(lambda shunt: amperes * shunt, shunt=SHUNT)


def burden(amperes: float) -> Range:
    """What the input takes of the loop's voltage."""
    return over_tolerances(lambda shunt, fuse: amperes * (shunt + fuse), shunt=SHUNT, fuse=FUSE)


def shunt_power_miswired() -> Range:
    """Power in the shunt with 24 V straight on the terminals: the Zener diode holds the voltage, the fuse trips."""
    return over_tolerances(lambda zener, shunt: zener**2 / shunt, zener=ZENER_V, shunt=SHUNT)


def fault_current() -> Range:
    """Current through the fuse with 24 V straight on the terminals, before it trips."""
    return over_tolerances(lambda zener, fuse: (NOMINAL_V - zener) / fuse, zener=ZENER_V, fuse=FUSE)


def clamp_current() -> Range:
    """Current into the 3.3 V supply while the shunt is at the Zener's voltage."""
    return over_tolerances(
        lambda zener, supply, clamp, series: (zener - supply - clamp) / series,
        zener=ZENER_V, supply=SUPPLY, clamp=CLAMP_V, series=SERIES,
    )  # fmt: skip


def error_share() -> dict[str, float]:
    """Errors as shares of the 16 mA span, worst case: ADC, shunt at 20 mA and 35 K warmer, leakages."""
    return {
        "ADC": ADC_ERROR_V / SHUNT.nominal / SPAN_A,
        "shunt": 20e-3 * (SHUNT.high / SHUNT.nominal - 1 + SHUNT_DRIFT) / SPAN_A,
        "leakage": (CLAMP_LEAK_A * SERIES.high / SHUNT.low + ZENER_LEAK_A) / SPAN_A,
    }


def figures() -> list[Figure]:
    """The calculation."""
    errors = error_share()
    total = sum(errors.values())
    return [
        Figure("voltage at 3.6 mA", "I R31", voltage(FAIL_LOW_A), "V", at_least=ADC_LOW_V, why="the ADC is calibrated from 0.15 V"),
        Figure("voltage at 21 mA", "I R31", voltage(FAIL_HIGH_A), "V", at_most=ADC_HIGH_V, why="and up to 2.45 V"),
        Figure("burden at 20 mA", "I (R31 + F31)", burden(20e-3), "V", at_most=5.0, why="leaves a loop-powered transmitter 19 V of 24 V"),
        Figure("24 V on the terminals: fuse current", "(24 V - Vz) / F31", fault_current(), "A", at_least=0.25,
               why="well above the 100 mA at which MF-R005 trips"),
        Figure("24 V on the terminals: power in R31", "Vz^2 / R31", shunt_power_miswired(), "W", at_most=0.6, why="a 0.6 W resistor"),
        Figure("24 V on the terminals: current into 3V3", "(Vz - VDD - Vd) / R32", clamp_current(), "A", at_most=10e-3,
               why="less than the ESP32 always takes"),
        Figure("filter", "R32 C31", over_tolerances(lambda series, capacitor: series * capacitor, series=SERIES, capacitor=CAPACITOR),
               "s", at_most=0.1, why="settled well within a sample"),
        Figure("error of the span, all together", "ADC + shunt + leakage", Range(0.0, total, total), "", at_most=0.05,
               why=", ".join(f"{name} {share:.2%}" for name, share in errors.items())),
    ]  # fmt: skip
