"""The supply: fuse, diode against surges and wrong polarity, converter to 5 V."""

from __future__ import annotations

from typing import Final

from andon_hardware import pulse_input, relay_driver
from andon_hardware.tolerance import Figure, Range, over_tolerances

# IEC 61131-2: a 24 V supply has 19.2 to 30 V with its ripple.
SUPPLY_V: Final = Range(19.2, 24.0, 30.0)
# SMAJ28A: stands off 28 V, conducts (1 mA) from 31.1 to 34.4 V, 45.4 V at 8.8 A.
DIODE_V: Final = Range(31.1, 32.8, 34.4)
CLAMP_V: Final = 45.4
CLAMP_A: Final = 8.8
# TSR 1-2450: 6.5 to 36 V in, 1 A out, 84 % at the worst.
CONVERTER_HIGHEST_V: Final = 36.0
CONVERTER_A: Final = 1.0
EFFICIENCY: Final = 0.84
OUT_V: Final = 5.0

# Espressif asks for a supply of 0.5 A; the mean is what a node with Wi-Fi takes at 3.3 V, estimated from datasheets.
CHIP_PEAK_A: Final = 0.5
CHIP_MEAN_A: Final = 0.15
# A proximity switch itself, and what K1's contact may feed (hardware/safety.md).
SENSOR_A: Final = 0.015
LOAD_A: Final = 0.3
# F1: 500 mA, a tenth less at 50 degC.
FUSE_A: Final = 0.5
FUSE_WARM: Final = 0.9
# LED currents of two inputs, one of them K1's read-back.
INPUTS: Final = 2


def converter_load() -> Range:
    """Current at 5 V while the radio sends and the relay is on, in amperes."""
    coil = relay_driver.coil_current()
    return Range(CHIP_PEAK_A + coil.low, CHIP_PEAK_A + coil.nominal, CHIP_PEAK_A + coil.high)


def fuse_current() -> Range:
    """Mean current through F1 of the node with a relay that is on and its load, in amperes."""
    return over_tolerances(
        lambda volts, coil, into: OUT_V * (CHIP_MEAN_A + coil) / (EFFICIENCY * volts) + INPUTS * into + SENSOR_A + LOAD_A,
        volts=SUPPLY_V, coil=relay_driver.coil_current(), into=pulse_input.input_current(SUPPLY_V.nominal),
    )  # fmt: skip


def surge_until_converter() -> Range:
    """Surge that D10 carries before the converter's input sees more than it may, in amperes."""
    return over_tolerances(
        lambda begins: (CONVERTER_HIGHEST_V - begins) * CLAMP_A / (CLAMP_V - DIODE_V.high), begins=DIODE_V
    )


def figures() -> list[Figure]:
    """The calculation."""
    return [
        Figure("current at 5 V, sending, K1 on", "0.5 A + coil", converter_load(), "A", at_most=CONVERTER_A, why="TSR 1-2450: 1 A"),
        Figure("mean current through F1, K1 and 300 mA at X3 on", "5 V (0.15 A + coil) / (0.84 V24) + inputs + S1 + 0.3 A",
               fuse_current(), "A", at_most=FUSE_A * FUSE_WARM, why="500 mA, a tenth less at 50 degC"),
        Figure("D10 conducts from", "SMAJ28A at 1 mA", DIODE_V, "V", SUPPLY_V.high, CONVERTER_HIGHEST_V,
               "not at 30 V (IEC 61131-2), before the converter's 36 V"),
        Figure("surge until PS1 sees 36 V", "(36 V - Vd) 8.8 A / (45.4 V - 34.4 V)", surge_until_converter(), "A", at_least=1.0,
               why="C9 takes bursts; larger surges: see above"),
    ]  # fmt: skip
